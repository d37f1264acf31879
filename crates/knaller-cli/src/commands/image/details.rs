//! An image as an inspection shows it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use images::oci::{Descriptor, Digest, Healthcheck, RunConfig};
use images::store::{Listed as ListedImage, Rootfs};
use serde::Serialize;

use super::view::ImageView;
use crate::ui::table::{Cell, Tone};
use crate::ui::{Inspected, human, plain};

/// The one view of all that an image is. Programs rely on its field names.
#[derive(Debug, Serialize)]
pub(super) struct ImageDetails {
    #[serde(flatten)]
    image: ImageView,
    author: String,
    /// As the image's configuration has it.
    config: ConfigView,
    /// The lowest first.
    layers: Vec<LayerView>,
    /// Of which blobs and root file system are the sum; bytes.
    sizes: SizesView,
    /// Where machines' disks lie over, once it is made.
    rootfs: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct ConfigView {
    entrypoint: Vec<String>,
    cmd: Vec<String>,
    env: Vec<String>,
    user: String,
    working_dir: String,
    stop_signal: String,
    exposed_ports: Vec<String>,
    volumes: Vec<String>,
    labels: BTreeMap<String, String>,
    healthcheck: Option<HealthcheckView>,
}

#[derive(Debug, Serialize)]
struct HealthcheckView {
    command: Vec<String>,
    interval_ms: u64,
    timeout_ms: u64,
    start_period_ms: u64,
    retries: u32,
}

#[derive(Debug, Serialize)]
struct LayerView {
    digest: String,
    diff_id: String,
    media_type: String,
    /// As it is stored, bytes.
    size: u64,
}

#[derive(Debug, Serialize)]
struct SizesView {
    blobs_unique: u64,
    blobs_shared: u64,
    rootfs_unique: u64,
    rootfs_shared: u64,
}

impl ImageDetails {
    pub(super) fn new(
        listed: &ListedImage,
        rootfs: Option<&Rootfs>,
        users: impl FnOnce(&Digest) -> Vec<String>,
    ) -> Self {
        let (image, sizes) = (&listed.image, listed.sizes);
        let layers = image.manifest.layers.iter().zip(&image.config.diff_ids);
        Self {
            author: image.config.author.clone(),
            config: ConfigView::new(&image.config.run),
            layers: layers
                .map(|(blob, diff_id)| LayerView::new(blob, diff_id))
                .collect(),
            sizes: SizesView {
                blobs_unique: sizes.blobs_unique,
                blobs_shared: sizes.blobs_shared,
                rootfs_unique: sizes.rootfs_unique,
                rootfs_shared: sizes.rootfs_shared,
            },
            rootfs: rootfs.map(|rootfs| rootfs.path.clone()),
            image: ImageView::new(listed, users),
        }
    }

    fn size(&self) -> String {
        let SizesView {
            blobs_unique,
            blobs_shared,
            rootfs_unique,
            rootfs_shared,
        } = self.sizes;
        format!(
            "{} ({} alone): {} as it came, {} root file system",
            human::bytes(self.image.size),
            human::bytes(self.image.unique),
            human::bytes(blobs_unique.saturating_add(blobs_shared)),
            human::bytes(rootfs_unique.saturating_add(rootfs_shared)),
        )
    }
}

impl ConfigView {
    fn new(run: &RunConfig) -> Self {
        Self {
            entrypoint: run.entrypoint.clone(),
            cmd: run.cmd.clone(),
            env: run.env.clone(),
            user: run.user.clone(),
            working_dir: run.working_dir.clone(),
            stop_signal: run.stop_signal.clone(),
            exposed_ports: run.exposed_ports.iter().map(ToString::to_string).collect(),
            volumes: run.volumes.clone(),
            labels: run.labels.clone(),
            healthcheck: run.healthcheck.as_ref().map(HealthcheckView::new),
        }
    }
}

impl HealthcheckView {
    fn new(check: &Healthcheck) -> Self {
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            command: check.command.clone(),
            interval_ms: milliseconds(check.interval),
            timeout_ms: milliseconds(check.timeout),
            start_period_ms: milliseconds(check.start_period),
            retries: check.retries,
        }
    }
}

impl LayerView {
    fn new(blob: &Descriptor, diff_id: &Digest) -> Self {
        Self {
            digest: blob.digest.to_string(),
            diff_id: diff_id.to_string(),
            media_type: blob.media_type.clone(),
            size: blob.size,
        }
    }
}

impl Inspected for ImageDetails {
    fn name(&self) -> &str {
        &self.image.id
    }

    fn facts(&self) -> Vec<(&'static str, Cell)> {
        let config = &self.config;
        let labels = config
            .labels
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        let health = config.healthcheck.as_ref();
        let layers = self
            .layers
            .iter()
            .map(|layer| format!("{:>10}  {}", human::bytes(layer.size), layer.digest));
        let mut facts = vec![
            ("names", Cell::new(self.image.names.join("\n"), Tone::Strong)),
            ("id", self.image.id.as_str().into()),
            ("platform", self.image.platform.as_str().into()),
            (
                "created",
                self.image.created.map_or_else(String::new, human::moment).into(),
            ),
            ("author", plain(&self.author).into()),
            ("entrypoint", words(&config.entrypoint).into()),
            ("cmd", words(&config.cmd).into()),
            ("env", lines(config.env.iter().cloned())),
            ("user", plain(&config.user).into()),
            ("folder", plain(&config.working_dir).into()),
            ("stop signal", plain(&config.stop_signal).into()),
            ("ports", config.exposed_ports.join(", ").into()),
            ("volumes", lines(config.volumes.iter().cloned())),
            (
                "health",
                health
                    .map_or_else(String::new, |check| words(&check.command))
                    .into(),
            ),
            ("labels", lines(labels)),
            ("layers", lines(layers)),
            ("size", self.size().into()),
            ("used by", self.image.used_by.join(", ").into()),
            (
                "root file system",
                self.rootfs
                    .as_ref()
                    .map_or_else(String::new, |path| path.display().to_string())
                    .into(),
            ),
        ];
        facts.retain(|(_, cell)| !cell.is_empty());
        facts
    }
}

/// Words that can be told from one another: as JSON has them, where that is not plain to see.
fn words(words: &[String]) -> String {
    let simple = |word: &String| {
        !word.is_empty()
            && word
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c))
    };
    let shown = |word: &String| {
        if simple(word) {
            word.clone()
        } else {
            format!("{word:?}")
        }
    };
    words.iter().map(shown).collect::<Vec<_>>().join(" ")
}

/// One below the other, without what could steer a terminal.
fn lines(texts: impl Iterator<Item = String>) -> Cell {
    let texts: Vec<_> = texts.map(|text| plain(&text).replace('\n', " ")).collect();
    texts.join("\n").into()
}

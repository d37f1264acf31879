//! Real images for tests, demo and benchmarks: made here from Debian's and npm's packages by mmdebstrap, umoci and skopeo.
//!
//! An image is made once and stays in the target folder until its recipe or this machine's package lists change: its folder's
//! name tells of both. Whoever else wants it meanwhile waits, and a maker that was killed leaves nothing that counts.

mod apps;
mod bare;
mod big;
mod debian;
mod forms;
mod hundred;
mod layout;
mod making;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

use crate::target;
use making::Making;

/// An image that can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Image {
    /// `minbase` without documentation, about 120 MiB in one layer.
    Debian,
    /// With systemd as `/sbin/init`, and D-Bus.
    Systemd,
    /// A program with an entrypoint, variables, a user and folder of its own, an exposed port and a health check.
    Python,
    /// A program with dependencies from the npm registry: three layers over Debian's.
    Node,
    /// Debian's nginx on port 80, in three layers. The only one that is made without root, where `newuidmap` is there.
    Nginx,
    /// Debian's PostgreSQL, whose first start makes the cluster on a volume.
    Postgres,
    /// One static binary, and not even `/etc`.
    Scratch,
    /// One binary with the libraries that it wants, and no shell.
    Distroless,
    /// [`Self::Debian`] with its layer packed by zstd.
    Zstd,
    /// An index of two images: one for another architecture, then one for this machine's.
    MultiArch,
    /// A hundred layers that add, change, replace and remove.
    Hundred,
    /// [`Self::Debian`] and a layer of 100,000 files: 1 GiB together.
    Big,
}

impl Image {
    /// All of them, what others are made from first.
    pub const ALL: [Self; 12] = [
        Self::Debian,
        Self::Systemd,
        Self::Python,
        Self::Node,
        Self::Nginx,
        Self::Postgres,
        Self::Scratch,
        Self::Distroless,
        Self::Zstd,
        Self::MultiArch,
        Self::Hundred,
        Self::Big,
    ];

    /// Its short name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Debian => "debian",
            Self::Systemd => "systemd",
            Self::Python => "python",
            Self::Node => "node",
            Self::Nginx => "nginx",
            Self::Postgres => "postgres",
            Self::Scratch => "scratch",
            Self::Distroless => "distroless",
            Self::Zstd => "zstd",
            Self::MultiArch => "multi-arch",
            Self::Hundred => "hundred",
            Self::Big => "big",
        }
    }

    /// Its OCI layout, with the image under the tag `latest`; made now if it is not there. Never write to it.
    ///
    /// # Errors
    /// When a tool is missing or fails: what it was to do and what it said.
    pub fn layout(self) -> Result<PathBuf> {
        let room = target().join("images");
        fs::create_dir_all(&room).with_context(|| format!("cannot make {}", room.display()))?;
        let key = self.key()?;
        let path = room.join(format!("{}-{key}", self.name()));
        let lock = room.join(format!("{}.lock", self.name()));
        let lock = fs::File::create(&lock).with_context(|| format!("cannot open {}", lock.display()))?;
        lock.lock().context("cannot lock the making of an image")?;
        if path.exists() {
            return Ok(path);
        }
        self.sweep(&room)?;
        let work = room.join(format!("{}-{key}.new", self.name()));
        fs::create_dir(&work).with_context(|| format!("cannot make {}", work.display()))?;
        let made = self
            .make(&work)
            .with_context(|| format!("cannot make the image {}", self.name()))?;
        fs::rename(&made, &path).with_context(|| format!("cannot name {}", path.display()))?;
        fs::remove_dir_all(&work).with_context(|| format!("cannot remove {}", work.display()))?;
        Ok(path)
    }

    /// The layout, made in `work`.
    fn make(self, work: &Path) -> Result<PathBuf> {
        match self {
            Self::Debian => debian::minimal(work),
            Self::Systemd => apps::systemd(Making::over(Self::Debian, work)?),
            Self::Python => apps::python(Making::over(Self::Debian, work)?),
            Self::Node => apps::node(Making::over(Self::Debian, work)?),
            Self::Nginx => debian::nginx(work),
            Self::Postgres => apps::postgres(Making::over(Self::Debian, work)?),
            Self::Scratch => bare::scratch(Making::empty(work)?),
            Self::Distroless => bare::distroless(Making::empty(work)?),
            Self::Zstd => forms::zstd(&Self::Debian.layout()?, work),
            Self::MultiArch => forms::multi_arch(work),
            Self::Hundred => hundred::hundred(Making::empty(work)?),
            Self::Big => big::big(Making::over(Self::Debian, work)?),
        }
    }

    /// Changes with whatever the image is made of.
    fn key(self) -> Result<String> {
        let mut hash = Sha256::new();
        for source in self.sources() {
            hash.update(source);
            hash.update([0]);
        }
        hash.update(debian::lists()?);
        Ok(hex::encode(&hash.finalize()[..8]))
    }

    /// The texts by which it is made.
    fn sources(self) -> Vec<&'static str> {
        let common = [
            include_str!("making.rs"),
            include_str!("layout.rs"),
            include_str!("debian.rs"),
        ];
        let own = match self {
            Self::Debian | Self::Nginx => "",
            Self::Systemd | Self::Python | Self::Node | Self::Postgres => include_str!("apps.rs"),
            Self::Scratch | Self::Distroless => include_str!("bare.rs"),
            Self::Zstd | Self::MultiArch => include_str!("forms.rs"),
            Self::Hundred => include_str!("hundred.rs"),
            Self::Big => include_str!("big.rs"),
        };
        let files: &[&str] = match self {
            Self::Python => &[apps::SERVER_PY],
            Self::Node => &[apps::APP_JS, apps::PACKAGE, apps::PACKAGE_LOCK],
            Self::Postgres => &[apps::POSTGRES_SH],
            Self::Scratch | Self::Distroless => &[bare::SERVER_C],
            _ => &[],
        };
        [&common[..], &[own], files].concat()
    }

    /// Removes what other recipes made, and what was left half made.
    fn sweep(self, room: &Path) -> Result<()> {
        for entry in fs::read_dir(room).context("cannot list the images")? {
            let entry = entry.context("cannot list the images")?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let key = name
                .strip_prefix(self.name())
                .and_then(|rest| rest.strip_prefix('-'));
            if key.is_some_and(is_key) {
                let path = entry.path();
                fs::remove_dir_all(&path).with_context(|| format!("cannot remove {}", path.display()))?;
            }
        }
        Ok(())
    }
}

/// Whether it is what [`Image::key`] gives, with or without an ending for what goes with it.
fn is_key(text: &str) -> bool {
    let key = text.split_once('.').map_or(text, |(key, _)| key);
    key.len() == 16 && key.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Runs a tool that must succeed.
fn sure(command: &mut Command) -> Result<Vec<u8>> {
    let output = command
        .stdin(std::process::Stdio::null())
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    if !output.status.success() {
        bail!(
            "{command:?} ended with {}:\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_takes_all_of_its_own_image_and_nothing_of_others() {
        let room = tempfile::tempdir().unwrap();
        let key = "0123456789abcdef";
        let own = [format!("big-{key}"), format!("big-{key}.new")];
        let others = [
            format!("bigger-{key}"),
            "big-er".to_owned(),
            format!("big-er-{key}"),
        ];
        for name in own.iter().chain(&others) {
            fs::create_dir(room.path().join(name)).unwrap();
        }
        Image::Big.sweep(room.path()).unwrap();
        assert!(own.iter().all(|name| !room.path().join(name).exists()));
        assert!(others.iter().all(|name| room.path().join(name).exists()));
    }
}

//! A user with a home of his own, images made from bytes, and a folder that blobs go to.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use images::oci::{Algorithm, Descriptor, Digest, Hasher, Index, Manifest, Platform, Reference, media_type};
use images::registry::{
    BlobPart, BlobSink, BlobSource, BlobState, CommitError, Configuration, Event, Outgoing, Pulled,
    Registries, RegistryError, Secret, SinkError,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::registry::{PASSWORD, USER};
use testkit::run;

/// Bytes that no compression makes smaller.
pub(crate) fn noise(size: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..size).map(|_| next()).collect()
}

/// What goes with one request where all at once is too much.
pub(crate) const PIECE: u64 = 256 * 1024;

/// One image in an OCI layout on the disk.
pub(crate) struct Image {
    folder: TempDir,
    pub(crate) manifest: Manifest,
    pub(crate) descriptor: Descriptor,
    pub(crate) bytes: Vec<u8>,
}

impl Image {
    /// With one layer of about each of these sizes.
    pub(crate) fn new(sizes: &[usize]) -> Self {
        Self::of(sizes, &Platform::host())
    }

    fn of(sizes: &[usize], platform: &Platform) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("blobs/sha256")).unwrap();
        let mut diffs = Vec::new();
        let mut layers = Vec::new();
        for (number, size) in sizes.iter().enumerate() {
            let tar = tar(&noise(*size, number as u64 + 1));
            diffs.push(Digest::of(&tar).to_string());
            let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
            packer.write_all(&tar).unwrap();
            layers.push(blob(
                folder.path(),
                media_type::LAYER_GZIP,
                &packer.finish().unwrap(),
            ));
        }
        let config = json!({
            "architecture": platform.architecture, "os": platform.os, "config": {},
            "rootfs": { "type": "layers", "diff_ids": diffs },
        });
        let config = blob(folder.path(), media_type::CONFIG, config.to_string().as_bytes());
        let manifest = Manifest::new(config, layers);
        let bytes = serde_json::to_vec(&manifest).unwrap();
        let descriptor = blob(folder.path(), media_type::MANIFEST, &bytes);
        Self {
            folder,
            manifest,
            descriptor,
            bytes,
        }
    }

    /// All blobs that a pull must bring, without the manifest.
    pub(crate) fn blobs(&self) -> Vec<Descriptor> {
        let layers = self.manifest.layers.iter();
        std::iter::once(&self.manifest.config)
            .chain(layers)
            .cloned()
            .collect()
    }

    pub(crate) fn layer(&self) -> &Descriptor {
        self.manifest.layers.last().unwrap()
    }

    /// Puts it into a registry with skopeo.
    pub(crate) fn upload(&self, host: &str, name: &str) {
        write_index(self.folder.path(), std::slice::from_ref(&self.descriptor), "it");
        skopeo_copy(self.folder.path(), host, name, &[]);
    }

    pub(crate) fn outgoing(&self) -> Outgoing {
        Outgoing {
            blobs: self.blobs(),
            manifests: vec![(self.descriptor.clone(), self.bytes.clone())],
            origins: Vec::new(),
        }
    }

    pub(crate) fn source(&self) -> Arc<Folder> {
        Arc::new(Folder::at(&self.folder.path().join("blobs/sha256")))
    }
}

/// Images for several platforms under one name.
pub(crate) struct Several {
    pub(crate) images: BTreeMap<String, Image>,
    pub(crate) descriptor: Descriptor,
    pub(crate) bytes: Vec<u8>,
    folder: TempDir,
}

impl Several {
    pub(crate) fn new(platforms: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("blobs/sha256")).unwrap();
        let mut images = BTreeMap::new();
        let mut entries = Vec::new();
        for (number, name) in platforms.iter().enumerate() {
            let platform: Platform = name.parse().unwrap();
            let image = Image::of(&[1000 + number], &platform);
            for descriptor in image.blobs().iter().chain([&image.descriptor]) {
                let from = image
                    .folder
                    .path()
                    .join("blobs/sha256")
                    .join(descriptor.digest.hex());
                fs::copy(
                    from,
                    folder.path().join("blobs/sha256").join(descriptor.digest.hex()),
                )
                .unwrap();
            }
            let mut entry = image.descriptor.clone();
            entry.platform = Some(platform);
            entries.push(entry);
            images.insert((*name).to_owned(), image);
        }
        let bytes = serde_json::to_vec(&Index::new(entries)).unwrap();
        let descriptor = blob(folder.path(), media_type::INDEX, &bytes);
        Self {
            images,
            descriptor,
            bytes,
            folder,
        }
    }

    pub(crate) fn upload(&self, host: &str, name: &str) {
        write_index(self.folder.path(), std::slice::from_ref(&self.descriptor), "it");
        skopeo_copy(self.folder.path(), host, name, &["--all"]);
    }

    pub(crate) fn source(&self) -> Arc<Folder> {
        Arc::new(Folder::at(&self.folder.path().join("blobs/sha256")))
    }
}

fn tar(content: &[u8]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    header.set_cksum();
    archive.append_data(&mut header, "file", content).unwrap();
    archive.into_inner().unwrap()
}

fn blob(layout: &Path, media_type: &str, bytes: &[u8]) -> Descriptor {
    let descriptor = Descriptor::of(media_type, bytes);
    fs::write(layout.join("blobs/sha256").join(descriptor.digest.hex()), bytes).unwrap();
    descriptor
}

fn write_index(layout: &Path, manifests: &[Descriptor], name: &str) {
    let manifests: Vec<Value> = manifests
        .iter()
        .map(|descriptor| {
            let mut value = serde_json::to_value(descriptor).unwrap();
            value["annotations"] = json!({ images::oci::REF_NAME: name });
            value
        })
        .collect();
    let index = json!({ "schemaVersion": 2, "manifests": manifests });
    fs::write(layout.join("index.json"), index.to_string()).unwrap();
    fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}

fn skopeo_copy(layout: &Path, host: &str, name: &str, options: &[&str]) {
    let _ = run(Command::new("skopeo")
        .args(["copy", "--quiet", "--preserve-digests", "--dest-tls-verify=false"])
        .args(["--dest-creds", &format!("{USER}:{PASSWORD}")])
        .args(options)
        .arg(format!("oci:{}:it", layout.display()))
        .arg(format!("docker://{host}/{name}")))
    .ok();
}

/// What skopeo says of an image in a registry: its manifest as it is, or why not.
pub(crate) fn skopeo_manifest(host: &str, name: &str, options: &[&str]) -> testkit::Ran {
    run(Command::new("skopeo")
        .args(["inspect", "--raw", "--tls-verify=false"])
        .args(options)
        .arg(format!("docker://{host}/{name}")))
}

/// A folder of blobs, as simple as a store can be: `HEX`, and `HEX.part` for what is not whole.
pub(crate) struct Folder {
    path: PathBuf,
    _own: Option<TempDir>,
}

impl Folder {
    pub(crate) fn new() -> Arc<Self> {
        let own = tempfile::tempdir().unwrap();
        Arc::new(Self {
            path: own.path().to_owned(),
            _own: Some(own),
        })
    }

    pub(crate) fn at(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            _own: None,
        }
    }

    pub(crate) fn file(&self, blob: &Descriptor) -> PathBuf {
        self.path.join(blob.digest.hex())
    }

    pub(crate) fn part(&self, blob: &Descriptor) -> PathBuf {
        self.path.join(format!("{}.part", blob.digest.hex()))
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.path).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    /// All blobs of an image are there, and are what their names say.
    #[track_caller]
    pub(crate) fn has(&self, image: &Image) {
        for descriptor in image.blobs().iter().chain([&image.descriptor]) {
            let bytes = fs::read(self.file(descriptor)).unwrap();
            assert_eq!(Digest::of(&bytes), descriptor.digest);
        }
        assert!(
            !self.names().iter().any(|name| name.ends_with(".part")),
            "{:?}",
            self.names()
        );
    }
}

impl BlobSink for Folder {
    type Part = Part;

    fn open(&self, blob: &Descriptor) -> Result<Option<Part>, SinkError> {
        let (file, part) = (self.file(blob), self.part(blob));
        if file.exists() {
            return Ok(None);
        }
        let mut handle = File::options().read(true).append(true).create(true).open(&part)?;
        let mut hasher = Hasher::new(Algorithm::Sha256);
        let offset = std::io::copy(&mut handle, &mut hasher)?;
        Ok(Some(Part {
            digest: blob.digest.clone(),
            file,
            part,
            handle,
            hasher,
            offset,
        }))
    }
}

pub(crate) struct Part {
    digest: Digest,
    file: PathBuf,
    part: PathBuf,
    handle: File,
    hasher: Hasher,
    offset: u64,
}

impl BlobPart for Part {
    fn offset(&self) -> u64 {
        self.offset
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), SinkError> {
        self.handle.write_all(bytes)?;
        self.hasher.update(bytes);
        self.offset += bytes.len() as u64;
        Ok(())
    }

    fn restart(&mut self) -> Result<(), SinkError> {
        self.handle.set_len(0)?;
        self.handle.rewind()?;
        self.hasher = Hasher::new(Algorithm::Sha256);
        self.offset = 0;
        Ok(())
    }

    fn commit(self) -> Result<(), CommitError> {
        let found = self.hasher.finish();
        if found != self.digest {
            fs::remove_file(&self.part).unwrap();
            return Err(CommitError::Mismatch(found));
        }
        fs::rename(&self.part, &self.file).map_err(|error| CommitError::Failed(error.into()))
    }
}

impl BlobSource for Folder {
    fn open(&self, blob: &Descriptor, from: u64) -> Result<Box<dyn Read + Send>, SinkError> {
        let mut file = File::open(self.file(blob))?;
        file.seek(SeekFrom::Start(from))?;
        Ok(Box::new(file))
    }
}

/// A user who has said nothing of registries yet.
pub(crate) struct User {
    home: TempDir,
    variables: BTreeMap<String, String>,
    pub(crate) events: Arc<Mutex<Vec<Event>>>,
}

impl User {
    pub(crate) fn new() -> Self {
        Self {
            home: tempfile::tempdir().unwrap(),
            variables: BTreeMap::new(),
            events: Arc::default(),
        }
    }

    pub(crate) fn path(&self, part: &str) -> PathBuf {
        self.home.path().join(part)
    }

    pub(crate) fn write(&self, part: &str, text: &str) -> PathBuf {
        let path = self.path(part);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// `registries.yaml`.
    pub(crate) fn says(&self, text: &str) {
        self.write(".config/knaller/registries.yaml", text);
    }

    pub(crate) fn set(&mut self, variable: &str, value: &str) {
        self.variables.insert(variable.to_owned(), value.to_owned());
    }

    pub(crate) fn configuration(&self) -> Configuration {
        let home = self.home.path().display().to_string();
        let mut configuration = Configuration::load(|name| match name {
            "HOME" => Some(home.clone().into()),
            "PATH" => Some(self.path("bin").into()),
            other => self.variables.get(other).map(Into::into),
        })
        .unwrap();
        // Nothing of this machine's.
        configuration.certificate_folders.truncate(1);
        let patience = &mut configuration.patience;
        patience.first_wait = Duration::from_millis(10);
        patience.longest_wait = Duration::from_millis(50);
        configuration.piece = PIECE;
        configuration
    }

    pub(crate) fn registries(&self) -> Registries {
        Registries::new(self.configuration())
    }

    pub(crate) async fn pull(&self, name: &str, sink: &Arc<Folder>) -> Result<Pulled, RegistryError> {
        self.pull_with(&self.registries(), name, sink).await
    }

    pub(crate) async fn pull_with(
        &self,
        registries: &Registries,
        name: &str,
        sink: &Arc<Folder>,
    ) -> Result<Pulled, RegistryError> {
        let reference: Reference = name.parse().unwrap();
        registries
            .pull(&reference, &Platform::host(), sink, &self.watch())
            .await
    }

    pub(crate) fn watch(&self) -> impl Fn(Event) + Send + Sync + use<> {
        let events = Arc::clone(&self.events);
        move |event| events.lock().unwrap().push(event)
    }

    /// What was said of one blob, without its progress.
    pub(crate) fn states(&self, blob: &Descriptor) -> Vec<BlobState> {
        let events = self.events.lock().unwrap();
        let states = events.iter().filter_map(|event| match event {
            Event::Blob { digest, state } if *digest == blob.digest => Some(state.clone()),
            _ => None,
        });
        states
            .filter(|state| !matches!(state, BlobState::Moving { .. }))
            .collect()
    }

    /// Why blobs had to wait.
    pub(crate) fn waits(&self) -> Vec<String> {
        let events = self.events.lock().unwrap();
        let waits = events.iter().filter_map(|event| match event {
            Event::Blob {
                state: BlobState::Waiting { why, .. },
                ..
            }
            | Event::Waiting { why, .. } => Some(why.clone()),
            _ => None,
        });
        waits.collect()
    }

    pub(crate) fn last_total(&self) -> Option<(u64, u64)> {
        let events = self.events.lock().unwrap();
        events.iter().rev().find_map(|event| match event {
            Event::Total { done, total } => Some((*done, *total)),
            _ => None,
        })
    }
}

/// The password that the registries of the testkit know.
pub(crate) fn password() -> Secret {
    Secret::new(PASSWORD)
}

/// An auth.json with this entry.
pub(crate) fn auth_json(host: &str, username: &str, password: &str) -> String {
    json!({ "auths": { host: { "username": username, "password": password } } }).to_string()
}

/// An error with what it tells to do.
pub(crate) fn said(error: &RegistryError) -> String {
    let hint = error.hint().map_or_else(String::new, |hint| format!("; {hint}"));
    format!("{error}{hint}")
}

/// All that an error says, its sources too.
pub(crate) fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text += &format!(": {error}");
        source = error.source();
    }
    text
}

//! Images from elsewhere than a registry: archives, layouts, plain root file systems, and what Docker or Podman have.
//!
//! The invariant: an image is entered into the store only after every blob has the digest it should have and the caller's
//! check has passed; of a source that fails nothing stays. What kind a source is, is told by what is in it, never by its name.
//! Streams are read once, from their first byte to their last.

mod archive;
mod daemon;
mod docker;
mod error;
mod folder;
mod kind;
mod layout;
mod pack;
mod tree;

use std::io::Read;
use std::path::{Path, PathBuf};

pub use daemon::Daemon;
pub use error::{CheckError, ImportError};

use crate::convert;
use crate::files::open;
use crate::layer::{self, Expected, Layer};
use crate::oci::{Descriptor, ImageConfig, MAX_CONFIG, Manifest, Platform, Reference};
use crate::store::{Adding, Image, Store};
use crate::tar;
use crate::task::Task;
use crate::watched::{Meter, Watched};

/// Where an image comes from.
pub enum Source {
    /// An archive of images or a tar of a root file system, packed or not; or a folder: a layout, or a root file system.
    Path(PathBuf),
    /// A stream of what a file may be: the standard input, say.
    Stream(Box<dyn Read + Send>),
    /// An image of this name that a daemon on this machine has.
    Daemon(Daemon, String),
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Path(path) => f.debug_tuple("Path").field(path).finish(),
            Self::Stream(_) => f.debug_tuple("Stream").finish(),
            Self::Daemon(daemon, name) => f.debug_tuple("Daemon").field(daemon).field(name).finish(),
        }
    }
}

/// What is wanted of a source.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which of several images, by a name that the source gives it.
    pub image: Option<String>,
    /// What it is to be called here, instead of what the source calls it.
    pub name: Option<Reference>,
    pub platform: Platform,
    pub tar: tar::Limits,
    pub layer: layer::Limits,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            image: None,
            name: None,
            platform: Platform::host(),
            tar: tar::Limits::default(),
            layer: layer::Limits::default(),
        }
    }
}

impl Options {
    /// The same, with the limits that images of this user have.
    #[must_use]
    pub fn within(self, limits: &convert::Limits) -> Self {
        Self {
            tar: limits.tar(),
            layer: limits.layer(),
            ..self
        }
    }
}

/// What an import came to.
#[derive(Clone, Debug)]
pub struct Imported {
    pub image: Image,
    /// The names that were entered: an image that was here before may have others too.
    pub names: Vec<Reference>,
    /// What was left out, in words.
    pub notices: Vec<String>,
}

/// An image whose blobs are in the store.
struct Brought {
    manifest: Descriptor,
    names: Vec<Reference>,
    notices: Vec<String>,
}

/// Brings an image into the store. `check` sees it before it is entered: [`verify`], or whoever makes the root file system
/// of it and so checks the same.
///
/// # Errors
/// The source has no such image, is damaged or beyond the limits, `check` refuses the image, or `task` is called off. The
/// store is then as it was.
pub fn import(
    store: &Store,
    source: Source,
    options: &Options,
    task: &Task,
    check: impl FnOnce(&Adding, &Image) -> Result<(), CheckError>,
) -> Result<Imported, ImportError> {
    let adding = store.adding(task)?;
    let imported = bring(&adding, source, options, task).and_then(|brought| {
        let names = options.name.clone().map_or(brought.names, |name| vec![name]);
        let image = adding.enter(&brought.manifest, &names, |image| {
            check(&adding, image).map_err(ImportError::Refused)
        })?;
        Ok(Imported {
            image,
            names,
            notices: brought.notices,
        })
    });
    drop(adding);
    // What came with the image and is not of it, or came in vain.
    if let Err(error) = store.collect_if_idle() {
        tracing::warn!(%error, "what was imported in vain is left to the next command");
    }
    // Called off in the middle of a read, it looks like a broken source.
    imported.map_err(|error| task.check().err().map_or(error, Into::into))
}

/// Reads all layers of an image and checks them against its configuration's diff_ids.
///
/// # Errors
/// One is not what it should be, or `task` is called off.
pub fn verify(adding: &Adding, image: &Image, limits: &layer::Limits, task: &Task) -> Result<(), CheckError> {
    let meter = Meter::new("checking the layers", Some(image.manifest.packed_size()), task);
    for (blob, diff_id) in image.manifest.layers.iter().zip(&image.config.diff_ids) {
        let expected = Expected {
            digest: None,
            diff_id: Some(diff_id.clone()),
            size: Some(blob.size),
        };
        let file = Watched::new(adding.store().open_blob(blob)?, &meter);
        let limits = adding.limits_on(image, blob, limits)?;
        Layer::open(file, expected, &limits)?.finish()?;
    }
    Ok(())
}

fn bring(adding: &Adding, source: Source, options: &Options, task: &Task) -> Result<Brought, ImportError> {
    let meter = |total| Meter::new("reading the image", total, task);
    match source {
        Source::Path(path) if path.is_dir() => bring_folder(adding, &path, options, task),
        Source::Path(path) => {
            let (file, size) = open(&path)?;
            bring_stream(
                adding,
                Watched::new(file, &meter(Some(size))),
                Some(size),
                options,
                task,
            )
        }
        Source::Stream(stream) => {
            bring_stream(adding, Watched::new(stream, &meter(None)), None, options, task)
        }
        Source::Daemon(daemon, name) => {
            let (stream, asked) = daemon.save(&name, task)?;
            // It gives no other image.
            let options = Options {
                image: None,
                ..options.clone()
            };
            let brought = bring_stream(adding, Watched::new(stream, &meter(None)), None, &options, task)?;
            // Asked for by its digest or id, it has no name in the archive.
            let names = asked
                .filter(|_| brought.names.is_empty())
                .map_or(brought.names, |name| vec![name]);
            Ok(Brought { names, ..brought })
        }
    }
}

fn bring_folder(
    adding: &Adding,
    path: &Path,
    options: &Options,
    task: &Task,
) -> Result<Brought, ImportError> {
    match kind::folder(path) {
        kind::Folder::Layout => layout::from_folder(adding, path, options, task),
        kind::Folder::Copy => folder::from_copy(adding, path, options, task),
        kind::Folder::Tree => tree::pack(adding, path, options, task),
    }
}

fn bring_stream(
    adding: &Adding,
    stream: impl Read + Send + 'static,
    size: Option<u64>,
    options: &Options,
    task: &Task,
) -> Result<Brought, ImportError> {
    let expected = Expected {
        size,
        ..Expected::default()
    };
    let unpacked = Layer::open(stream, expected, &options.layer)?;
    let (kind, stream) = kind::stream(unpacked, &options.tar)?;
    match kind {
        kind::Stream::Images => archive::read(adding, stream, options, task),
        kind::Stream::Tree => pack::from_tar(adding, stream, options),
    }
}

/// Reads the configuration of an image that was brought and checks that it is for the machine that is asked for.
fn check_platform(adding: &Adding, manifest: &Manifest, options: &Options) -> Result<(), ImportError> {
    let bytes = adding.store().read_blob(&manifest.config, MAX_CONFIG)?;
    ImageConfig::parse(&bytes)?.check_platform(&options.platform)?;
    Ok(())
}

#[cfg(test)]
mod tests;

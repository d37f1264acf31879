use std::io;
use std::path::PathBuf;

use crate::files::ReadError;
use crate::layer::LayerError;
use crate::oci::{ConfigError, Digest, DigestError, ManifestError, NoPlatform, ReferenceError, WalkError};
use crate::store::StoreError;
use crate::tar::{Problem, TarError};
use crate::task::Cancelled;

/// Why a check refuses an image.
pub type CheckError = Box<dyn std::error::Error + Send + Sync>;

/// Why nothing was imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    #[error("what was given cannot be unpacked")]
    Packed(#[from] LayerError),
    #[error(
        "what was given is neither an archive of images nor a tar of a root file system. A disk of ext4 goes with --rootfs"
    )]
    NoTar(#[source] TarError),
    #[error(
        "what was given has no file and no folder in it: whatever should have written it may have failed"
    )]
    Nothing,
    #[error("the archive is damaged")]
    Tar(#[source] TarError),
    #[error("the archive has more than {0} files: it is no archive of images")]
    TooManyFiles(usize),
    #[error("the archive's {name} has {size} bytes: more than the {limit} allowed")]
    TooLarge { name: String, size: u64, limit: u64 },
    #[error("the archive has no index.json and no manifest.json: it is cut off, or no archive of images")]
    NoIndex,
    #[error("the index of images cannot be used")]
    Index(#[source] ManifestError),
    #[error("manifest.json is not as `docker save` writes it")]
    DockerManifest(#[source] serde_json::Error),
    #[error("manifest.json is not as `docker save` writes it: {0}")]
    DockerContent(String),
    #[error("{name} is named by the archive and not in it")]
    Missing { name: String },
    #[error("{name} has the digest {found}: it was damaged or exchanged")]
    Mismatch { name: String, found: Digest },
    #[error("the archive has no image")]
    Empty,
    #[error("the archive has several images: {}. Say which", .0.join(", "))]
    Several(Vec<String>),
    #[error("the archive has no image {wanted:?}, but {}", .there.join(", "))]
    NoSuchImage { wanted: String, there: Vec<String> },
    #[error(transparent)]
    Manifest(#[from] WalkError),
    #[error(transparent)]
    NoPlatform(#[from] NoPlatform),
    #[error("the image's configuration cannot be used")]
    Config(#[from] ConfigError),
    #[error("the image's name in the archive cannot be used")]
    Name(#[from] ReferenceError),
    #[error("a digest in the archive cannot be used")]
    Digest(#[from] DigestError),
    #[error("{path} cannot be packed: {what}")]
    Unfit { path: PathBuf, what: &'static str },
    #[error("the layer cannot be packed")]
    Pack(#[source] io::Error),
    #[error("the image is not taken")]
    Refused(#[source] CheckError),
    #[error("no {program} answers: there is no socket at {}. {}", paths(.tried), instead(.program))]
    NoDaemon {
        program: &'static str,
        tried: Vec<PathBuf>,
    },
    #[error("no {program} answers: nobody listens at {socket}. {}", instead(.program))]
    DaemonGone { program: &'static str, socket: PathBuf },
    #[error("{program}'s socket {socket} is not for this user. {}", instead(.program))]
    DaemonForbids { program: &'static str, socket: PathBuf },
    #[error("DOCKER_HOST is {0:?}, and only unix:// sockets are used")]
    DockerHost(String),
    #[error("{program} at {socket} does not answer as it should")]
    Daemon {
        program: &'static str,
        socket: PathBuf,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("{program} has no image {name:?}: {answer}")]
    NotThere {
        program: &'static str,
        name: String,
        answer: String,
    },
}

fn instead(program: &str) -> String {
    let command = program.to_lowercase();
    format!("An archive will do as well: {command} save NAME | knaller image import -")
}

fn paths(paths: &[PathBuf]) -> String {
    let paths: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    paths.join(", ")
}

impl From<TarError> for ImportError {
    /// An archive that cannot be read since it cannot be unpacked, or since what is read of it cannot be kept, is not damaged.
    fn from(error: TarError) -> Self {
        let TarError {
            offset,
            entry,
            problem,
        } = error;
        let tar = |problem| {
            Self::Tar(TarError {
                offset,
                entry,
                problem,
            })
        };
        let Problem::Io(error) = problem else {
            return tar(problem);
        };
        match error.downcast::<LayerError>() {
            Ok(error) => Self::Packed(error),
            Err(error) => match error.downcast::<StoreError>() {
                Ok(error) => Self::Store(error),
                Err(error) => tar(Problem::Io(error)),
            },
        }
    }
}

impl ImportError {
    /// The limit that was in the way, by the name that it is set by ([`Limits`](crate::convert::Limits)).
    #[must_use]
    pub fn limit(&self) -> Option<&'static str> {
        match self {
            Self::Packed(error) => error.limit(),
            Self::Tar(error) | Self::NoTar(error) => error.limit(),
            _ => None,
        }
    }

    /// Whether what was named is not there: another name may help.
    #[must_use]
    pub fn is_absence(&self) -> bool {
        match self {
            Self::Several(_) | Self::NoSuchImage { .. } | Self::NotThere { .. } => true,
            Self::Read(error) => error.is_absence(),
            _ => false,
        }
    }

    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        match self {
            Self::Cancelled(_) => true,
            Self::Store(error) => error.is_cancelled(),
            _ => false,
        }
    }
}

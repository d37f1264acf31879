//! `snapshot.json`: what a snapshot is, and what it needs to be loaded.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use images::oci::Digest;
use serde::{Deserialize, Serialize};

use super::checksum;
use crate::handover::STATE;
use crate::record::{Record, known_form};
use crate::template::Program;
use crate::{Error, Name, Result};

/// The form of the file. The first had no ids and no parents.
const FORM: u32 = 2;
const OLDEST: u32 = 1;

/// The most bytes of one: a record and a few lines.
const MAX_SIZE: u64 = 8 << 20;

/// The name of the file.
pub(super) const FILE: &str = "snapshot.json";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Description {
    pub(super) form: u32,
    pub(crate) name: Name,
    /// What it is, whatever it is called: stays when it is made whole, or comes back from another host.
    #[serde(default)]
    pub(crate) id: String,
    /// The snapshot that it is a difference to, if it is one.
    #[serde(default)]
    pub(crate) parent: Option<Parent>,
    /// Seconds since the Unix epoch.
    pub(crate) created: u64,
    /// The machine as it was asked for and resolved when the snapshot was taken of it.
    pub(crate) record: Record,
    /// The VMM's version, as it says it. Another may not understand the state.
    pub(crate) vmm_version: String,
    /// A digest of what the host's kernel says of its processor: the guest has seen its features and relies on them.
    pub(crate) cpu: String,
    /// How long the machine stood still for it, in milliseconds.
    pub(crate) paused_ms: u64,
    /// Whether the guest's kernel has a VM Generation ID to notice by that it goes on as another machine.
    #[serde(default)]
    pub(crate) generation_id: bool,
    /// What the machine's overlay lies over; the guest has pages of it in its memory.
    #[serde(default)]
    pub(crate) base: Option<BaseFile>,
    /// The disks of the volumes that the guest only read, by the volumes' numbers: no copy is kept of them, and the guest
    /// has pages of them in its memory too.
    #[serde(default)]
    pub(crate) read: BTreeMap<usize, Written>,
    /// Each file's size and checksum, by its name.
    pub(crate) files: BTreeMap<String, Kept>,
}

/// A snapshot as one that builds on it knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Parent {
    pub(crate) name: Name,
    pub(crate) id: String,
    /// Of its VMM's state, which no other moment of any machine has.
    pub(crate) state: Digest,
}

/// The root file system of a machine's image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BaseFile {
    /// Which file that is on this host.
    pub(crate) file: Program,
    /// Of what is in it, once the snapshot has been on another host.
    pub(crate) checksum: Option<Digest>,
}

/// A file of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) size: u64,
    /// See [`super::checksum`].
    pub(crate) checksum: Digest,
}

/// A disk, as it was last written to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Written {
    size: u64,
    /// Seconds and nanoseconds since the Unix epoch.
    modified: (i64, i64),
}

impl Written {
    pub(super) fn at(path: &Path) -> io::Result<Self> {
        let metadata = path.metadata()?;
        Ok(Self {
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        })
    }
}

impl Description {
    pub(super) fn new(name: Name, record: Record, vmm_version: String, cpu: String) -> Self {
        Self {
            form: FORM,
            name,
            id: uuid::Uuid::new_v4().to_string(),
            parent: None,
            created: crate::record::now(),
            record,
            vmm_version,
            cpu,
            paused_ms: 0,
            generation_id: false,
            base: None,
            read: BTreeMap::new(),
            files: BTreeMap::new(),
        }
    }

    pub(super) fn load(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE);
        let bytes = images::files::read(&path, MAX_SIZE).map_err(|error| {
            let kind = if error.is_absence() {
                io::ErrorKind::NotFound
            } else {
                io::ErrorKind::Other
            };
            Error::io("read", &path)(io::Error::new(kind, error))
        })?;
        let mut read: Self = known_form(&bytes, OLDEST..=FORM)
            .and_then(|()| serde_json::from_slice(&bytes))
            .map_err(|source| Error::Record { path, source })?;
        // Whoever copies or renames the folder has a snapshot of that name.
        let called = folder.file_name().and_then(|name| name.to_str()?.parse().ok());
        read.name = called.unwrap_or(read.name);
        Ok(read)
    }

    pub(super) fn save(&self, folder: &Path) -> Result<()> {
        crate::record::write_private(&folder.join(FILE), &self.to_json()?)
    }

    pub(super) fn to_json(&self) -> Result<Vec<u8>> {
        serde_json::to_vec_pretty(self).map_err(|error| Error::system("describe a snapshot")(error.into()))
    }

    /// As one that builds on it knows it.
    pub(super) fn as_parent(&self) -> Result<Parent> {
        let state = self.files.get(STATE).ok_or_else(|| Error::SnapshotDamaged {
            name: self.name.clone(),
            reason: format!("it has no {STATE}"),
        })?;
        Ok(Parent {
            name: self.name.clone(),
            id: self.id.clone(),
            state: state.checksum.clone(),
        })
    }

    /// Notes what there is in `folder`.
    pub(super) fn measure(&mut self, folder: &Path, names: Vec<String>) -> Result<()> {
        for name in names {
            let kept = Kept::of(&folder.join(&name))?;
            self.files.insert(name, kept);
        }
        Ok(())
    }

    /// Refuses files in `folder`, of those that are `wanted`, that are not what was kept.
    pub(super) fn verify(&self, folder: &Path, wanted: impl Fn(&str) -> bool) -> Result<()> {
        for (name, kept) in self.files.iter().filter(|(name, _)| wanted(name)) {
            let path = folder.join(name);
            let damaged = |reason: String| Error::SnapshotDamaged {
                name: self.name.clone(),
                reason,
            };
            let size = path
                .metadata()
                .map_err(|error| damaged(format!("{name}: {error}")))?
                .len();
            if size != kept.size {
                return Err(damaged(format!("{name} has {size} bytes and had {}", kept.size)));
            }
            let checksum = checksum::of(&path).map_err(Error::io("read", &path))?;
            if checksum != kept.checksum {
                return Err(damaged(format!("{name} is not what was kept")));
            }
        }
        Ok(())
    }
}

impl Kept {
    pub(super) fn of(path: &Path) -> Result<Self> {
        let failed = || Error::io("read", path);
        Ok(Self {
            size: path.metadata().map_err(failed())?.len(),
            checksum: checksum::of(path).map_err(failed())?,
        })
    }
}

use serde::{Deserialize, Serialize};

use crate::Disk;

/// A folder of the guest with a life of its own: mounted, or at least made, before anything of the image runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    /// Absolute, and not `/`. Made (0755, root's) with its parents if it is missing; symbolic links on the way are followed
    /// inside the root file system.
    pub path: String,
    pub source: VolumeSource,
    /// For everybody in the guest.
    #[serde(default)]
    pub read_only: bool,
}

/// Where a volume's files are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VolumeSource {
    /// In the root file system: what the image has there stays as it is. Under [`crate::Config::read_only`] it can be
    /// written to all the same.
    Folder,
    /// On a disk of its own. One that can be written to and is still empty, but perhaps for `lost+found`, is filled
    /// with what the image has at that place, and gets that folder's owner and mode; any other covers it.
    /// [`Disk::read_only`] and [`Volume::read_only`] each suffice.
    Disk(Disk),
}

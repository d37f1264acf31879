//! Snapshots: a machine as it is in one moment, kept so that others can be made of it.
//!
//! The invariant: a snapshot is finished or not there, needs nothing of the machine it was taken of, and never changes. What is
//! made of it is a machine of its own, with another name, key, machine id and randomness before anybody can reach it.
//!
//! ```text
//! DATA/snapshots/NAME/snapshot.json   what it is, with a checksum of each file
//!                     state           the VMM's
//!                     memory          the guest's, sparse: mapped by every machine made of it
//!                     working-set   what starts touch first, noted by one that was served: see `pager`
//!                     overlay.ext4 or rootfs.ext4, volumeN.ext4   disks that could be written to
//!                     FILE.changes, FILE.map   in the place of one of these, where it is a difference to another snapshot
//! DATA/snapshots/.new-NAME/           one in the making, locked by its maker
//! ```

mod archive;
mod baseline;
mod chain;
mod checksum;
mod description;
mod difference;
mod foreign;
mod frozen;
mod layers;
mod merge;
mod pause;
mod raw;
mod restore;
mod store;
mod take;
mod whole;

pub use archive::Imported;
pub(crate) use archive::{export, import};
pub(crate) use baseline::Baseline;
#[cfg(fuzzing)]
pub(crate) use foreign::fuzz_admit;
pub(crate) use frozen::{Frozen, answer_forsaken};
pub(crate) use merge::merge;
pub(crate) use pause::heal_forsaken;
pub use raw::{Paused, RawSnapshot, RawTaken};
pub(crate) use raw::{create_raw, restore_raw};
pub(crate) use restore::{Clone, copy_disks, restore};
pub use restore::{MemoryBackend, RestoreSpec};
pub use store::SnapshotInfo;
pub(crate) use store::{Held, Snapshots};
pub use take::{SnapshotOptions, Taken};
pub(crate) use take::{fork, take};
pub(crate) use whole::prune;

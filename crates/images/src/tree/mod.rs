//! The root file system in the making: every name and every inode of it, and where each file's data lies.
//!
//! The invariant: it is a tree. There is one root, a folder has one name, each other inode has as many names as it counts
//! links, and an inode without a name holds no data. Names live here, data never does, and the memory all of it takes
//! is counted before it is taken.
//!
//! It is packed: a million names of average length take about 110 MiB, so that converting an image of any size stays
//! within a bound that is known beforehand.

mod arena;
mod node;
mod resolve;

pub(crate) use arena::{DirectoryId, EntryId, Full, NodeId, Tree};
pub(crate) use node::{Body, Data, Extent, Metadata, Time, Xattr};
pub(crate) use resolve::{Place, ResolveError, Walk, components};

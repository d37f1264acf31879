//! What there is and cannot be read: machines and snapshots whose description is damaged, and what lies beside them and is
//! none of ours.
//!
//! The invariant: what cannot be read stands in the way of nothing but itself. It is told, it can be removed by its name, and
//! no image, snapshot or volume that it may need is taken away before.

use std::io;
use std::path::PathBuf;

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::error::with_causes;
use crate::knaller::Inner;
use crate::{Error, Name, Options, Result, folder, heal, layout, list};

/// A machine or a snapshot whose description cannot be read: half a file, one of a newer version, or none. It can be removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Damaged {
    pub name: Name,
    /// What is wrong with it: a sentence without its full stop.
    pub reason: String,
    /// Whether a process of a machine's last boot lives nevertheless.
    pub running: bool,
}

impl Damaged {
    pub(crate) fn new(name: Name, error: &Error) -> Self {
        Self {
            name,
            reason: with_causes(error),
            running: false,
        }
    }
}

/// Whether an error in reading a description is of what was to be read. One of this process's own, as when it has too many
/// open files, tells nothing of that.
pub(crate) fn is_of_the_file(error: &Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        let code = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::raw_os_error);
        let own = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::INTR];
        if own.iter().any(|errno| code == Some(errno.raw_os_error())) {
            return false;
        }
        cause = error.source();
    }
    matches!(
        error,
        Error::Record { .. } | Error::Io { .. } | Error::NotFound(_)
    )
}

/// The machines that are damaged, by name.
pub(crate) fn machines(inner: &Inner) -> Result<Vec<Damaged>> {
    let names = heal::names(&inner.options.paths)?;
    Ok(names
        .into_iter()
        .filter_map(|name| machine(inner, &name))
        .collect())
}

/// What is wrong with a machine's description; nothing if it is whole, or gone by now.
pub(crate) fn machine(inner: &Inner, name: &Name) -> Option<Damaged> {
    let error = list::load(inner, name).err().filter(is_of_the_file)?;
    let files = layout::files(&inner.options.paths, name);
    if !folder::is_one(&files.data) {
        return None;
    }
    Some(Damaged {
        running: heal::lives(&files).unwrap_or(true),
        ..Damaged::new(name.clone(), &error)
    })
}

/// What lies in the folders of machines and snapshots and is neither. It stays: who put it there may want it.
pub(crate) fn strays(options: &Options) -> Vec<PathBuf> {
    let folders = [layout::vms(&options.paths), options.paths.data.join("snapshots")];
    folders.iter().flat_map(|parent| folder::strays(parent)).collect()
}

//! Which snapshot a machine's next difference is one to.
//!
//! The invariant: only what was said after the VMM began to count counts: before it is asked to write a guest, whoever
//! for, the file says that its list of changes is of no use, and only when a snapshot has its name, that it begins
//! there. It is of one boot.

use std::io;

use serde::{Deserialize, Serialize};

use super::description::Parent;
use super::store::Held;
use crate::layout::Files;
use crate::record::{Record, write_private};
use crate::{Error, Result};

/// The most bytes of the file.
const MAX_SIZE: u64 = 64 << 10;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Baseline {
    /// The boot of the machine.
    instance: String,
    pub(super) parent: Parent,
    /// Whether what the VMM knows of changes, if it keeps an account of them, begins there.
    pub(super) tracked: bool,
}

impl Baseline {
    pub(super) fn new(record: &Record, parent: Parent) -> Self {
        Self {
            instance: record.instance.clone(),
            parent,
            tracked: true,
        }
    }

    /// A machine was made of a snapshot: its next difference is one to that, if it has a name.
    pub(crate) fn loaded(files: &Files, record: &Record, held: &Held) -> Result<()> {
        if held.is_named() {
            Self::new(record, held.description.as_parent()?).save(files)?;
        }
        Ok(())
    }

    /// That of the machine's present boot, or why it has none: a sentence.
    pub(super) fn of(files: &Files, record: &Record) -> Result<std::result::Result<Self, String>> {
        let machine = &record.name;
        Ok(match Self::load(files)? {
            Some(baseline) if baseline.instance == record.instance => Ok(baseline),
            Some(Self { parent, .. }) => Err(format!(
                "{machine} was started anew since its snapshot {} was taken, on which a difference would build",
                parent.name
            )),
            None => Err(format!(
                "{machine} has no snapshot that a difference could build on"
            )),
        })
    }

    pub(super) fn save(&self, files: &Files) -> Result<()> {
        let json = serde_json::to_vec_pretty(self);
        let json = json.map_err(|error| Error::system("write what a difference is to")(error.into()))?;
        write_private(&files.baseline(), &json)
    }

    fn load(files: &Files) -> Result<Option<Self>> {
        let path = files.baseline();
        match images::files::read(&path, MAX_SIZE) {
            Err(error) if error.is_absence() => Ok(None),
            Err(error) => Err(Error::io("read", &path)(io::Error::other(error))),
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|source| Error::Record { path, source }),
        }
    }
}

/// The VMM's list of changes begins anew: with what it writes now, which may never get a name.
pub(super) fn untrack(files: &Files) -> Result<()> {
    match Baseline::load(files)? {
        Some(baseline) if baseline.tracked => Baseline {
            tracked: false,
            ..baseline
        }
        .save(files),
        _ => Ok(()),
    }
}

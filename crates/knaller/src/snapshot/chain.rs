//! A snapshot and what it builds on.
//!
//! The invariant: each of a chain is the very one that the next was taken over, and stays it for as long as the chain
//! is held: none of it is removed or merged meanwhile.
//!
//! Of a part of a machine, say `memory`, a snapshot has the whole, as `memory`, or which pages of it are not as in its
//! parent, as `memory.map`, and those pages, as `memory.changes`.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use super::description::Parent;
use super::layers::{Layers, Pages};
use super::store::{Held, Snapshots};
use crate::handover::{MEMORY, STATE};
use crate::{Error, Name, Result};

/// The most snapshots that build on each other: each is one more to look at when a machine is made.
pub(super) const LIMIT: usize = 32;

const CHANGES: &str = ".changes";
const MAP: &str = ".map";

impl Snapshots {
    /// The snapshot with all that it builds on.
    pub(crate) fn chain(&self, name: &Name) -> Result<Held> {
        self.with_parents(self.get(name)?)
    }

    pub(super) fn with_parents(&self, mut held: Held) -> Result<Held> {
        let mut child = held.description.name.clone();
        let mut next = held.description.parent.clone();
        while let Some(parent) = next {
            if held.length() == LIMIT {
                return Err(Error::ChainTooLong {
                    name: held.description.name,
                    limit: LIMIT,
                });
            }
            let parent = self.parent(&child, &parent)?;
            child.clone_from(&parent.description.name);
            next = parent.description.parent.clone();
            held.below.push(parent);
        }
        Ok(held)
    }

    /// The very snapshot that `child`, a snapshot or machine, knows by this name.
    fn parent(&self, child: &Name, parent: &Parent) -> Result<Held> {
        let (child, name) = (child.clone(), parent.name.clone());
        let held = match self.get(&parent.name) {
            Err(Error::NoSnapshot(_)) => return Err(Error::ParentMissing { child, name }),
            held => held?,
        };
        if held.description.as_parent()? == *parent {
            Ok(held)
        } else {
            Err(Error::ParentChanged { child, name })
        }
    }

    /// The snapshot for a difference of `machine`, with all that it builds on.
    pub(super) fn to_build_on(&self, machine: &Name, parent: &Parent) -> Result<Held> {
        let held = self.with_parents(self.parent(machine, parent)?)?;
        if held.length() == LIMIT {
            return Err(Error::ChainTooLong {
                name: parent.name.clone(),
                limit: LIMIT,
            });
        }
        Ok(held)
    }
}

impl Held {
    /// How many there are, with it.
    pub(super) fn length(&self) -> usize {
        self.below.len() + 1
    }

    /// From it down.
    fn members(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(&self.below)
    }

    /// Whether it has this file itself. What was put together of a difference is not its own.
    fn has(&self, file: &str) -> bool {
        let own = self.description.parent.is_none() || self.description.files.contains_key(file);
        own && self.folder().join(file).exists()
    }

    /// The names that its files have when it is whole.
    pub(super) fn parts(&self) -> BTreeSet<String> {
        let files = self.description.files.keys();
        let part = |name: &String| {
            let whole = name.strip_suffix(CHANGES).or_else(|| name.strip_suffix(MAP));
            whole.unwrap_or(name).to_owned()
        };
        files.map(part).collect()
    }

    /// A part of it. None if it has no such part.
    pub(super) fn layers(&self, part: &str) -> Result<Option<Layers>> {
        let mut over = Vec::new();
        for member in self.members() {
            if member.has(part) {
                let path = member.folder().join(part);
                let whole = File::open(&path).map_err(Error::io("open", &path))?;
                let mut layers = Layers::new(whole).map_err(Error::io("read", &path))?;
                for member in over.into_iter().rev() {
                    lay(&mut layers, member, part)?;
                }
                return Ok(Some(layers));
            }
            if !member.has(&format!("{part}{CHANGES}")) {
                break;
            }
            over.push(member);
        }
        Ok(None)
    }

    /// Refuses files, of it and of all that it builds on, that are not what was kept. Blocks.
    pub(super) fn verify(&self) -> Result<()> {
        self.verify_those(|_| true)
    }

    /// As [`Self::verify`], but for the memory.
    pub(super) fn verify_but_memory(&self) -> Result<()> {
        self.verify_those(|name| {
            ![MEMORY.to_owned(), changes_of(MEMORY), map_of(MEMORY)].contains(&name.to_owned())
        })
    }

    /// As [`Self::verify`], of the disks alone.
    pub(super) fn verify_disks(&self) -> Result<()> {
        let others = [
            STATE.to_owned(),
            MEMORY.to_owned(),
            changes_of(MEMORY),
            map_of(MEMORY),
        ];
        self.verify_those(|name| !others.iter().any(|other| other == name))
    }

    fn verify_those(&self, wanted: impl Fn(&str) -> bool) -> Result<()> {
        let mut members = self.members();
        members.try_for_each(|member| member.description.verify(member.folder(), &wanted))
    }
}

fn lay(layers: &mut Layers, member: &Held, part: &str) -> Result<()> {
    let damaged = |error: std::io::Error| Error::SnapshotDamaged {
        name: member.description.name.clone(),
        reason: format!("{part}: {error}"),
    };
    let [changes, map] = difference_at(member.folder(), part);
    let pages = Pages::load(&map, layers.size()).map_err(damaged)?;
    let file = File::open(&changes).map_err(damaged)?;
    layers.lay(file, pages).map_err(damaged)
}

pub(super) fn changes_of(part: &str) -> String {
    format!("{part}{CHANGES}")
}

fn map_of(part: &str) -> String {
    format!("{part}{MAP}")
}

/// Where a folder has what changed of a part, and which pages those are.
pub(super) fn difference_at(folder: &Path, part: &str) -> [PathBuf; 2] {
    [folder.join(changes_of(part)), folder.join(map_of(part))]
}

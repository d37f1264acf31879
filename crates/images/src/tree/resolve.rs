//! From a path in an archive to a place in the tree.
//!
//! The invariant: whatever the path and whatever the links, the place is within the tree: `..` of the root is the root,
//! and a symbolic link is read as one of a process whose root this is. (As umoci, the reference here, does by its
//! `filepath-securejoin`.)

use super::arena::{DirectoryId, Full, NodeId, Tree};
use super::node::{Body, Extent, Metadata};

/// Symbolic links followed for one path: what Linux follows (path_resolution(7)) would be 40; the reference has 255.
const MAX_LINKS: usize = 255;

/// Names followed for one path, those of links included: an archive cannot make one of its paths cost more than this.
const MAX_STEPS: usize = 16 * 1024;

/// Where something goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place<'a> {
    Root,
    /// A name in a folder, there or not.
    In {
        directory: DirectoryId,
        name: &'a [u8],
    },
}

/// Why a path leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ResolveError {
    /// More links than are followed.
    Loop,
    /// More folders within one another than are allowed.
    Depth,
    /// A name of more than 255 bytes.
    Name,
    Full,
}

impl From<Full> for ResolveError {
    fn from(_: Full) -> Self {
        Self::Full
    }
}

/// How a walk treats what is missing.
pub(crate) struct Walk<'a> {
    pub(crate) layer: u16,
    /// Folders within one another.
    pub(crate) max_depth: usize,
    /// What folders get that no entry describes.
    pub(crate) implied: &'a Metadata,
    /// Takes the data of files that stand where a folder must be.
    pub(crate) freed: &'a mut dyn FnMut(Extent),
}

/// The names of a path without `.` and with `..` taken literally, as in an absolute path.
pub(crate) fn components(path: &[u8]) -> Vec<&[u8]> {
    let mut names = Vec::new();
    for name in path.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => {
                names.pop();
            }
            name => names.push(name),
        }
    }
    names
}

impl Tree {
    /// The place that an entry's path names: links on the way are followed, the last name is not. Folders on the way are made,
    /// and files that stand where one must be are replaced.
    pub(crate) fn place<'a>(
        &mut self,
        path: &'a [u8],
        walk: &mut Walk<'_>,
    ) -> Result<Place<'a>, ResolveError> {
        let names = components(path);
        let Some((name, parents)) = names.split_last() else {
            return Ok(Place::Root);
        };
        if name.len() > 255 {
            return Err(ResolveError::Name);
        }
        let directory = self.walk(parents, walk)?;
        Ok(Place::In { directory, name })
    }

    /// The inode that a path names, if there is one; the last name is not followed.
    pub(crate) fn look_up(&self, path: &[u8]) -> Result<Option<NodeId>, ResolveError> {
        Ok(match self.locate(path)? {
            None => None,
            Some(Place::Root) => Some(DirectoryId::ROOT.node()),
            Some(Place::In { directory, name }) => self.find(directory, name).map(|id| self.entry(id).node),
        })
    }

    /// As [`Self::place`], but makes nothing: `None` where the folder is not there.
    pub(crate) fn locate<'a>(&self, path: &'a [u8]) -> Result<Option<Place<'a>>, ResolveError> {
        let names = components(path);
        let Some((name, parents)) = names.split_last() else {
            return Ok(Some(Place::Root));
        };
        let Reached { at, missing, .. } = self.reach(parents)?;
        let directory = missing.is_empty().then_some(at);
        Ok(directory.map(|directory| Place::In { directory, name }))
    }

    /// Follows folders and links from the root, and makes what is missing.
    fn walk(&mut self, names: &[&[u8]], walk: &mut Walk<'_>) -> Result<DirectoryId, ResolveError> {
        let Reached { at, depth, missing } = self.reach(names)?;
        // The entry itself is one deeper.
        if depth + missing.len() + 1 > walk.max_depth {
            return Err(ResolveError::Depth);
        }
        let mut directory = at;
        for name in missing {
            if name.len() > 255 {
                return Err(ResolveError::Name);
            }
            if let Some(file) = self.find(directory, &name) {
                self.remove(file, walk.freed);
            }
            self.touch_directory(directory, walk.layer);
            let made = self.create(
                directory,
                &name,
                walk.layer,
                Body::Directory,
                walk.implied.clone(),
            )?;
            directory = self.directory(made).ok_or(ResolveError::Full)?;
        }
        Ok(directory)
    }

    /// Follows names as far as they lead. As in the reference, `..` behind a name that is missing takes that name back.
    fn reach(&self, names: &[&[u8]]) -> Result<Reached, ResolveError> {
        // Names still to go, the next one last.
        let mut ahead: Vec<&[u8]> = names.iter().rev().copied().collect();
        let (mut at, mut depth, mut missing) = (DirectoryId::ROOT, 0_usize, Vec::new());
        let (mut links, mut steps) = (0_usize, 0_usize);
        while let Some(name) = ahead.pop() {
            steps += 1;
            if steps > MAX_STEPS {
                return Err(ResolveError::Loop);
            }
            match name {
                b"" | b"." => continue,
                b".." => {
                    if missing.pop().is_none() {
                        at = self.parent(at);
                        depth = depth.saturating_sub(1);
                    }
                    continue;
                }
                _ => {}
            }
            let found = if missing.is_empty() {
                self.find(at, name).map(|id| self.entry(id).node)
            } else {
                None
            };
            if let Some(directory) = found.and_then(|node| self.directory(node)) {
                (at, depth) = (directory, depth + 1);
                continue;
            }
            match found.map(|node| &self.node(node).body) {
                Some(Body::Symlink { target }) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(ResolveError::Loop);
                    }
                    ahead.extend(target.split(|byte| *byte == b'/').rev());
                    if target.first() == Some(&b'/') {
                        (at, depth) = (DirectoryId::ROOT, 0);
                    }
                }
                _ => missing.push(name.to_vec()),
            }
        }
        Ok(Reached { at, depth, missing })
    }
}

/// How far names lead.
struct Reached {
    at: DirectoryId,
    /// Folders that `at` is in.
    depth: usize,
    /// What would have to be made in there, the first one perhaps in the place of what is no folder.
    missing: Vec<Vec<u8>>,
}

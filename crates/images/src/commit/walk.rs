//! Both trees side by side: what the overlay changed in the base, folder by folder.
//!
//! The invariant: a folder is either *merged*, and then its lower one is the base's at the same path and only changes are
//! written; or it is *fresh*, and then nothing of the base is seen at its path and all that is in it is written.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::File;
use std::io::{Read, Write};

use super::error::{CommitError, Side};
use super::marks::{Marks, is_whiteout_device};
use super::own::{Own, OwnContents};
use super::packer::{Disk, Packer, join, limit, shown};
use super::{Committed, Limits};
use crate::ext4::read::{Filesystem, Inode, InodeNumber, Kind};

/// Starts the name of an entry that says that another is not there.
const WHITEOUT: &[u8] = b".wh.";
/// Says that nothing of lower layers is in its folder.
const OPAQUE: &[u8] = b".wh..wh..opq";

/// The most of a text that is compared, in bytes: 1 MiB, as the guest's init reads.
const MAX_TEXT: u64 = 1 << 20;

/// A folder that is to be written.
struct Folder {
    /// Without a leading `/`; the root's is empty.
    path: Vec<u8>,
    /// Folders that it is in.
    depth: u64,
    upper: Option<Inode>,
    /// What shines through.
    lower: Option<Inode>,
    is_fresh: bool,
    /// The base has a folder at the path that is not to be seen.
    hides: bool,
}

type Names = BTreeMap<Vec<u8>, InodeNumber>;

/// The walk through both trees.
pub(super) struct Walk<'a, W: Write> {
    upper: Disk<'a>,
    lower: Disk<'a>,
    own: &'a [Own],
    limits: &'a Limits,
    packer: Packer<'a, W>,
    /// The next one last, so that a folder's contents follow it.
    pending: Vec<Folder>,
    /// The overlay's folders that were met.
    seen: HashSet<InodeNumber>,
}

impl<'a, W: Write> Walk<'a, W> {
    pub(super) fn new(
        upper: &'a Filesystem<'a, File>,
        lower: &'a Filesystem<'a, File>,
        own: &'a [Own],
        limits: &'a Limits,
        packer: Packer<'a, W>,
    ) -> Result<Self, CommitError> {
        let disk = |side, filesystem| Disk { side, filesystem };
        let (upper, lower) = (disk(Side::Overlay, upper), disk(Side::Base, lower));
        let changes = upper
            .filesystem
            .look_up(b"upper")
            .map_err(|source| upper.failed(source))?;
        let changes = changes.filter(|inode| inode.kind == Kind::Directory);
        let base = lower.filesystem.inode(InodeNumber::ROOT);
        let root = Folder {
            path: Vec::new(),
            depth: 0,
            upper: Some(changes.ok_or(CommitError::NoUpper)?),
            lower: Some(base.map_err(|source| lower.failed(source))?),
            is_fresh: false,
            hides: false,
        };
        Ok(Self {
            upper,
            lower,
            own,
            limits,
            packer,
            pending: vec![root],
            seen: HashSet::new(),
        })
    }

    pub(super) fn run(mut self) -> Result<Committed, CommitError> {
        while let Some(folder) = self.pending.pop() {
            self.folder(&folder)?;
        }
        self.packer.finish()
    }

    fn folder(&mut self, folder: &Folder) -> Result<(), CommitError> {
        if folder.depth > self.limits.depth {
            return Err(limit("folders within one another", self.limits.depth, "depth"));
        }
        let marks = match &folder.upper {
            Some(upper) => self.marks(self.upper, upper)?,
            None => Marks::default(),
        };
        if let Some(upper) = &folder.upper
            && !self.seen.insert(upper.number)
        {
            let path = shown(&folder.path);
            return Err(CommitError::Twice { path });
        }
        self.itself(folder, &marks)?;
        if folder.hides {
            self.packer.whiteout(&join(&folder.path, OPAQUE))?;
        }
        let upper = self.names(self.upper, folder.upper.as_ref())?;
        let lower = self.names(self.lower, folder.lower.as_ref())?;
        let mut below = Vec::new();
        let names: BTreeSet<&Vec<u8>> = if folder.is_fresh {
            upper.keys().chain(lower.keys()).collect()
        } else {
            upper.keys().collect()
        };
        for name in names {
            let there = lower.get(name).map(|number| self.read(self.lower, *number));
            let there = there.transpose()?.filter(|inode| !is_whiteout_device(inode));
            let next = match upper.get(name) {
                Some(number) => {
                    let inode = self.read(self.upper, *number)?;
                    self.changed(folder, &marks, name, inode, there)?
                }
                None => self.shining_through(folder, name, there)?,
            };
            below.extend(next);
        }
        self.pending.extend(below.into_iter().rev());
        Ok(())
    }

    /// The folder's own entry.
    fn itself(&mut self, folder: &Folder, marks: &Marks) -> Result<(), CommitError> {
        let path: &[u8] = if folder.path.is_empty() {
            b"."
        } else {
            &folder.path
        };
        let path = [path, b"/"].concat();
        if let Some(upper) = &folder.upper {
            let data = (self.upper, upper);
            self.packer
                .inode(&path, self.upper, upper, marks.others.clone(), data)
        } else if let Some(lower) = &folder.lower {
            let marks = self.marks(self.lower, lower)?;
            self.packer
                .inode(&path, self.lower, lower, marks.others, (self.lower, lower))
        } else {
            Ok(())
        }
    }

    /// A name that the overlay has. `there` is what the base has under it. Gives the folder that it is.
    fn changed(
        &mut self,
        folder: &Folder,
        folder_marks: &Marks,
        name: &[u8],
        inode: Inode,
        there: Option<Inode>,
    ) -> Result<Option<Folder>, CommitError> {
        let path = join(&folder.path, name);
        let marks = self.marks(self.upper, &inode)?;
        if marks.is_whiteout(&inode, folder_marks) {
            if !folder.is_fresh && there.is_some() {
                let hidden = [WHITEOUT, name].concat();
                self.packer.whiteout(&join(&folder.path, &hidden))?;
            }
            return Ok(None);
        }
        if name.starts_with(WHITEOUT) {
            return Err(CommitError::Whiteout { path: shown(&path) });
        }
        if self.is_own(folder, &path, &inode, there.as_ref())? {
            return Ok(None);
        }
        let source = match &marks.redirect {
            Some(target) => self.redirected(folder, target)?,
            None => there.clone(),
        };
        if inode.kind != Kind::Directory {
            let source = source.filter(|source| source.kind == Kind::File);
            let data = match &source {
                Some(source) if marks.is_without_data => (self.lower, source),
                None if marks.is_without_data => {
                    return Err(CommitError::NoData { path: shown(&path) });
                }
                _ => (self.upper, &inode),
            };
            self.packer.inode(&path, self.upper, &inode, marks.others, data)?;
            return Ok(None);
        }
        let is_directory = |inode: &Inode| inode.kind == Kind::Directory;
        let lower = source.filter(is_directory).filter(|_| !marks.is_opaque);
        let there = there.filter(is_directory);
        // One that was renamed and back again says where it is too.
        let is_same = there.is_some()
            && there.as_ref().map(|inode| inode.number) == lower.as_ref().map(|inode| inode.number);
        Ok(Some(Folder {
            path,
            depth: folder.depth + 1,
            upper: Some(inode),
            lower,
            is_fresh: folder.is_fresh || !is_same,
            hides: !folder.is_fresh && !is_same && there.is_some(),
        }))
    }

    /// Whether the machine's init wrote this.
    fn is_own(
        &self,
        folder: &Folder,
        path: &[u8],
        inode: &Inode,
        there: Option<&Inode>,
    ) -> Result<bool, CommitError> {
        let own = self.own.iter().find(|own| own.is_at(path));
        // In a folder that is written whole nothing shines through.
        let Some(own) = own.filter(|_| !folder.is_fresh) else {
            return Ok(false);
        };
        match &own.contents {
            OwnContents::Link(to) if inode.kind == Kind::Symlink && there.is_none() => {
                let target = self.upper.filesystem.target(inode);
                Ok(target.map_err(|source| self.upper.failed(source))? == to.as_bytes())
            }
            OwnContents::Text(is_own) if inode.kind == Kind::File => {
                let before = there.filter(|there| there.kind == Kind::File);
                let before = before.map_or(Ok(String::new()), |there| text(self.lower, there))?;
                Ok(is_own(&before, &text(self.upper, inode)?))
            }
            _ => Ok(false),
        }
    }

    /// A name that only the base has, in a folder that is written whole.
    fn shining_through(
        &mut self,
        folder: &Folder,
        name: &[u8],
        there: Option<Inode>,
    ) -> Result<Option<Folder>, CommitError> {
        let Some(inode) = there else {
            return Ok(None);
        };
        let path = join(&folder.path, name);
        if inode.kind != Kind::Directory {
            let marks = self.marks(self.lower, &inode)?;
            let data = (self.lower, &inode);
            self.packer.inode(&path, self.lower, &inode, marks.others, data)?;
            return Ok(None);
        }
        Ok(Some(Folder {
            path,
            depth: folder.depth + 1,
            upper: None,
            lower: Some(inode),
            is_fresh: true,
            hides: false,
        }))
    }

    /// What a redirect leads to; as to the kernel, one that leads nowhere says nothing.
    fn redirected(&self, folder: &Folder, target: &[u8]) -> Result<Option<Inode>, CommitError> {
        if target.starts_with(b"/") {
            let found = self.lower.filesystem.look_up(target);
            return found.map_err(|source| self.lower.failed(source));
        }
        let names = self.names(self.lower, folder.lower.as_ref())?;
        let number = names.get(target).copied();
        number.map(|number| self.read(self.lower, number)).transpose()
    }

    fn names(&self, disk: Disk<'_>, folder: Option<&Inode>) -> Result<Names, CommitError> {
        let entries = folder.map(|folder| disk.filesystem.directory(folder)).transpose();
        let entries = entries.map_err(|source| disk.failed(source))?.unwrap_or_default();
        Ok(entries
            .into_iter()
            .map(|entry| (entry.name, entry.inode))
            .collect())
    }

    fn read(&self, disk: Disk<'_>, number: InodeNumber) -> Result<Inode, CommitError> {
        disk.filesystem
            .inode(number)
            .map_err(|source| disk.failed(source))
    }

    fn marks(&self, disk: Disk<'_>, inode: &Inode) -> Result<Marks, CommitError> {
        let xattrs = disk.filesystem.xattrs(inode);
        Ok(Marks::new(xattrs.map_err(|source| disk.failed(source))?))
    }
}

/// A file's first bytes, more than any of an init's own files has.
fn text(disk: Disk<'_>, inode: &Inode) -> Result<String, CommitError> {
    let mut bytes = Vec::new();
    let contents = disk.filesystem.contents(inode);
    let contents = contents.map_err(|source| disk.failed(source))?;
    let read = contents.take(MAX_TEXT).read_to_end(&mut bytes);
    read.map_err(|source| CommitError::Data {
        side: disk.side,
        source,
    })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

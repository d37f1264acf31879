//! The entries of layers, one after the other, as changes to the tree.
//!
//! The invariant: a whiteout hides what lower layers have, wherever in its layer it stands, and never what its own layer has
//! (image-spec, layer.md, "Whiteouts"); anything else replaces what has its name, but a folder stays with all that is
//! in it when a folder comes in its place.

use std::io::Read;

use super::error::{ConvertError, Problem};
use super::limits::Limits;
use super::xattrs;
use crate::ext4::write::{Blocks, FileData};
use crate::tar::{self, Kind, Reader};
use crate::task::Task;
use crate::tree::{
    Body, DirectoryId, EntryId, Full, Metadata, NodeId, Place, ResolveError, Time, Tree, Walk, components,
};

/// Starts the name of an entry that says that another is not there.
const WHITEOUT: &[u8] = b".wh.";
/// Says that nothing of lower layers is in its folder.
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Starts the names that aufs used for itself.
const AUFS: &[u8] = b".wh..wh.";

/// Names of one inode that ext4 can count (EXT4_LINK_MAX).
const MAX_LINKS: u32 = 65_000;
/// What fits in a block with its end.
const MAX_TARGET: usize = 4_095;

/// Applies layers to a tree.
pub(super) struct Applier<'a> {
    tree: Tree,
    limits: &'a Limits,
    task: &'a Task,
    entries: u64,
    left_out: u64,
}

/// What came of it.
pub(super) struct Applied {
    pub(super) tree: Tree,
    pub(super) left_out: u64,
}

/// Why an entry was not taken.
enum Refusal {
    Problem(Problem),
    Error(ConvertError),
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl<E: Into<ConvertError>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

/// An entry of a layer, in short.
struct Context<'b, 'f> {
    layer: u16,
    blocks: &'b mut Blocks<'f>,
}

impl<'a> Applier<'a> {
    pub(super) fn new(tree: Tree, limits: &'a Limits, task: &'a Task) -> Self {
        Self {
            tree,
            limits,
            task,
            entries: 0,
            left_out: 0,
        }
    }

    pub(super) fn finish(self) -> Applied {
        Applied {
            tree: self.tree,
            left_out: self.left_out,
        }
    }

    /// Applies one layer, read to its end, and gives its reader back.
    pub(super) fn apply<R: Read>(
        &mut self,
        number: usize,
        layer: R,
        blocks: &mut Blocks<'_>,
    ) -> Result<R, ConvertError> {
        let archive = |source| ConvertError::archive(number, source);
        let mut reader = Reader::new(layer, &self.limits.tar());
        // Layer 0 is that of the root folder, which is there before the first.
        let index = u16::try_from(number + 1).map_err(|_| limit("layers", u64::from(u16::MAX), "layers"))?;
        while let Some(entry) = reader.next().map_err(archive)? {
            self.task.check()?;
            self.entries += 1;
            if self.entries > self.limits.entries {
                return Err(limit("entries", self.limits.entries, "entries"));
            }
            let path = entry.path.clone();
            let mut context = Context { layer: index, blocks };
            let body = self.entry(entry, &mut context, |data| copy(number, &mut reader, data));
            match body {
                Ok(()) => {}
                Err(Refusal::Error(error)) => return Err(error),
                Err(Refusal::Problem(problem)) => {
                    return Err(ConvertError::Entry {
                        layer: number,
                        path: tar::Name(path),
                        problem,
                    });
                }
            }
        }
        reader.finish().map_err(archive)
    }

    fn entry(
        &mut self,
        entry: tar::Entry,
        context: &mut Context<'_, '_>,
        copy: impl FnOnce(&mut FileData<'_, '_>) -> Result<Option<Problem>, ConvertError>,
    ) -> Result<(), Refusal> {
        if let Some(name) = whiteout(&entry.path) {
            let name = name?;
            return self.hide(&entry.path, name, context);
        }
        let time = |time: tar::Time| Time {
            seconds: time.seconds,
            nanoseconds: time.nanoseconds,
        };
        let kept = xattrs::keep(&entry)?;
        self.left_out += kept.left_out;
        let metadata = Metadata {
            mode: kept.mode,
            uid: entry.uid,
            gid: entry.gid,
            mtime: time(entry.mtime),
            atime: time(entry.atime.unwrap_or(entry.mtime)),
            xattrs: kept.xattrs,
        };
        let place = self.place(&entry.path, &metadata, context)?;
        let body = match entry.kind {
            Kind::Directory => return self.directory(place, metadata, context),
            Kind::HardLink { target, .. } => return self.hard_link(place, &target, context),
            Kind::File { size } => self.file(size, context, copy)?,
            Kind::Symlink { target } if target.is_empty() || target.len() > MAX_TARGET => {
                return Err(Problem::Target.into());
            }
            Kind::Symlink { target } => Body::Symlink {
                target: target.into_boxed_slice(),
            },
            Kind::CharDevice { major, minor } => {
                device(major, minor)?;
                Body::CharDevice { major, minor }
            }
            Kind::BlockDevice { major, minor } => {
                device(major, minor)?;
                Body::BlockDevice { major, minor }
            }
            Kind::Fifo => Body::Fifo,
        };
        let Place::In { directory, name } = place else {
            return Err(Problem::Root.into());
        };
        if let Some(there) = self.tree.find(directory, name) {
            self.remove(there, context);
        }
        let made = self.tree.create(directory, name, context.layer, body, metadata);
        made.map_err(|full| self.full(full))?;
        self.tree.touch_directory(directory, context.layer);
        Ok(())
    }

    /// Where an entry goes; folders that no entry describes get what root would give them at that time.
    fn place<'p>(
        &mut self,
        path: &'p [u8],
        metadata: &Metadata,
        context: &mut Context<'_, '_>,
    ) -> Result<Place<'p>, Refusal> {
        let implied = Metadata {
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime: metadata.mtime,
            atime: metadata.mtime,
            xattrs: Vec::new(),
        };
        let mut walk = Walk {
            layer: context.layer,
            max_depth: usize::try_from(self.limits.depth).unwrap_or(usize::MAX),
            implied: &implied,
            freed: &mut |extent| context.blocks.free(extent),
        };
        let place = self.tree.place(path, &mut walk);
        place.map_err(|error| self.unresolved(error))
    }

    fn directory(
        &mut self,
        place: Place<'_>,
        metadata: Metadata,
        context: &mut Context<'_, '_>,
    ) -> Result<(), Refusal> {
        let Place::In { directory, name } = place else {
            let set = self.tree.set_metadata(DirectoryId::ROOT.node(), metadata);
            return set.map_err(|full| self.full(full));
        };
        let there = self.tree.find(directory, name);
        let folder = there.filter(|id| self.tree.node(self.tree.entry(*id).node).is_directory());
        if let Some(id) = folder {
            let node = self.tree.entry(id).node;
            let set = self.tree.set_metadata(node, metadata);
            set.map_err(|full| self.full(full))?;
            self.tree.touch(id, context.layer);
            return Ok(());
        }
        if let Some(id) = there {
            self.remove(id, context);
        }
        let made = self
            .tree
            .create(directory, name, context.layer, Body::Directory, metadata);
        made.map_err(|full| self.full(full))?;
        self.tree.touch_directory(directory, context.layer);
        Ok(())
    }

    fn hard_link(
        &mut self,
        place: Place<'_>,
        target: &[u8],
        context: &mut Context<'_, '_>,
    ) -> Result<(), Refusal> {
        let Place::In { directory, name } = place else {
            return Err(Problem::Root.into());
        };
        let node = self.target(target)?;
        let there = self.tree.find(directory, name);
        if let Some(id) = there {
            // A name of the same inode stays; anything else goes first, and may take the target with it.
            if self.tree.entry(id).node == node {
                self.tree.touch(id, context.layer);
                return Ok(());
            }
            self.remove(id, context);
        }
        if self.target(target)? != node {
            return Err(Problem::LinkTarget.into());
        }
        if self.tree.node(node).links >= MAX_LINKS {
            return Err(Problem::Links.into());
        }
        let linked = self.tree.link(directory, name, context.layer, node);
        linked.map_err(|full| self.full(full))?;
        self.tree.touch_directory(directory, context.layer);
        Ok(())
    }

    fn target(&self, path: &[u8]) -> Result<NodeId, Refusal> {
        let found = self.tree.look_up(path).map_err(|error| self.unresolved(error))?;
        let node = found.ok_or(Problem::LinkTarget)?;
        if self.tree.node(node).is_directory() {
            return Err(Problem::LinkToDirectory.into());
        }
        Ok(node)
    }

    fn file(
        &mut self,
        size: u64,
        context: &mut Context<'_, '_>,
        copy: impl FnOnce(&mut FileData<'_, '_>) -> Result<Option<Problem>, ConvertError>,
    ) -> Result<Body, Refusal> {
        if size > self.limits.file {
            return Err(limit("single files' bytes", self.limits.file, "file").into());
        }
        let mut data = context.blocks.file();
        if let Some(problem) = copy(&mut data)? {
            return Err(problem.into());
        }
        Ok(Body::File {
            size,
            data: data.finish()?.into(),
        })
    }

    /// Hides what lower layers have under a name, or in the whole folder.
    fn hide(
        &mut self,
        path: &[u8],
        hidden: Hidden<'_>,
        context: &mut Context<'_, '_>,
    ) -> Result<(), Refusal> {
        let located = self.tree.locate(path).map_err(|error| self.unresolved(error))?;
        let Some(Place::In { directory, .. }) = located else {
            return Ok(());
        };
        match hidden {
            Hidden::Folder => self.hide_below(directory, context),
            Hidden::Name(name) => {
                if let Some(id) = self.tree.find(directory, name) {
                    self.hide_lower(id, context);
                }
            }
            Hidden::Nothing => {}
        }
        Ok(())
    }

    fn hide_below(&mut self, directory: DirectoryId, context: &mut Context<'_, '_>) {
        let mut pending = vec![directory];
        while let Some(directory) = pending.pop() {
            let children: Vec<EntryId> = self.tree.children(directory).collect();
            for id in children {
                if self.tree.layer(id) != context.layer {
                    self.remove(id, context);
                } else if let Some(below) = self.tree.directory(self.tree.entry(id).node) {
                    pending.push(below);
                }
            }
        }
    }

    fn hide_lower(&mut self, id: EntryId, context: &mut Context<'_, '_>) {
        if self.tree.layer(id) != context.layer {
            self.remove(id, context);
        } else if let Some(below) = self.tree.directory(self.tree.entry(id).node) {
            self.hide_below(below, context);
        }
    }

    fn remove(&mut self, id: EntryId, context: &mut Context<'_, '_>) {
        self.tree.remove(id, &mut |extent| context.blocks.free(extent));
    }

    fn unresolved(&self, error: ResolveError) -> Refusal {
        match error {
            ResolveError::Loop => Problem::Loop.into(),
            ResolveError::Depth => Problem::Depth.into(),
            ResolveError::Name => Problem::Name.into(),
            ResolveError::Full => self.full(Full),
        }
    }

    fn full(&self, _: Full) -> Refusal {
        Refusal::Error(limit("bytes of names", self.limits.memory, "memory"))
    }
}

/// A limit that is passed.
fn limit(what: &'static str, limit: u64, name: &'static str) -> ConvertError {
    ConvertError::Limit { what, limit, name }
}

/// Copies an entry's data. `Some`: what is wrong with it.
fn copy<R: Read>(
    layer: usize,
    reader: &mut Reader<R>,
    data: &mut FileData<'_, '_>,
) -> Result<Option<Problem>, ConvertError> {
    loop {
        let next = reader
            .data()
            .map_err(|source| ConvertError::archive(layer, source))?;
        let Some((offset, bytes)) = next else {
            return Ok(None);
        };
        if !data.write(offset, bytes)? {
            return Ok(Some(Problem::Order));
        }
    }
}

/// What a whiteout hides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hidden<'a> {
    Folder,
    Name(&'a [u8]),
    Nothing,
}

/// What an entry of this path hides, if it is a whiteout.
fn whiteout(path: &[u8]) -> Option<Result<Hidden<'_>, Problem>> {
    let name = *components(path).last()?;
    if name == OPAQUE {
        return Some(Ok(Hidden::Folder));
    }
    if name.starts_with(AUFS) {
        return Some(Ok(Hidden::Nothing));
    }
    let name = name.strip_prefix(WHITEOUT)?;
    // The parent and the folder itself cannot be hidden by a name in it.
    Some(match name {
        b"" | b"." | b".." => Err(Problem::Whiteout),
        name => Ok(Hidden::Name(name)),
    })
}

fn device(major: u32, minor: u32) -> Result<(), Problem> {
    if major < 1 << 12 && minor < 1 << 20 {
        Ok(())
    } else {
        Err(Problem::Device)
    }
}

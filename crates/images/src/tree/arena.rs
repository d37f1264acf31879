//! Where names and inodes are kept: vectors that only grow, and one table from (folder, name) to entry.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

use super::node::{Body, Extent, Metadata, Node, Time, Xattr};

/// An inode's number here (on the disk it has another).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct NodeId(u32);

impl NodeId {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// A name's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EntryId(u32);

/// A node that is known to be a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct DirectoryId(NodeId);

impl DirectoryId {
    pub(crate) const ROOT: Self = Self(NodeId(0));

    pub(crate) fn node(self) -> NodeId {
        self.0
    }
}

/// A name in a folder.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    parent: DirectoryId,
    pub(crate) node: NodeId,
    name: u32,
    name_length: u8,
    /// The last layer that had this name, or one below it.
    layer: u16,
    next: Option<EntryLink>,
    previous: Option<EntryLink>,
}

/// An [`EntryId`] plus one, so that an optional one takes no more room.
type EntryLink = std::num::NonZeroU32;

fn link(id: EntryId) -> Option<EntryLink> {
    EntryLink::new(id.0 + 1)
}

fn linked(link: EntryLink) -> EntryId {
    EntryId(link.get() - 1)
}

/// The tree has taken all the memory it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// All names and inodes.
#[derive(Debug)]
pub(crate) struct Tree {
    nodes: Vec<Node>,
    entries: Vec<Entry>,
    /// Text of the names, one after the other.
    names: Vec<u8>,
    table: HashTable<u32>,
    hasher: RandomState,
    /// The first entry of each folder that is not empty.
    children: HashMap<NodeId, EntryLink>,
    /// The entry that leads to a folder; the root has none.
    parents: HashMap<NodeId, EntryId>,
    xattrs: HashMap<NodeId, Box<[Xattr]>>,
    atimes: HashMap<NodeId, Time>,
    /// Bytes that boxes hold, counted by hand.
    boxed: usize,
    /// Bytes that all of it may take.
    budget: usize,
}

impl Tree {
    /// An empty root folder, of root's, 0755. The tree will take up to `budget` bytes of memory.
    pub(crate) fn new(budget: usize) -> Self {
        let root = Node {
            body: Body::Directory,
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime_seconds: 0,
            mtime_nanoseconds: 0,
            links: 0,
        };
        Self {
            nodes: vec![root],
            entries: Vec::new(),
            names: Vec::new(),
            table: HashTable::new(),
            hasher: RandomState::new(),
            children: HashMap::new(),
            parents: HashMap::new(),
            xattrs: HashMap::new(),
            atimes: HashMap::new(),
            boxed: 0,
            budget,
        }
    }

    pub(crate) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    pub(crate) fn node_count(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn xattrs(&self, id: NodeId) -> &[Xattr] {
        self.xattrs.get(&id).map_or(&[], |xattrs| xattrs)
    }

    pub(crate) fn atime(&self, id: NodeId) -> Time {
        self.atimes.get(&id).copied().unwrap_or(self.node(id).mtime())
    }

    pub(crate) fn entry(&self, id: EntryId) -> &Entry {
        &self.entries[id.0 as usize]
    }

    pub(crate) fn name(&self, entry: &Entry) -> &[u8] {
        let start = entry.name as usize;
        &self.names[start..start + usize::from(entry.name_length)]
    }

    /// `id` as a folder, if it is one.
    pub(crate) fn directory(&self, id: NodeId) -> Option<DirectoryId> {
        self.node(id).is_directory().then_some(DirectoryId(id))
    }

    /// The folder that `directory` is in; the root is in itself.
    pub(crate) fn parent(&self, directory: DirectoryId) -> DirectoryId {
        let entry = self.parents.get(&directory.0);
        entry.map_or(DirectoryId::ROOT, |entry| self.entry(*entry).parent)
    }

    pub(crate) fn find(&self, parent: DirectoryId, name: &[u8]) -> Option<EntryId> {
        let found = self.table.find(self.hash(parent, name), |index| {
            let entry = &self.entries[*index as usize];
            entry.parent == parent && self.name(entry) == name
        });
        found.map(|index| EntryId(*index))
    }

    /// The names in a folder, in no order.
    pub(crate) fn children(&self, directory: DirectoryId) -> impl Iterator<Item = EntryId> {
        let first = self.children.get(&directory.0).copied();
        std::iter::successors(first, |at| self.entry(linked(*at)).next).map(linked)
    }

    /// Makes an inode under a name that is free.
    pub(crate) fn create(
        &mut self,
        parent: DirectoryId,
        name: &[u8],
        layer: u16,
        body: Body,
        metadata: Metadata,
    ) -> Result<NodeId, Full> {
        self.room(size_of::<Node>() + heap_of(&body))?;
        let id = NodeId(u32::try_from(self.nodes.len()).map_err(|_| Full)?);
        self.boxed += heap_of(&body);
        let directory = matches!(body, Body::Directory);
        self.nodes.push(Node {
            body,
            mode: 0,
            uid: 0,
            gid: 0,
            mtime_seconds: 0,
            mtime_nanoseconds: 0,
            links: 0,
        });
        self.set_metadata(id, metadata)?;
        let entry = self.link(parent, name, layer, id)?;
        if directory {
            self.room(3 * size_of::<(NodeId, EntryId)>())?;
            self.parents.insert(id, entry);
            self.nodes[parent.0.index()].links += 1;
            // Counted as subfolders, not as names.
            self.nodes[id.index()].links = 0;
        }
        Ok(id)
    }

    /// Gives an inode one more name, which is free.
    pub(crate) fn link(
        &mut self,
        parent: DirectoryId,
        name: &[u8],
        layer: u16,
        node: NodeId,
    ) -> Result<EntryId, Full> {
        let name_length = u8::try_from(name.len()).map_err(|_| Full)?;
        self.room(size_of::<Entry>() + name.len() + 3 * size_of::<u32>())?;
        let index = u32::try_from(self.entries.len()).map_err(|_| Full)?;
        let id = EntryId(index);
        let first = self.children.insert(parent.0, link(id).ok_or(Full)?);
        if let Some(first) = first {
            self.entries[linked(first).0 as usize].previous = link(id);
        }
        let entry = Entry {
            parent,
            node,
            name: u32::try_from(self.names.len()).map_err(|_| Full)?,
            name_length,
            layer,
            next: first,
            previous: None,
        };
        self.names.extend_from_slice(name);
        self.entries.push(entry);
        let hash = self.hash(parent, name);
        let (entries, names, hasher) = (&self.entries, &self.names, &self.hasher);
        self.table.insert_unique(hash, index, |index| {
            let entry = &entries[*index as usize];
            let start = entry.name as usize;
            hasher.hash_one((
                entry.parent,
                &names[start..start + usize::from(entry.name_length)],
            ))
        });
        self.nodes[node.index()].links += 1;
        Ok(id)
    }

    pub(crate) fn set_metadata(&mut self, id: NodeId, metadata: Metadata) -> Result<(), Full> {
        let weigh = |xattrs: &[Xattr]| -> usize {
            let each = |(name, value): &Xattr| size_of::<Xattr>() + name.len() + value.len();
            xattrs.iter().map(each).sum::<usize>()
        };
        let weight = weigh(&metadata.xattrs);
        self.room(weight + size_of::<(NodeId, Box<[Xattr]>)>() + size_of::<(NodeId, Time)>())?;
        let node = &mut self.nodes[id.index()];
        node.mode = metadata.mode;
        node.uid = metadata.uid;
        node.gid = metadata.gid;
        node.mtime_seconds = metadata.mtime.seconds;
        node.mtime_nanoseconds = metadata.mtime.nanoseconds;
        if metadata.atime == metadata.mtime {
            self.atimes.remove(&id);
        } else {
            self.atimes.insert(id, metadata.atime);
        }
        let before = if metadata.xattrs.is_empty() {
            self.xattrs.remove(&id)
        } else {
            self.xattrs.insert(id, metadata.xattrs.into_boxed_slice())
        };
        self.boxed = self.boxed + weight - before.map_or(0, |xattrs| weigh(&xattrs));
        Ok(())
    }

    /// Says that `layer` has this name or one below it.
    pub(crate) fn touch(&mut self, id: EntryId, layer: u16) {
        let mut at = Some(id);
        while let Some(id) = at {
            let entry = &mut self.entries[id.0 as usize];
            if entry.layer == layer {
                break;
            }
            entry.layer = layer;
            at = self.parents.get(&entry.parent.0).copied();
        }
    }

    /// As [`Self::touch`], for the name of a folder.
    pub(crate) fn touch_directory(&mut self, directory: DirectoryId, layer: u16) {
        if let Some(entry) = self.parents.get(&directory.0) {
            self.touch(*entry, layer);
        }
    }

    pub(crate) fn layer(&self, id: EntryId) -> u16 {
        self.entry(id).layer
    }

    /// Removes a name and all below it. `freed` takes the extents of each file that has lost its last name.
    pub(crate) fn remove(&mut self, id: EntryId, freed: &mut dyn FnMut(Extent)) {
        let mut pending = vec![id];
        while let Some(id) = pending.pop() {
            let entry = *self.entry(id);
            self.unlink(id, &entry);
            if let Some(directory) = self.directory(entry.node) {
                pending.extend(self.children(directory));
                self.nodes[entry.parent.0.index()].links -= 1;
                self.parents.remove(&entry.node);
                self.forget(entry.node);
                continue;
            }
            let node = &mut self.nodes[entry.node.index()];
            node.links -= 1;
            if node.links == 0 {
                if let Body::File { data, .. } = &node.body {
                    data.extents().iter().copied().for_each(&mut *freed);
                }
                self.boxed -= heap_of(&node.body);
                node.body = Body::Fifo;
                self.forget(entry.node);
            }
        }
    }

    /// Takes an entry out of its folder's list and out of the table.
    fn unlink(&mut self, id: EntryId, entry: &Entry) {
        let hash = self.hash(entry.parent, self.name(entry));
        if let Ok(found) = self.table.find_entry(hash, |index| *index == id.0) {
            found.remove();
        }
        if let Some(next) = entry.next {
            self.entries[linked(next).0 as usize].previous = entry.previous;
        }
        match (entry.previous, entry.next) {
            (Some(previous), next) => self.entries[linked(previous).0 as usize].next = next,
            (None, Some(next)) => {
                self.children.insert(entry.parent.0, next);
            }
            (None, None) => {
                self.children.remove(&entry.parent.0);
            }
        }
    }

    /// Drops what is kept beside a node.
    fn forget(&mut self, id: NodeId) {
        self.atimes.remove(&id);
        if let Some(xattrs) = self.xattrs.remove(&id) {
            let each = |(name, value): &Xattr| size_of::<Xattr>() + name.len() + value.len();
            self.boxed -= xattrs.iter().map(each).sum::<usize>();
        }
    }

    fn hash(&self, parent: DirectoryId, name: &[u8]) -> u64 {
        self.hasher.hash_one((parent, name))
    }

    /// Whether `more` bytes may be taken.
    fn room(&self, more: usize) -> Result<(), Full> {
        if self.memory() + more > self.budget {
            Err(Full)
        } else {
            Ok(())
        }
    }

    /// Bytes that everything here takes, tables by their usual load.
    pub(crate) fn memory(&self) -> usize {
        const LOAD: usize = 2;
        self.nodes.len() * size_of::<Node>()
            + self.entries.len() * size_of::<Entry>()
            + self.names.len()
            + self.entries.len() * LOAD * (size_of::<u32>() + 1)
            + (self.children.len() + self.parents.len()) * LOAD * (size_of::<(NodeId, EntryId)>() + 1)
            + self.xattrs.len() * LOAD * size_of::<(NodeId, Box<[Xattr]>)>()
            + self.atimes.len() * LOAD * size_of::<(NodeId, Time)>()
            + self.boxed
    }
}

/// Bytes that a body keeps elsewhere.
fn heap_of(body: &Body) -> usize {
    match body {
        Body::File { data, .. } => match data {
            super::Data::Many(extents) => extents.len() * size_of::<Extent>(),
            super::Data::None | super::Data::One(_) => 0,
        },
        Body::Symlink { target } => target.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata() -> Metadata {
        Metadata {
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: Time::default(),
            atime: Time::default(),
            xattrs: Vec::new(),
        }
    }

    fn file(start: u32) -> Body {
        let extent = Extent {
            logical: 0,
            start,
            blocks: 1,
        };
        Body::File {
            size: 5,
            data: vec![extent].into(),
        }
    }

    #[test]
    fn nodes_are_small() {
        assert!(size_of::<Node>() <= 64, "{}", size_of::<Node>());
        assert!(size_of::<Entry>() <= 24, "{}", size_of::<Entry>());
    }

    #[test]
    fn what_has_lost_its_last_name_gives_back_its_data() {
        let mut tree = Tree::new(1 << 20);
        let root = DirectoryId::ROOT;
        let folder = tree.create(root, b"d", 0, Body::Directory, metadata()).unwrap();
        let folder = tree.directory(folder).unwrap();
        let first = tree.create(folder, b"a", 0, file(7), metadata()).unwrap();
        tree.create(folder, b"b", 0, file(8), metadata()).unwrap();
        tree.link(root, b"kept", 0, first).unwrap();
        assert_eq!(tree.node(first).links, 2);
        assert_eq!(tree.node(root.node()).links, 1);
        let mut freed = Vec::new();
        let entry = tree.find(root, b"d").unwrap();
        tree.remove(entry, &mut |extent| freed.push(extent.start));
        assert_eq!(freed, [8]);
        assert!(tree.find(root, b"d").is_none() && tree.find(folder, b"a").is_none());
        assert_eq!((tree.node(first).links, tree.node(root.node()).links), (1, 0));
        let left: Vec<_> = tree
            .children(root)
            .map(|id| tree.name(tree.entry(id)).to_vec())
            .collect();
        assert_eq!(left, [b"kept"]);
    }

    #[test]
    fn memory_is_bounded() {
        let mut tree = Tree::new(64 << 10);
        let made = (0..u32::MAX)
            .take_while(|number| {
                let name = number.to_string();
                tree.create(DirectoryId::ROOT, name.as_bytes(), 0, Body::Fifo, metadata())
                    .is_ok()
            })
            .count();
        assert!((300..900).contains(&made), "{made}");
        assert!(tree.memory() <= 64 << 10);
    }
}

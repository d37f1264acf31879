//! The numbers of inodes, and all blocks that are neither data nor tables: folders, long links, attributes, extent trees.
//!
//! The invariant: inodes are numbered folder by folder, names in order, so that what lies together in the tree lies together on
//! the disk and the same tree gets the same numbers. Behind them come those of attributes' values.

use std::collections::VecDeque;

use super::blocks::Blocks;
use super::directory::{self, Named};
use super::extents::{self, Root};
use super::{BLOCK, FIRST_INODE, Identity, ROOT_INODE, value, xattr};
use crate::convert::ConvertError;
use crate::task::Task;
use crate::tree::{Body, DirectoryId, NodeId, Tree};

/// Links of this length and longer have a block.
pub(super) const SHORT_LINK: usize = 60;

/// Names between two looks at whether the work was called off.
const BREATH: usize = 4096;

/// What the inodes' fields are made of besides the tree. The lists are in the order of inode numbers.
#[derive(Debug)]
pub(super) struct Plan {
    /// Each inode but the root, from [`FIRST_INODE`] on.
    pub(super) order: Vec<NodeId>,
    pub(super) directories: Vec<(u32, directory::Written)>,
    /// The block of a long link's target.
    pub(super) links: Vec<(u32, u32)>,
    pub(super) xattr_blocks: Vec<(u32, u32)>,
    /// Of files with more than one extent.
    pub(super) extents: Vec<(u32, Root)>,
    /// What the inodes behind those of `order` are of.
    pub(super) values: Vec<value::Stored>,
    entries: u64,
}

/// Numbers while they are given.
struct Numbers {
    /// By node; 0: none yet.
    of: Vec<u32>,
    order: Vec<NodeId>,
}

impl Numbers {
    /// A node's number, and whether it is a new one.
    fn of(&mut self, node: NodeId) -> u32 {
        let number = &mut self.of[node.index()];
        if *number == 0 {
            *number = FIRST_INODE + u32::try_from(self.order.len()).unwrap_or(u32::MAX - FIRST_INODE);
            self.order.push(node);
        }
        *number
    }
}

impl Plan {
    pub(super) fn new(
        tree: &Tree,
        blocks: &mut Blocks<'_>,
        identity: Identity,
        task: &Task,
    ) -> Result<Self, ConvertError> {
        let mut numbers = Numbers {
            of: vec![0; tree.node_count()],
            order: Vec::new(),
        };
        numbers.of[DirectoryId::ROOT.node().index()] = ROOT_INODE;
        let mut plan = Self {
            order: Vec::new(),
            directories: Vec::new(),
            links: Vec::new(),
            xattr_blocks: Vec::new(),
            extents: Vec::new(),
            values: Vec::new(),
            entries: 0,
        };
        let mut ahead = VecDeque::from([DirectoryId::ROOT]);
        while let Some(at) = ahead.pop_front() {
            task.check()?;
            let mut children: Vec<_> = tree.children(at).map(|id| tree.entry(id)).collect();
            children.sort_unstable_by_key(|entry| tree.name(entry));
            plan.entries += children.len() as u64;
            let mut named = Vec::with_capacity(children.len());
            for entry in children {
                ahead.extend(tree.directory(entry.node));
                named.push(Named {
                    name: tree.name(entry),
                    inode: numbers.of(entry.node),
                    kind: kind(&tree.node(entry.node).body),
                });
            }
            let [inode, parent] = [at, tree.parent(at)].map(|of| numbers.of[of.node().index()]);
            let written = directory::write(&named, inode, parent, identity, blocks)?;
            plan.directories.push((inode, written));
        }
        plan.order = numbers.order;
        plan.directories.sort_unstable_by_key(|(inode, _)| *inode);
        plan.rest(tree, blocks, identity, task)?;
        Ok(plan)
    }

    /// What inodes have besides, in their order.
    fn rest(
        &mut self,
        tree: &Tree,
        blocks: &mut Blocks<'_>,
        identity: Identity,
        task: &Task,
    ) -> Result<(), ConvertError> {
        let root = (ROOT_INODE, DirectoryId::ROOT.node());
        let others = (FIRST_INODE..).zip(self.order.iter().copied());
        for (count, (inode, id)) in std::iter::once(root).chain(others).enumerate() {
            if count % BREATH == 0 {
                task.check()?;
            }
            match &tree.node(id).body {
                Body::Symlink { target } if target.len() >= SHORT_LINK => {
                    let mut block = target.to_vec();
                    block.resize(BLOCK, 0);
                    self.links.push((inode, blocks.append(&block)?));
                }
                Body::File { data, .. } if data.extents().len() > 1 => {
                    self.extents
                        .push((inode, extents::write(data.extents(), blocks)?));
                }
                _ => {}
            }
            let xattrs = tree.xattrs(id);
            if xattrs.is_empty() {
                continue;
            }
            if let Some(encoded) = xattr::encode(xattrs, identity, self.inode_count() + 1) {
                for value in encoded.values {
                    self.values.push(value.write(blocks)?);
                }
                if let Some(block) = encoded.block {
                    self.xattr_blocks.push((inode, blocks.append(&*block)?));
                }
            }
        }
        Ok(())
    }

    /// The number of the last inode.
    pub(super) fn inode_count(&self) -> u32 {
        let count = self.order.len() + self.values.len();
        FIRST_INODE - 1 + u32::try_from(count).unwrap_or(u32::MAX - FIRST_INODE)
    }

    /// The number of the first inode that is of an attribute's value.
    pub(super) fn first_value(&self) -> u32 {
        self.inode_count() + 1 - u32::try_from(self.values.len()).unwrap_or(0)
    }

    /// Whether some attributes' values have inodes of their own.
    pub(super) fn has_values(&self) -> bool {
        !self.values.is_empty()
    }

    pub(super) fn directory_inodes(&self) -> impl Iterator<Item = u32> {
        self.directories.iter().map(|(inode, _)| *inode)
    }

    pub(super) fn entries(&self) -> u64 {
        self.entries
    }
}

fn kind(body: &Body) -> u8 {
    match body {
        Body::Directory => directory::DIRECTORY,
        Body::File { .. } => directory::FILE,
        Body::Symlink { .. } => directory::SYMLINK,
        Body::CharDevice { .. } => directory::CHAR_DEVICE,
        Body::BlockDevice { .. } => directory::BLOCK_DEVICE,
        Body::Fifo => directory::FIFO,
    }
}

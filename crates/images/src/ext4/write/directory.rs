//! Folders: names in blocks, and for those of more than one block an index by the names' hashes.
//!
//! The source: fs/ext4/namei.c and Documentation/filesystems/ext4/directory.rst.

use std::io;

use super::blocks::Blocks;
use super::bytes::{put, put16, put32};
use super::hash::{self, half_md4};
use super::{BLOCK, Identity};

/// Bytes of an entry before its name.
const HEAD: usize = 8;
/// `.` and `..` in a block that holds an index.
const DOTS: usize = 24;
/// Entries of the index in its first block, and in another.
const IN_ROOT: usize = (BLOCK - 32) / 8;
const IN_NODE: usize = (BLOCK - 8) / 8;

/// The kinds of inodes as folders tell them.
pub(super) const FILE: u8 = 1;
pub(super) const DIRECTORY: u8 = 2;
pub(super) const CHAR_DEVICE: u8 = 3;
pub(super) const BLOCK_DEVICE: u8 = 4;
pub(super) const FIFO: u8 = 5;
pub(super) const SYMLINK: u8 = 7;

/// A name in a folder.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named<'a> {
    pub(super) name: &'a [u8],
    pub(super) inode: u32,
    pub(super) kind: u8,
}

impl Named<'_> {
    fn size(&self) -> usize {
        HEAD + self.name.len().next_multiple_of(4)
    }
}

/// A folder's blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) start: u32,
    pub(super) blocks: u32,
    pub(super) indexed: bool,
}

/// Writes a folder: `names` are sorted, and without `.` and `..`.
pub(super) fn write(
    names: &[Named<'_>],
    inode: u32,
    parent: u32,
    identity: Identity,
    blocks: &mut Blocks<'_>,
) -> io::Result<Written> {
    let dots = [
        Named {
            name: b".",
            inode,
            kind: DIRECTORY,
        },
        Named {
            name: b"..",
            inode: parent,
            kind: DIRECTORY,
        },
    ];
    let all: Vec<Named<'_>> = dots.iter().chain(names).copied().collect();
    let leaves = split(&all);
    if leaves.len() > 1
        && let Some(indexed) = write_indexed(names, &dots, identity, blocks)?
    {
        return Ok(indexed);
    }
    let start = blocks.position();
    for leaf in &leaves {
        blocks.append(&block_of(leaf))?;
    }
    Ok(Written {
        start,
        blocks: count(leaves.len()),
        indexed: false,
    })
}

/// What goes together in a block.
fn split<'a, 'n>(mut names: &'a [Named<'n>]) -> Vec<&'a [Named<'n>]> {
    let mut leaves = Vec::new();
    while !names.is_empty() {
        let mut room = BLOCK;
        let fitting = names
            .iter()
            .take_while(|named| match room.checked_sub(named.size()) {
                Some(left) => {
                    room = left;
                    true
                }
                None => false,
            });
        let (leaf, rest) = names.split_at(fitting.count());
        leaves.push(leaf);
        names = rest;
    }
    leaves
}

/// A block of names; the last one's room reaches to the end.
fn block_of(names: &[Named<'_>]) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let mut at = 0;
    for (number, named) in names.iter().enumerate() {
        let size = if number + 1 == names.len() {
            BLOCK - at
        } else {
            named.size()
        };
        entry(&mut block, at, named, size);
        at += size;
    }
    block
}

fn entry(block: &mut [u8], at: usize, named: &Named<'_>, size: usize) {
    put32(block, at, named.inode);
    put16(block, at + 4, u16::try_from(size).unwrap_or(0));
    put(
        block,
        at + 6,
        [u8::try_from(named.name.len()).unwrap_or(0), named.kind],
    );
    block[at + HEAD..][..named.name.len()].copy_from_slice(named.name);
}

/// Writes the index, then the blocks of names in the order of their hashes. None: there are more than the kernel's two levels
/// of index hold.
fn write_indexed(
    names: &[Named<'_>],
    dots: &[Named<'_>; 2],
    identity: Identity,
    blocks: &mut Blocks<'_>,
) -> io::Result<Option<Written>> {
    let seed = identity.hash_seed();
    let mut hashed: Vec<_> = names
        .iter()
        .map(|named| (half_md4(named.name, seed), *named))
        .collect();
    hashed.sort_unstable_by_key(|(hash, named)| (*hash, named.name));
    let sorted: Vec<Named<'_>> = hashed.iter().map(|(_, named)| *named).collect();
    let leaves = split(&sorted);
    let nodes = if leaves.len() > IN_ROOT {
        leaves.len().div_ceil(IN_NODE)
    } else {
        0
    };
    if nodes > IN_ROOT {
        return Ok(None);
    }
    // The hash from which on names are in a block; its lowest bit says that names of that hash are in the one before too.
    let (mut at, mut firsts) = (0, Vec::with_capacity(leaves.len()));
    for (number, leaf) in (0..).zip(&leaves) {
        let first = hashed[at].0.0;
        let shared = at > 0 && hashed[at - 1].0.0 == first;
        firsts.push((first | u32::from(shared), 1 + count(nodes) + number));
        at += leaf.len();
    }
    let start = blocks.position();
    let mut root = [0; BLOCK];
    entry(&mut root, 0, &dots[0], 12);
    entry(&mut root, 12, &dots[1], BLOCK - 12);
    put(&mut root, DOTS + 4, [hash::VERSION, 8, u8::from(nodes > 0), 0]);
    if nodes == 0 {
        index(&mut root[32..], &firsts, IN_ROOT);
        blocks.append(&root)?;
    } else {
        let above: Vec<_> = (1..)
            .zip(firsts.chunks(IN_NODE))
            .map(|(number, below)| (below[0].0, number))
            .collect();
        index(&mut root[32..], &above, IN_ROOT);
        blocks.append(&root)?;
        for below in firsts.chunks(IN_NODE) {
            let mut node = [0; BLOCK];
            // As an entry without a name that fills the block, for those who read folders without an index.
            put16(&mut node, 4, u16::try_from(BLOCK).unwrap_or(0));
            index(&mut node[8..], below, IN_NODE);
            blocks.append(&node)?;
        }
    }
    for leaf in &leaves {
        blocks.append(&block_of(leaf))?;
    }
    Ok(Some(Written {
        start,
        blocks: 1 + count(nodes + leaves.len()),
        indexed: true,
    }))
}

/// Entries of an index; the first one's hash is not needed, and the counts stand there.
fn index(bytes: &mut [u8], entries: &[(u32, u32)], most: usize) {
    for (number, (hash, block)) in entries.iter().enumerate() {
        put32(bytes, number * 8, *hash);
        put32(bytes, number * 8 + 4, *block);
    }
    put16(bytes, 0, u16::try_from(most).unwrap_or(0));
    put16(bytes, 2, u16::try_from(entries.len()).unwrap_or(0));
}

fn count(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

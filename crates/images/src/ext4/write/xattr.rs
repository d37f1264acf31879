//! Extended attributes: in the inode behind its fields, what has no room there in one block of their own, and the largest
//! values, where that is not enough either, in inodes of their own.
//!
//! The source: fs/ext4/xattr.h and xattr.c.

use super::bytes::{put, put16, put32};
use super::inode::EXTRA;
use super::value::Value;
use super::{BLOCK, Identity};
use crate::acl::{self, Acl};
use crate::tree::Xattr;

const MAGIC: u32 = 0xea02_0000;
/// Bytes in an inode: the magic number, then entries from the front and values from the back.
pub(super) const IN_INODE: usize = super::INODE - EXTRA;
const INODE_HEADER: usize = 4;
const BLOCK_HEADER: usize = 32;
const ENTRY: usize = 16;
/// Zeros that end the entries.
const END: usize = 4;

/// Beginnings of names that are kept as a number.
const PREFIXES: [(&[u8], u8); 4] = [
    (b"user.", 1),
    (b"trusted.", 4),
    (b"security.", 6),
    (b"system.", 7),
];

/// Where a file's attributes are kept.
#[derive(Debug)]
pub(super) struct Encoded {
    pub(super) inode: [u8; IN_INODE],
    pub(super) block: Option<Box<[u8; BLOCK]>>,
    /// Values with inodes of their own, in the order of these.
    pub(super) values: Vec<Value>,
}

/// One attribute as it is kept.
struct Kept {
    prefix: u8,
    name: Vec<u8>,
    value: Vec<u8>,
    /// The value has an inode of its own: its number and the value's hash, once they are known.
    apart: Option<(u32, u32)>,
}

impl Kept {
    fn new((name, value): &Xattr) -> Self {
        let acl = |prefix| Self {
            prefix,
            name: Vec::new(),
            value: Acl::from_xattr(value)
                .map(|list| list.to_disk())
                .unwrap_or_default(),
            apart: None,
        };
        match &**name {
            acl::ACCESS => return acl(2),
            acl::DEFAULT => return acl(3),
            _ => {}
        }
        let known = PREFIXES
            .iter()
            .find_map(|(text, prefix)| Some((name.strip_prefix(*text)?, *prefix)));
        let (name, prefix) = known.unwrap_or((name, 0));
        Self {
            prefix,
            name: name.to_vec(),
            value: value.clone(),
            apart: None,
        }
    }

    /// Bytes of the entry alone.
    fn entry(&self) -> usize {
        ENTRY + self.name.len().next_multiple_of(4)
    }

    fn size(&self) -> usize {
        self.entry() + self.beside().len().next_multiple_of(4)
    }

    /// What of the value is beside the entry.
    fn beside(&self) -> &[u8] {
        if self.apart.is_some() { &[] } else { &self.value }
    }

    /// `ext4_xattr_hash_entry`.
    fn hash(&self) -> u32 {
        let name = self
            .name
            .iter()
            .fold(0_u32, |hash, byte| hash.rotate_left(5) ^ u32::from(*byte));
        let with = |hash: u32, word| hash.rotate_left(16) ^ word;
        if let Some((_, value)) = self.apart {
            return with(name, value);
        }
        self.value.chunks(4).fold(name, |hash, chunk| {
            let mut word = [0; 4];
            word[..chunk.len()].copy_from_slice(chunk);
            with(hash, u32::from_le_bytes(word))
        })
    }
}

/// Whether there is room for all of them.
pub(crate) fn fits(xattrs: &[Xattr]) -> bool {
    xattrs.is_empty() || split(xattrs).is_some()
}

/// What goes to the inode, and what to the block; values that go elsewhere are marked as such.
fn split(xattrs: &[Xattr]) -> Option<(Vec<Kept>, Vec<Kept>)> {
    let mut all: Vec<Kept> = xattrs.iter().map(Kept::new).collect();
    let entries: usize = all.iter().map(Kept::entry).sum();
    if entries > IN_INODE + BLOCK || all.iter().any(|kept| kept.name.len() > 255) {
        return None;
    }
    loop {
        // Whose value is apart is in the block: e2fsck takes a short link that counts blocks and has none of attributes for one
        // whose target is in a block.
        let order = |kept: &Kept| (kept.apart.is_some(), kept.size());
        all.sort_by(|a, b| (order(a), &a.name).cmp(&(order(b), &b.name)));
        let mut room = IN_INODE - INODE_HEADER - END;
        let fitting = all.iter().take_while(|kept| {
            let left = room.checked_sub(kept.size()).filter(|_| kept.apart.is_none());
            room = left.unwrap_or(room);
            left.is_some()
        });
        let count = fitting.count();
        let size: usize = all[count..].iter().map(Kept::size).sum();
        if size + BLOCK_HEADER + END <= BLOCK {
            let mut outside = all.split_off(count);
            // The kernel searches a block as sorted.
            outside.sort_by(|a, b| (a.prefix, a.name.len(), &a.name).cmp(&(b.prefix, b.name.len(), &b.name)));
            return Some((all, outside));
        }
        // Kernels verify the hash of an entry whose value is elsewhere, and did not always agree on it for other characters:
        // they were signed on some processors until Linux 6.2.
        let movable = all.iter_mut().filter(|kept| kept.name.is_ascii());
        let largest = movable.max_by_key(|kept| kept.beside().len())?;
        if largest.beside().is_empty() {
            return None;
        }
        largest.apart = Some((0, 0));
    }
}

/// All parts in their form; the first value with an inode of its own gets number `next`, and so on. None of what does not fit.
pub(super) fn encode(xattrs: &[Xattr], identity: Identity, mut next: u32) -> Option<Encoded> {
    let (inside, mut outside) = split(xattrs)?;
    let mut values = Vec::new();
    for kept in &mut outside {
        if let Some(apart) = &mut kept.apart {
            let value = Value::new(kept.value.clone(), identity);
            *apart = (next, value.hash);
            next += 1;
            values.push(value);
        }
    }
    let mut inode = [0; IN_INODE];
    if !inside.is_empty() {
        put32(&mut inode, 0, MAGIC);
        fill(&mut inode[INODE_HEADER..], 0, &inside, false);
    }
    let block = (!outside.is_empty()).then(|| {
        let mut block = Box::new([0; BLOCK]);
        put32(&mut *block, 0, MAGIC);
        // One inode refers to it, and it is one block.
        put32(&mut *block, 4, 1);
        put32(&mut *block, 8, 1);
        let all = outside
            .iter()
            .fold(0_u32, |hash, kept| hash.rotate_left(16) ^ kept.hash());
        put32(&mut *block, 12, all);
        fill(&mut *block, BLOCK_HEADER, &outside, true);
        block
    });
    Some(Encoded { inode, block, values })
}

/// Puts entries at `at` and on, their values at the end; offsets count from the start of `bytes`.
fn fill(bytes: &mut [u8], mut at: usize, all: &[Kept], hashed: bool) {
    let mut value_at = bytes.len();
    for kept in all {
        let value = kept.beside();
        value_at -= value.len().next_multiple_of(4);
        let length = |length: usize| u32::try_from(length).unwrap_or(0);
        put(
            bytes,
            at,
            [u8::try_from(kept.name.len()).unwrap_or(0), kept.prefix],
        );
        let offset = if value.is_empty() { 0 } else { value_at };
        put16(bytes, at + 2, u16::try_from(offset).unwrap_or(0));
        put32(bytes, at + 4, kept.apart.map_or(0, |(inode, _)| inode));
        put32(bytes, at + 8, length(kept.value.len()));
        put32(bytes, at + 12, if hashed { kept.hash() } else { 0 });
        bytes[at + ENTRY..][..kept.name.len()].copy_from_slice(&kept.name);
        bytes[value_at..][..value.len()].copy_from_slice(value);
        at += kept.entry();
    }
}

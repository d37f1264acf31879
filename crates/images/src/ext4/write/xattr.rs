//! Extended attributes: in the inode behind its fields, and what has no room there in one block of their own.
//!
//! The source: fs/ext4/xattr.h and xattr.c.

use super::BLOCK;
use super::bytes::{put, put16, put32};
use super::inode::EXTRA;
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
}

/// One attribute as it is kept.
struct Kept {
    prefix: u8,
    name: Vec<u8>,
    value: Vec<u8>,
}

impl Kept {
    fn new((name, value): &Xattr) -> Self {
        let acl = |prefix| Self {
            prefix,
            name: Vec::new(),
            value: Acl::from_xattr(value)
                .map(|list| list.to_disk())
                .unwrap_or_default(),
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
        }
    }

    fn size(&self) -> usize {
        ENTRY + self.name.len().next_multiple_of(4) + self.value.len().next_multiple_of(4)
    }

    /// `ext4_xattr_hash_entry`.
    fn hash(&self) -> u32 {
        let name = self
            .name
            .iter()
            .fold(0_u32, |hash, byte| hash.rotate_left(5) ^ u32::from(*byte));
        self.value.chunks(4).fold(name, |hash, chunk| {
            let mut word = [0; 4];
            word[..chunk.len()].copy_from_slice(chunk);
            hash.rotate_left(16) ^ u32::from_le_bytes(word)
        })
    }
}

/// Whether there is room for all of them.
pub(crate) fn fits(xattrs: &[Xattr]) -> bool {
    xattrs.is_empty() || split(xattrs).is_some()
}

/// What goes to the inode, and what to the block.
fn split(xattrs: &[Xattr]) -> Option<(Vec<Kept>, Vec<Kept>)> {
    let mut all: Vec<Kept> = xattrs.iter().map(Kept::new).collect();
    if all.iter().any(|kept| kept.name.len() > 255) {
        return None;
    }
    all.sort_by(|a, b| (a.size(), &a.name).cmp(&(b.size(), &b.name)));
    let mut room = IN_INODE - INODE_HEADER - END;
    let fitting = all.iter().take_while(|kept| match room.checked_sub(kept.size()) {
        Some(left) => {
            room = left;
            true
        }
        None => false,
    });
    let count = fitting.count();
    let mut outside = all.split_off(count);
    // The kernel searches a block as sorted.
    outside.sort_by(|a, b| (a.prefix, a.name.len(), &a.name).cmp(&(b.prefix, b.name.len(), &b.name)));
    let size: usize = outside.iter().map(Kept::size).sum();
    (size + BLOCK_HEADER + END <= BLOCK).then_some((all, outside))
}

/// Both parts in their form. None of what does not fit.
pub(super) fn encode(xattrs: &[Xattr]) -> Option<Encoded> {
    let (inside, outside) = split(xattrs)?;
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
    Some(Encoded { inode, block })
}

/// Puts entries at `at` and on, their values at the end; offsets count from the start of `bytes`.
fn fill(bytes: &mut [u8], mut at: usize, all: &[Kept], hashed: bool) {
    let mut value_at = bytes.len();
    for kept in all {
        value_at -= kept.value.len().next_multiple_of(4);
        let length = |length: usize| u32::try_from(length).unwrap_or(0);
        put(
            bytes,
            at,
            [u8::try_from(kept.name.len()).unwrap_or(0), kept.prefix],
        );
        let offset = if kept.value.is_empty() { 0 } else { value_at };
        put16(bytes, at + 2, u16::try_from(offset).unwrap_or(0));
        put32(bytes, at + 8, length(kept.value.len()));
        put32(bytes, at + 12, if hashed { kept.hash() } else { 0 });
        bytes[at + ENTRY..][..kept.name.len()].copy_from_slice(&kept.name);
        bytes[value_at..][..kept.value.len()].copy_from_slice(&kept.value);
        at += ENTRY + kept.name.len().next_multiple_of(4);
    }
}

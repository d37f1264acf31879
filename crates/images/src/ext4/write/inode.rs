//! Inodes and their tables.
//!
//! The source: `struct ext4_inode` of fs/ext4/ext4.h. The tables of all groups lie side by side, so that together they are
//! one table of all inodes.

use super::blocks::Blocks;
use super::bytes::{halves, put, put16, put32};
use super::extents::{self, Root};
use super::plan::{Plan, SHORT_LINK};
use super::value::Value;
use super::{BLOCK, FIRST_INODE, INODE, Identity, ROOT_INODE, directory, xattr};
use crate::convert::ConvertError;
use crate::task::Task;
use crate::tree::{Body, DirectoryId, NodeId, Time, Tree};

/// Where attributes begin: behind 128 bytes of the old inode and 32 of the new fields.
pub(super) const EXTRA: usize = 128 + 32;

const EXTENTS: u32 = 0x8_0000;
const INDEX: u32 = 0x1000;

/// Subfolders that a folder can count; one with more has 1 for its links (`dir_nlink`).
const MAX_SUBFOLDERS: u32 = 64_998;

/// What an inode says about its contents.
struct Contents {
    format: u16,
    size: u64,
    flags: u32,
    /// Extents, a short link's target or a device's number.
    fields: [u8; extents::ROOT],
    blocks: u64,
}

/// The parts of a [`Plan`] that are not used up: each list is in the order of inodes.
struct Lists<'a> {
    directories: &'a [(u32, directory::Written)],
    links: &'a [(u32, u32)],
    xattr_blocks: &'a [(u32, u32)],
    extents: &'a [(u32, Root)],
    identity: Identity,
    /// The inode of the next attribute's value that has one.
    next_value: u32,
}

/// The first of a list, if it is this inode's.
fn take<T: Copy>(list: &mut &[(u32, T)], inode: u32) -> Option<T> {
    let ((number, item), rest) = list.split_first()?;
    if *number != inode {
        return None;
    }
    *list = rest;
    Some(*item)
}

/// Writes all inodes; the room behind the last one is left a hole.
pub(super) fn write_tables(
    tree: &Tree,
    plan: &Plan,
    identity: Identity,
    blocks: &mut Blocks<'_>,
    task: &Task,
) -> Result<(), ConvertError> {
    let mut lists = Lists {
        directories: &plan.directories,
        links: &plan.links,
        xattr_blocks: &plan.xattr_blocks,
        extents: &plan.extents,
        identity,
        next_value: plan.first_value(),
    };
    let reserved =
        (1..FIRST_INODE).map(|number| (number, (number == ROOT_INODE).then_some(DirectoryId::ROOT.node())));
    let others = (FIRST_INODE..).zip(plan.order.iter().copied().map(Some));
    let named = reserved
        .chain(others)
        .map(|(number, id)| id.map_or([0; INODE], |id| inode(tree, id, number, &mut lists)));
    let values = plan.values.iter().map(|value| value.inode());
    let mut table = Vec::with_capacity(BLOCK);
    for bytes in named.chain(values) {
        table.extend_from_slice(&bytes);
        if table.len() == BLOCK {
            task.check()?;
            blocks.append(&table)?;
            table.clear();
        }
    }
    if !table.is_empty() {
        table.resize(BLOCK, 0);
        blocks.append(&table)?;
    }
    Ok(())
}

fn inode(tree: &Tree, id: NodeId, number: u32, lists: &mut Lists<'_>) -> [u8; INODE] {
    let node = tree.node(id);
    let contents = contents(&node.body, number, lists);
    let xattr_block = take(&mut lists.xattr_blocks, number);
    let links = match (&node.body, node.links) {
        (Body::Directory, MAX_SUBFOLDERS..) => 1,
        (Body::Directory, subfolders) => subfolders + 2,
        (_, names) => names,
    };
    let xattrs = tree.xattrs(id);
    let encoded = (!xattrs.is_empty()).then(|| xattr::encode(xattrs, lists.identity, lists.next_value));
    let encoded = encoded.flatten();
    let values = encoded.as_ref().map_or(&[][..], |encoded| &encoded.values);
    lists.next_value += u32::try_from(values.len()).unwrap_or(0);
    // Who refers to a value is charged for it.
    let values: u64 = values.iter().map(Value::blocks).sum();
    let sectors = (contents.blocks + values + u64::from(xattr_block.is_some())) * (BLOCK / 512) as u64;
    let mut bytes = [0; INODE];
    put16(&mut bytes, 0x00, contents.format | node.mode);
    let ((uid, uid_high), (gid, gid_high)) = (halves(node.uid), halves(node.gid));
    put16(&mut bytes, 0x02, uid);
    put16(&mut bytes, 0x18, gid);
    let (size, size_high) = words(contents.size);
    put32(&mut bytes, 0x04, size);
    put32(&mut bytes, 0x6c, size_high);
    put16(&mut bytes, 0x1a, u16::try_from(links).unwrap_or(u16::MAX));
    let (sectors, sectors_high) = words(sectors);
    put32(&mut bytes, 0x1c, sectors);
    put16(&mut bytes, 0x74, halves(sectors_high).0);
    put32(&mut bytes, 0x20, contents.flags);
    put(&mut bytes, 0x28, contents.fields);
    put32(&mut bytes, 0x68, xattr_block.unwrap_or(0));
    put16(&mut bytes, 0x78, uid_high);
    put16(&mut bytes, 0x7a, gid_high);
    put16(&mut bytes, 0x80, u16::try_from(EXTRA - 128).unwrap_or(0));
    for (time, at, extra) in [
        (tree.atime(id), 0x08, 0x8c),
        (node.mtime(), 0x0c, 0x84),
        (node.mtime(), 0x10, 0x88),
        (node.mtime(), 0x90, 0x94),
    ] {
        let (seconds, rest) = encode(time);
        put32(&mut bytes, at, seconds);
        put32(&mut bytes, extra, rest);
    }
    if let Some(encoded) = encoded {
        put(&mut bytes, EXTRA, encoded.inode);
    }
    bytes
}

fn contents(body: &Body, number: u32, lists: &mut Lists<'_>) -> Contents {
    let plain = |format| Contents {
        format,
        size: 0,
        flags: 0,
        fields: [0; extents::ROOT],
        blocks: 0,
    };
    match body {
        Body::Directory => {
            let written = take(&mut lists.directories, number);
            let (start, blocks) = written.map_or((0, 0), |written| (written.start, written.blocks));
            Contents {
                size: u64::from(blocks) * BLOCK as u64,
                flags: EXTENTS
                    | if written.is_some_and(|written| written.indexed) {
                        INDEX
                    } else {
                        0
                    },
                fields: extents::together(start, blocks),
                blocks: blocks.into(),
                ..plain(0x4000)
            }
        }
        Body::File { size, data } => {
            let tree = take(&mut lists.extents, number);
            let blocks: u64 = data.extents().iter().map(|extent| u64::from(extent.blocks)).sum();
            Contents {
                size: *size,
                flags: EXTENTS,
                fields: match (tree, data) {
                    (Some(tree), _) => tree.bytes,
                    (None, data) => extents::one(data.extents().first().copied()),
                },
                blocks: blocks + tree.map_or(0, |tree| u64::from(tree.tree_blocks)),
                ..plain(0x8000)
            }
        }
        Body::Symlink { target } => {
            let mut contents = plain(0xa000);
            contents.size = target.len() as u64;
            if let Some(block) = take(&mut lists.links, number) {
                contents.flags = EXTENTS;
                contents.fields = extents::together(block, 1);
                contents.blocks = 1;
            } else {
                contents.fields[..target.len().min(SHORT_LINK)].copy_from_slice(target);
            }
            contents
        }
        Body::CharDevice { major, minor } => device(plain(0x2000), *major, *minor),
        Body::BlockDevice { major, minor } => device(plain(0x6000), *major, *minor),
        Body::Fifo => plain(0x1000),
    }
}

/// Small numbers in the first field as they always were, others in the second in the new form (include/linux/kdev_t.h).
fn device(mut contents: Contents, major: u32, minor: u32) -> Contents {
    if major < 256 && minor < 256 {
        put32(&mut contents.fields, 0, major << 8 | minor);
    } else {
        put32(
            &mut contents.fields,
            4,
            minor & 0xff | major << 8 | (minor & !0xff) << 12,
        );
    }
    contents
}

/// Seconds, and a field of two more bits of them and the nanoseconds. From 1901 to 2310; other times become the nearest: the
/// field could tell those up to 2446 too, but e2fsck takes them for old kernels' mistakes with times before 1970.
fn encode(time: Time) -> (u32, u32) {
    const FIRST: i64 = i32::MIN as i64;
    const LAST: i64 = (3 << 32) + FIRST - 1;
    let clamped = time.seconds.clamp(FIRST, LAST);
    let nanoseconds = if clamped == time.seconds {
        time.nanoseconds.min(999_999_999)
    } else {
        0
    };
    let bits = clamped.to_le_bytes();
    let seconds = u32::from_le_bytes([bits[0], bits[1], bits[2], bits[3]]);
    let epoch = u32::try_from((clamped - FIRST) >> 32).unwrap_or(0);
    (seconds, epoch | nanoseconds << 2)
}

/// The lower and the upper half.
fn words(value: u64) -> (u32, u32) {
    let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
    (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]))
}

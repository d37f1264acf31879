//! Writing layers: entries in ustar form, with pax records (POSIX.1-2017, XCU, *pax*) for what a header's fields cannot hold
//! and star's keys for extended attributes. Image tools read both.

use std::io::{self, Read, Write};

use tar::{Builder, EntryType, Header};

/// What a header's field for names holds.
const NAME: usize = 100;
/// What its field for sizes holds: 8 GiB less one byte.
const SIZE: u64 = 0o777_7777_7777;

/// An entry of a layer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) path: &'a [u8],
    pub(crate) kind: Kind<'a>,
    /// Permission bits with set-user-id, set-group-id and sticky.
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Seconds since 1970, rounded down, and nanoseconds.
    pub(crate) mtime: (i64, u32),
    /// Full names, which must be text, and values.
    pub(crate) xattrs: &'a [(String, Vec<u8>)],
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind<'a> {
    Directory,
    /// As many bytes of data follow.
    File(u64),
    /// Another name of what was written under this one.
    HardLink(&'a [u8]),
    Symlink(&'a [u8]),
    CharDevice(u32, u32),
    BlockDevice(u32, u32),
    Fifo,
}

/// Writes an entry; of a file with all of `data`, which must be as long as was said.
pub(crate) fn append(tar: &mut Builder<impl Write>, entry: Entry<'_>, data: impl Read) -> io::Result<()> {
    let mut header = Header::new_ustar();
    let mut records: Vec<(String, Vec<u8>)> = Vec::new();
    header.set_mode(entry.mode.into());
    header.set_uid(entry.uid.into());
    header.set_gid(entry.gid.into());
    header.set_size(0);
    let (seconds, nanoseconds) = entry.mtime;
    header.set_mtime(u64::try_from(seconds).unwrap_or(0));
    if seconds < 0 || nanoseconds > 0 {
        records.push(("mtime".to_owned(), decimal(seconds, nanoseconds).into_bytes()));
    }
    let kind = match entry.kind {
        Kind::Directory => EntryType::Directory,
        Kind::File(size) => {
            header.set_size(size);
            if size > SIZE {
                records.push(("size".to_owned(), size.to_string().into_bytes()));
            }
            EntryType::Regular
        }
        Kind::HardLink(target) | Kind::Symlink(target) => {
            name(
                &mut header.as_old_mut().linkname,
                "linkpath",
                target,
                &mut records,
            );
            match entry.kind {
                Kind::Symlink(_) => EntryType::Symlink,
                _ => EntryType::Link,
            }
        }
        Kind::CharDevice(major, minor) | Kind::BlockDevice(major, minor) => {
            header.set_device_major(major)?;
            header.set_device_minor(minor)?;
            match entry.kind {
                Kind::CharDevice(..) => EntryType::Char,
                _ => EntryType::Block,
            }
        }
        Kind::Fifo => EntryType::Fifo,
    };
    header.set_entry_type(kind);
    name(&mut header.as_old_mut().name, "path", entry.path, &mut records);
    for (name, value) in entry.xattrs {
        records.push((format!("SCHILY.xattr.{name}"), value.clone()));
    }
    header.set_cksum();
    let records = records
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_slice()));
    tar.append_pax_extensions(records)?;
    tar.append(&header, data)
}

/// Puts as much of a name as its field holds, and all of it in a record if that is not all.
fn name(field: &mut [u8; NAME], key: &str, bytes: &[u8], records: &mut Vec<(String, Vec<u8>)>) {
    for (place, byte) in field.iter_mut().zip(bytes) {
        *place = *byte;
    }
    if bytes.len() > NAME {
        records.push((key.to_owned(), bytes.to_vec()));
    }
}

/// Half a second before 1970 is second -1 and 500,000,000 ns, and is written -0.5.
fn decimal(seconds: i64, nanoseconds: u32) -> String {
    let total = i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
    let sign = if total < 0 { "-" } else { "" };
    let (whole, part) = (total.abs() / 1_000_000_000, total.abs() % 1_000_000_000);
    format!("{sign}{whole}.{part:09}")
}

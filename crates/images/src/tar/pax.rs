//! The records of pax headers (POSIX.1-2017, XCU, *pax*, "pax Extended Header"): `LENGTH KEY=VALUE\n`.

use super::error::{Bound, Name, Problem};
use super::number::{decimal, natural, time};
use super::sparse::Announced;
use super::xattr::Xattrs;
use super::{Limits, Time};
use crate::acl::{self, Acl, TextError};

/// What pax headers said of an entry. `None` leaves to the entry's own header what it says.
#[derive(Clone, Debug, Default)]
pub(super) struct Records {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<i64>,
    pub(super) gid: Option<i64>,
    pub(super) mtime: Option<Time>,
    pub(super) atime: Option<Time>,
    pub(super) ctime: Option<Time>,
    pub(super) device_major: Option<i64>,
    pub(super) device_minor: Option<i64>,
    pub(super) sparse: Announced,
    xattrs: Xattrs,
    /// LIBARCHIVE.xattr: libarchive writes each attribute twice, and SCHILY.xattr is what all others read.
    encoded_xattrs: Xattrs,
    access_acl: List,
    default_acl: List,
}

/// What a record says of an ACL.
#[derive(Clone, Debug, Default)]
enum List {
    #[default]
    None,
    Some(Vec<u8>),
    /// GNU tar writes users' names, and no option of it makes numbers of them: nobody else can tell who is meant.
    Named,
}

impl List {
    fn from_text(text: &[u8]) -> Result<Self, Problem> {
        match Acl::from_text(text) {
            Ok(None) => Ok(Self::None),
            Ok(Some(list)) => Ok(Self::Some(list.to_xattr())),
            Err(TextError::Named) => Ok(Self::Named),
            Err(TextError::Damaged) => Err(Problem::Acl),
        }
    }
}

impl Records {
    /// Takes in one header's records over those that are there.
    pub(super) fn read(&mut self, mut bytes: &[u8], limits: &Limits) -> Result<(), Problem> {
        let mut count = 0;
        while !bytes.is_empty() {
            let (key, value, rest) = split(bytes).ok_or(Problem::Records)?;
            bytes = rest;
            if self.sparse.piece(key, value, limits)? {
                continue;
            }
            count += 1;
            Bound::Records.check_len(count, limits.records)?;
            self.set(key, value, limits)?;
        }
        Ok(())
    }

    /// Takes in a global header's records. What only one entry can have would hide entries from one reader that
    /// another sees.
    pub(super) fn read_global(&mut self, bytes: &[u8], limits: &Limits) -> Result<(), Problem> {
        self.read(bytes, limits)?;
        let single = [
            (self.path.is_some(), "path"),
            (self.link.is_some(), "linkpath"),
            (self.size.is_some(), "size"),
            (self.sparse != Announced::default(), "GNU.sparse"),
        ];
        match single.into_iter().find(|(set, _)| *set) {
            Some((_, record)) => Err(Problem::Global(record)),
            None => Ok(()),
        }
    }

    /// An empty value takes back what was said before, except of an extended attribute, which may be empty.
    fn set(&mut self, key: &[u8], value: &[u8], limits: &Limits) -> Result<(), Problem> {
        match key {
            b"path" => self.path = name(value, "path")?,
            b"linkpath" => self.link = name(value, "linkpath")?,
            b"size" => self.size = given(value, natural, "size")?,
            b"uid" => self.uid = given(value, decimal, "uid")?,
            b"gid" => self.gid = given(value, decimal, "gid")?,
            b"mtime" => self.mtime = given(value, time, "mtime")?,
            b"atime" => self.atime = given(value, time, "atime")?,
            b"ctime" => self.ctime = given(value, time, "ctime")?,
            b"SCHILY.devmajor" => self.device_major = given(value, decimal, "SCHILY.devmajor")?,
            b"SCHILY.devminor" => self.device_minor = given(value, decimal, "SCHILY.devminor")?,
            b"SCHILY.acl.access" => self.access_acl = List::from_text(value)?,
            b"SCHILY.acl.default" => self.default_acl = List::from_text(value)?,
            // Names are bytes, whichever of the two it is.
            b"hdrcharset" if !matches!(value, b"" | b"BINARY" | b"ISO-IR 10646 2000 UTF-8") => {
                return Err(Problem::Charset(Name(value.to_vec())));
            }
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    self.xattrs.set(name, value.to_vec(), limits)?;
                } else if let Some(name) = key.strip_prefix(b"LIBARCHIVE.xattr.") {
                    self.encoded_xattrs.set_encoded(name, value, limits)?;
                } else {
                    self.sparse.set(key, value)?;
                }
            }
        }
        Ok(())
    }

    /// All extended attributes, ACLs among them, and how many ACLs could not be told. What was given plainly comes first and
    /// counts.
    pub(super) fn into_xattrs(self, limits: &Limits) -> Result<(Xattrs, u32), Problem> {
        let (mut xattrs, mut untold) = (self.xattrs, 0);
        let acls = [(acl::ACCESS, self.access_acl), (acl::DEFAULT, self.default_acl)];
        for (name, acl) in acls {
            match acl {
                List::None => {}
                List::Some(value) => xattrs.set_if_absent(name, value, limits)?,
                List::Named => untold += u32::from(!xattrs.has(name)),
            }
        }
        for (name, value) in self.encoded_xattrs.into_list() {
            xattrs.set_if_absent(&name, value, limits)?;
        }
        Ok((xattrs, untold))
    }
}

/// Key and value of the first record, and what follows it.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    // The length counts its own digits too: 20 are more than any has.
    let blank = bytes.iter().take(20).position(|byte| *byte == b' ')?;
    let length = usize::try_from(natural(bytes.get(..blank)?)?).ok()?;
    let (record, rest) = bytes.split_at_checked(length)?;
    let record = record.get(blank + 1..)?.strip_suffix(b"\n")?;
    let equals = memchr::memchr(b'=', record)?;
    let (key, value) = (record.get(..equals)?, record.get(equals + 1..)?);
    (!key.is_empty() && !key.contains(&0)).then_some((key, value, rest))
}

fn name(value: &[u8], record: &'static str) -> Result<Option<Vec<u8>>, Problem> {
    if value.contains(&0) {
        return Err(Problem::Record(record));
    }
    Ok(Some(value.to_vec()).filter(|name| !name.is_empty()))
}

fn given<T>(value: &[u8], parse: fn(&[u8]) -> Option<T>, record: &'static str) -> Result<Option<T>, Problem> {
    if value.is_empty() {
        return Ok(None);
    }
    parse(value).map(Some).ok_or(Problem::Record(record))
}

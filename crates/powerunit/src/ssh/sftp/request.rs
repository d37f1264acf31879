//! Requests and their answers, section 6 of the draft.

use std::ffi::{CStr, CString};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, RenameFlags, Stat};
use rustix::io::Errno;

use super::attributes::{self, Wanted, follow};
use super::handles::{Handles, Open, Target};
use super::listing::Names;
use super::status::{Code, Status};
use super::{MAX_DATA, extension};
use crate::ssh::protocol::wire::{Malformed, Put as _, Reader};

const INIT: u8 = 1;
const VERSION: u8 = 2;
const STATUS: u8 = 101;
const HANDLE: u8 = 102;
const DATA: u8 = 103;
const NAME: u8 = 104;
const ATTRS: u8 = 105;
const EXTENDED_REPLY: u8 = 201;

/// How many entries of a folder an answer holds at most.
const MAX_ENTRIES: u32 = 128;

/// One client's files.
#[derive(Debug)]
pub struct Server {
    pub(super) handles: Handles,
    names: Option<Names>,
}

/// What an answer holds when it is not a status.
#[derive(Debug)]
pub(super) enum Answer {
    Done,
    Handle([u8; 4]),
    Data(Vec<u8>),
    Attributes(Box<Stat>),
    /// Names as they are sent, and how many.
    Names(Vec<u8>, u32),
    Extended(Vec<u8>),
}

impl Default for Server {
    fn default() -> Self {
        Self::new()
    }
}

impl Server {
    #[must_use]
    pub fn new() -> Self {
        Self {
            handles: Handles::default(),
            names: None,
        }
    }

    /// Appends to `out` the answer to one packet, lengths not included in `packet` and included in `out`.
    pub fn answer(&mut self, packet: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        out.put_u32(0);
        let mut reader = Reader::new(packet);
        match (reader.u8(), reader.u32()) {
            (Ok(INIT), _) => {
                out.put_u8(VERSION);
                out.put_u32(3);
                extension::put_names(out);
            }
            (Ok(kind), Ok(id)) => {
                let answer = self.request(kind, &mut reader);
                put(out, id, answer);
            }
            _ => put(out, 0, Err(Malformed.into())),
        }
        let length = u32::try_from(out.len() - start - 4).unwrap_or(u32::MAX);
        if let Some(head) = out.get_mut(start..start + 4) {
            head.copy_from_slice(&length.to_be_bytes());
        }
    }

    fn request(&mut self, kind: u8, reader: &mut Reader<'_>) -> Result<Answer, Status> {
        match kind {
            3 => self.open(reader),
            4 => self.handles.close(reader.string()?).map(|()| Answer::Done),
            5 => self.read(reader),
            6 => self.write(reader),
            7 => stat(&path(reader)?, false),
            8 => Ok(Answer::Attributes(Box::new(rustix::fs::fstat(
                self.handles.fd(reader.string()?)?,
            )?))),
            9 => {
                let path = path(reader)?;
                Wanted::parse(reader)?
                    .apply(&Target::Path {
                        path: &path,
                        follow: true,
                    })
                    .map(|()| Answer::Done)
            }
            10 => {
                let fd = self.handles.fd(reader.string()?)?;
                Wanted::parse(reader)?
                    .apply(&Target::Fd(fd))
                    .map(|()| Answer::Done)
            }
            11 => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let folder = rustix::fs::open(path(reader)?, flags, Mode::empty())?;
                self.handles
                    .add(Open::Folder(Dir::new(folder)?))
                    .map(Answer::Handle)
            }
            12 => self.list(reader.string()?),
            13 => Ok(rustix::fs::unlink(path(reader)?).map(|()| Answer::Done)?),
            14 => {
                let path = path(reader)?;
                let mode = Wanted::parse(reader)?.mode(0o777);
                Ok(rustix::fs::mkdir(path, mode).map(|()| Answer::Done)?)
            }
            15 => Ok(rustix::fs::rmdir(path(reader)?).map(|()| Answer::Done)?),
            16 => real_path(&path(reader)?),
            17 => stat(&path(reader)?, true),
            18 => rename(&path(reader)?, &path(reader)?),
            19 => {
                let target = rustix::fs::readlink(path(reader)?, Vec::new())?;
                Ok(one_name(target.as_bytes()))
            }
            // The draft has them the other way round; OpenSSH's order is what all clients send.
            20 => {
                let (target, link) = (path(reader)?, path(reader)?);
                Ok(rustix::fs::symlink(target, link).map(|()| Answer::Done)?)
            }
            200 => {
                let name = reader.string()?;
                extension::request(self, name, reader)
            }
            _ => Err(Status::new(Code::Unsupported, "there is no such request")),
        }
    }

    pub(super) fn names(&mut self) -> &Names {
        self.names.get_or_insert_with(Names::load)
    }

    fn open(&mut self, reader: &mut Reader<'_>) -> Result<Answer, Status> {
        let path = path(reader)?;
        let asked = reader.u32()?;
        let wanted = Wanted::parse(reader)?;
        let mut flags = match asked & 0x3 {
            1 => OFlags::RDONLY,
            2 => OFlags::WRONLY,
            3 => OFlags::RDWR,
            _ => return Err(Errno::INVAL.into()),
        };
        for (bit, flag) in [
            (0x4, OFlags::APPEND),
            (0x8, OFlags::CREATE),
            (0x10, OFlags::TRUNC),
            (0x20, OFlags::EXCL),
        ] {
            flags.set(flag, asked & bit != 0);
        }
        let file = rustix::fs::open(path, flags | OFlags::CLOEXEC | OFlags::NOCTTY, wanted.mode(0o666))?;
        self.handles.add(Open::File(file)).map(Answer::Handle)
    }

    fn read(&self, reader: &mut Reader<'_>) -> Result<Answer, Status> {
        let fd = self.handles.fd(reader.string()?)?;
        let (offset, length) = (reader.u64()?, reader.u32()? as usize);
        let mut data = vec![0; length.min(MAX_DATA)];
        let length = match rustix::io::pread(fd, &mut data, offset) {
            // A pipe or terminal has no offsets.
            Err(Errno::SPIPE) => rustix::io::read(fd, &mut data)?,
            read => read?,
        };
        data.truncate(length);
        if data.is_empty() {
            Err(Status::eof())
        } else {
            Ok(Answer::Data(data))
        }
    }

    fn write(&self, reader: &mut Reader<'_>) -> Result<Answer, Status> {
        let fd = self.handles.fd(reader.string()?)?;
        let mut offset = reader.u64()?;
        let mut data = reader.string()?;
        while !data.is_empty() {
            let written = match rustix::io::pwrite(fd, data, offset) {
                Err(Errno::SPIPE) => rustix::io::write(fd, data)?,
                written => written?,
            };
            offset += written as u64;
            data = data.get(written..).unwrap_or_default();
        }
        Ok(Answer::Done)
    }

    fn list(&mut self, handle: &[u8]) -> Result<Answer, Status> {
        self.names();
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |now| now.as_secs());
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        let (Some(names), folder) = (&self.names, self.handles.folder(handle)?) else {
            return Err(Status::eof());
        };
        let (mut entries, mut count) = (Vec::new(), 0);
        while count < MAX_ENTRIES && entries.len() < MAX_DATA / 2 {
            let Some(entry) = folder.read() else {
                break;
            };
            let entry = entry?;
            let name = entry.file_name();
            // An entry that has just gone is none.
            let Ok(stat) = rustix::fs::statat(folder.fd()?, name, AtFlags::SYMLINK_NOFOLLOW) else {
                continue;
            };
            entries.put_string(name.to_bytes());
            entries.put_string(&names.line(name.to_bytes(), &stat, now));
            attributes::put(&mut entries, &stat);
            count += 1;
        }
        if count == 0 {
            Err(Status::eof())
        } else {
            Ok(Answer::Names(entries, count))
        }
    }
}

/// A path as the kernel takes it. An empty one is the user's home, where the process has started.
pub(super) fn path(reader: &mut Reader<'_>) -> Result<CString, Status> {
    let bytes = reader.string()?;
    let bytes = if bytes.is_empty() { b"." } else { bytes };
    CString::new(bytes).map_err(|_| Errno::INVAL.into())
}

fn stat(path: &CStr, followed: bool) -> Result<Answer, Status> {
    Ok(Answer::Attributes(Box::new(rustix::fs::statat(
        CWD,
        path,
        follow(followed),
    )?)))
}

/// Renames without replacing, which is what version 3 means by it.
fn rename(from: &CStr, to: &CStr) -> Result<Answer, Status> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // The file system cannot: look first, as good as it gets.
        Err(Errno::INVAL | Errno::NOSYS) => {
            if rustix::fs::lstat(to).is_ok() {
                return Err(Errno::EXIST.into());
            }
            rustix::fs::rename(from, to)?;
        }
        renamed => renamed?,
    }
    Ok(Answer::Done)
}

/// The absolute path without links, whose last part need not exist.
pub(super) fn real_path(path: &CStr) -> Result<Answer, Status> {
    use std::os::unix::ffi::OsStrExt as _;
    let path = std::path::Path::new(std::ffi::OsStr::from_bytes(path.to_bytes()));
    let real = match (path.canonicalize(), path.parent(), path.file_name()) {
        (Err(error), Some(parent), Some(name)) if error.kind() == std::io::ErrorKind::NotFound => {
            let parent = if parent.as_os_str().is_empty() {
                std::path::Path::new(".")
            } else {
                parent
            };
            parent.canonicalize()?.join(name)
        }
        (real, ..) => real?,
    };
    Ok(one_name(real.as_os_str().as_bytes()))
}

/// A name with nothing said of its file.
pub(super) fn one_name(name: &[u8]) -> Answer {
    let mut names = Vec::new();
    names.put_string(name);
    names.put_string(name);
    names.put_u32(0);
    Answer::Names(names, 1)
}

fn put(out: &mut Vec<u8>, id: u32, answer: Result<Answer, Status>) {
    let mut head = |kind: u8| {
        out.put_u8(kind);
        out.put_u32(id);
    };
    match answer {
        Ok(Answer::Done) => {
            head(STATUS);
            out.put_u32(Code::Ok as u32);
            out.put_string(b"done");
            out.put_string(b"");
        }
        Err(Status { code, text }) => {
            head(STATUS);
            out.put_u32(code as u32);
            out.put_string(text.as_bytes());
            out.put_string(b"");
        }
        Ok(Answer::Handle(handle)) => {
            head(HANDLE);
            out.put_string(&handle);
        }
        Ok(Answer::Data(data)) => {
            head(DATA);
            out.put_string(&data);
        }
        Ok(Answer::Attributes(stat)) => {
            head(ATTRS);
            attributes::put(out, &stat);
        }
        Ok(Answer::Names(names, count)) => {
            head(NAME);
            out.put_u32(count);
            out.put(&names);
        }
        Ok(Answer::Extended(reply)) => {
            head(EXTENDED_REPLY);
            out.put(&reply);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ask(server: &mut Server, kind: u8, body: &[u8]) -> Vec<u8> {
        let mut packet = vec![kind, 0, 0, 0, 9];
        packet.extend_from_slice(body);
        let mut out = Vec::new();
        server.answer(&packet, &mut out);
        assert_eq!(
            u32::from_be_bytes(out[..4].try_into().unwrap()) as usize,
            out.len() - 4
        );
        out.split_off(4)
    }

    fn strings(strings: &[&[u8]]) -> Vec<u8> {
        let mut bytes = Vec::new();
        strings.iter().for_each(|string| bytes.put_string(string));
        bytes
    }

    fn code(answer: &[u8]) -> u32 {
        assert_eq!(answer[..5], [STATUS, 0, 0, 0, 9]);
        u32::from_be_bytes(answer[5..9].try_into().unwrap())
    }

    #[test]
    fn names_need_not_be_text() {
        use std::os::unix::ffi::OsStrExt as _;
        let folder = tempfile::tempdir().unwrap();
        let name = folder.path().join(std::ffi::OsStr::from_bytes(b"\xff\xfe"));
        std::fs::write(&name, "x").unwrap();
        let mut server = Server::new();
        let answer = ask(&mut server, 11, &strings(&[folder.path().as_os_str().as_bytes()]));
        let listed = ask(&mut server, 12, &answer[5..]);
        assert!(listed.windows(2).any(|window| window == b"\xff\xfe"));
        assert_eq!(code(&ask(&mut server, 12, &answer[5..])), Code::Eof as u32);
        assert_eq!(
            code(&ask(&mut server, 13, &strings(&[name.as_os_str().as_bytes()]))),
            Code::Ok as u32
        );
        assert_eq!(code(&ask(&mut server, 4, &answer[5..])), Code::Ok as u32);
        assert_eq!(code(&ask(&mut server, 4, &answer[5..])), Code::Failure as u32);
    }

    #[test]
    fn a_rename_replaces_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).into_os_string().into_encoded_bytes();
        std::fs::write(folder.path().join("a"), "a").unwrap();
        std::fs::write(folder.path().join("b"), "b").unwrap();
        let mut server = Server::new();
        let both = strings(&[&path("a"), &path("b")]);
        assert_eq!(code(&ask(&mut server, 18, &both)), Code::Failure as u32);
        let posix = strings(&[b"posix-rename@openssh.com", &path("a"), &path("b")]);
        assert_eq!(code(&ask(&mut server, 200, &posix)), Code::Ok as u32);
        assert_eq!(std::fs::read_to_string(folder.path().join("b")).unwrap(), "a");
    }

    proptest! {
        // Requests that could name a path are left out: what they would do is up to chance.
        #[test]
        fn foreign_requests_never_panic(kind in prop::sample::select(vec![0u8, 1, 4, 5, 6, 8, 10, 12, 21, 99, 255]), body in prop::collection::vec(any::<u8>(), 0..80)) {
            ask(&mut Server::new(), kind, &body);
        }

        #[test]
        fn foreign_extensions_never_panic(at in 0usize..20, body in prop::collection::vec(any::<u8>(), 0..40)) {
            let names = [&b"fsync@openssh.com"[..], b"fstatvfs@openssh.com", b"limits@openssh.com", b"users-groups-by-id@openssh.com", b"copy-data", b"x"];
            let mut packet = strings(&[names[at % names.len()]]);
            packet.extend_from_slice(&body);
            ask(&mut Server::new(), 200, &packet);
        }
    }
}

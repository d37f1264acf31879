//! OpenSSH's extensions (its PROTOCOL, section 4), and the two of others that it serves.

use std::ffi::CString;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatVfs, StatVfsMountFlags};

use super::attributes::Wanted;
use super::copy::{At, copy};
use super::handles::{MAX_HANDLES, Target};
use super::request::{Answer, Server, one_name, path, real_path};
use super::status::{Code, Status};
use super::{MAX_DATA, MAX_PACKET};
use crate::ssh::protocol::wire::{Put as _, Reader};
use crate::users::Accounts;

/// Names and versions, as the first answer lists them.
const NAMES: [(&str, &str); 11] = [
    ("posix-rename@openssh.com", "1"),
    ("statvfs@openssh.com", "2"),
    ("fstatvfs@openssh.com", "2"),
    ("hardlink@openssh.com", "1"),
    ("fsync@openssh.com", "1"),
    ("lsetstat@openssh.com", "1"),
    ("limits@openssh.com", "1"),
    ("expand-path@openssh.com", "1"),
    ("copy-data", "1"),
    ("home-directory", "1"),
    ("users-groups-by-id@openssh.com", "1"),
];

/// Lists them.
pub(super) fn put_names(out: &mut Vec<u8>) {
    for (name, version) in NAMES {
        out.put_string(name.as_bytes());
        out.put_string(version.as_bytes());
    }
}

/// Answers the extended request of that name.
pub(super) fn request(server: &mut Server, name: &[u8], reader: &mut Reader<'_>) -> Result<Answer, Status> {
    match name {
        b"posix-rename@openssh.com" => {
            Ok(rustix::fs::rename(path(reader)?, path(reader)?).map(|()| Answer::Done)?)
        }
        b"statvfs@openssh.com" => Ok(space(&rustix::fs::statvfs(path(reader)?)?)),
        b"fstatvfs@openssh.com" => Ok(space(&rustix::fs::fstatvfs(
            server.handles.fd(reader.string()?)?,
        )?)),
        b"hardlink@openssh.com" => {
            let (from, to) = (path(reader)?, path(reader)?);
            Ok(rustix::fs::linkat(CWD, from, CWD, to, AtFlags::empty()).map(|()| Answer::Done)?)
        }
        b"fsync@openssh.com" => {
            Ok(rustix::fs::fsync(server.handles.fd(reader.string()?)?).map(|()| Answer::Done)?)
        }
        b"lsetstat@openssh.com" => {
            let path = path(reader)?;
            Wanted::parse(reader)?
                .apply(&Target::Path {
                    path: &path,
                    follow: false,
                })
                .map(|()| Answer::Done)
        }
        b"limits@openssh.com" => {
            let mut reply = Vec::new();
            for limit in [MAX_PACKET, MAX_DATA, MAX_DATA, MAX_HANDLES] {
                reply.put_u64(limit as u64);
            }
            Ok(Answer::Extended(reply))
        }
        b"expand-path@openssh.com" => expand(reader.string()?),
        b"home-directory" => Ok(one_name(home(reader.string()?)?.as_os_str().as_encoded_bytes())),
        b"users-groups-by-id@openssh.com" => names(server, reader),
        b"copy-data" => copy_data(server, reader),
        _ => Err(Status::new(Code::Unsupported, "there is no such extension")),
    }
}

/// What is left of a file system.
fn space(stat: &StatVfs) -> Answer {
    let mut flags = 0;
    for (flag, bit) in [(StatVfsMountFlags::RDONLY, 1), (StatVfsMountFlags::NOSUID, 2)] {
        if stat.f_flag.contains(flag) {
            flags |= bit;
        }
    }
    let mut reply = Vec::new();
    let numbers = [
        stat.f_bsize,
        stat.f_frsize,
        stat.f_blocks,
        stat.f_bfree,
        stat.f_bavail,
        stat.f_files,
        stat.f_ffree,
        stat.f_favail,
        stat.f_fsid,
        flags,
        stat.f_namemax,
    ];
    numbers.iter().for_each(|number| reply.put_u64(*number));
    Answer::Extended(reply)
}

/// The home of a user; of the one who is logged in if the name is empty.
fn home(user: &[u8]) -> Result<PathBuf, Status> {
    if user.is_empty() {
        // The session's environment has it.
        return Ok(std::env::var_os("HOME").map_or_else(|| "/".into(), PathBuf::from));
    }
    let found = std::str::from_utf8(user)
        .ok()
        .and_then(|user| Accounts::load(Path::new("/etc")).user(user));
    found
        .map(|user| user.home)
        .ok_or_else(|| Status::new(Code::NoSuchFile, "there is no such user"))
}

/// A path that may begin with `~` or `~USER`.
fn expand(given: &[u8]) -> Result<Answer, Status> {
    let expanded = match given.strip_prefix(b"~") {
        Some(rest) => {
            let end = rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
            let (user, rest) = rest.split_at_checked(end).unwrap_or((rest, &[]));
            [home(user)?.as_os_str().as_encoded_bytes(), rest].concat()
        }
        None => given.to_vec(),
    };
    let bad = |_| Status::new(Code::BadMessage, "a path with a zero byte");
    real_path(&CString::new(expanded).map_err(bad)?)
}

/// Names of users and groups by their numbers; empty where there is none.
fn names(server: &mut Server, reader: &mut Reader<'_>) -> Result<Answer, Status> {
    let (mut uids, mut gids) = (Reader::new(reader.string()?), Reader::new(reader.string()?));
    let names = server.names();
    let (mut users, mut groups) = (Vec::new(), Vec::new());
    while let Ok(uid) = uids.u32() {
        users.put_string(names.user(uid).unwrap_or_default().as_bytes());
    }
    while let Ok(gid) = gids.u32() {
        groups.put_string(names.group(gid).unwrap_or_default().as_bytes());
    }
    if users.len() + groups.len() > MAX_DATA {
        return Err(Status::new(Code::Failure, "too many names are asked for"));
    }
    let mut reply = Vec::new();
    reply.put_string(&users);
    reply.put_string(&groups);
    Ok(Answer::Extended(reply))
}

fn copy_data(server: &Server, reader: &mut Reader<'_>) -> Result<Answer, Status> {
    let (source, offset, length) = (reader.string()?, reader.u64()?, reader.u64()?);
    let from = At {
        fd: server.handles.fd(source)?,
        offset,
    };
    let target = reader.string()?;
    let to = At {
        fd: server.handles.fd(target)?,
        offset: reader.u64()?,
    };
    if source == target {
        return Err(Status::new(Code::Failure, "a file cannot be copied into itself"));
    }
    copy(from, to, length).map(|()| Answer::Done)
}

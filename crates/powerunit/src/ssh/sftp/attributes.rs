//! Attributes of files, section 5 of the draft.

use rustix::fs::{AtFlags, Gid, Mode, Stat, Timespec, Timestamps, Uid};

use super::handles::Target;
use super::status::Status;
use crate::ssh::protocol::wire::{Malformed, Put as _, Reader};

const SIZE: u32 = 0x1;
const OWNER: u32 = 0x2;
const PERMISSIONS: u32 = 0x4;
const TIMES: u32 = 0x8;
const EXTENDED: u32 = 0x8000_0000;

/// What a client wants a file to be like; what is absent stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) size: Option<u64>,
    pub(super) owner: Option<(u32, u32)>,
    pub(super) permissions: Option<u32>,
    /// Of last access and change, in seconds since the Unix epoch.
    pub(super) times: Option<(u32, u32)>,
}

impl Wanted {
    pub(super) fn parse(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let flags = reader.u32()?;
        let mut wanted = Self::default();
        if flags & SIZE != 0 {
            wanted.size = Some(reader.u64()?);
        }
        if flags & OWNER != 0 {
            wanted.owner = Some((reader.u32()?, reader.u32()?));
        }
        if flags & PERMISSIONS != 0 {
            wanted.permissions = Some(reader.u32()?);
        }
        if flags & TIMES != 0 {
            wanted.times = Some((reader.u32()?, reader.u32()?));
        }
        if flags & EXTENDED != 0 {
            for _ in 0..reader.u32()? {
                let _unknown = (reader.string()?, reader.string()?);
            }
        }
        Ok(wanted)
    }

    /// Permission bits for a new file or folder.
    pub(super) fn mode(&self, default: u32) -> Mode {
        Mode::from_raw_mode(self.permissions.unwrap_or(default) & 0o7777)
    }

    /// Makes a file so. All that can be done is done; the first failure is told.
    pub(super) fn apply(&self, target: &Target<'_>) -> Result<(), Status> {
        let mut first = Ok(());
        let mut note = |result: rustix::io::Result<()>| {
            if first.is_ok() {
                first = result.map_err(Status::from);
            }
        };
        if let Some(size) = self.size {
            note(target.truncate(size));
        }
        if let Some(permissions) = self.permissions {
            note(target.set_mode(Mode::from_raw_mode(permissions & 0o7777)));
        }
        if let Some((accessed, modified)) = self.times {
            let time = |seconds: u32| Timespec {
                tv_sec: seconds.into(),
                tv_nsec: 0,
            };
            note(target.set_times(&Timestamps {
                last_access: time(accessed),
                last_modification: time(modified),
            }));
        }
        if let Some((uid, gid)) = self.owner {
            note(target.set_owner(Uid::from_raw(uid), Gid::from_raw(gid)));
        }
        first
    }
}

/// Writes what a file is like.
pub(super) fn put(out: &mut Vec<u8>, stat: &Stat) {
    out.put_u32(SIZE | OWNER | PERMISSIONS | TIMES);
    out.put_u64(u64::try_from(stat.st_size).unwrap_or(0));
    out.put_u32(stat.st_uid);
    out.put_u32(stat.st_gid);
    out.put_u32(stat.st_mode);
    let seconds = |time: i64| u32::try_from(time.max(0)).unwrap_or(u32::MAX);
    out.put_u32(seconds(stat.st_atime));
    out.put_u32(seconds(stat.st_mtime));
}

/// Whether links are followed.
pub(super) fn follow(follow: bool) -> AtFlags {
    if follow {
        AtFlags::empty()
    } else {
        AtFlags::SYMLINK_NOFOLLOW
    }
}

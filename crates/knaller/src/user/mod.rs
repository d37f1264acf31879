//! A user of its own for the processes of each of root's machines: pasta's and the VMM's.
//!
//! The invariant: for as long as one of its processes lives, its number is nobody else's: no account's, in no share of
//! numbers that an account has (subuid(5)), no other process's. What is taken is asked of the kernel and of the
//! accounts at each boot and written nowhere; from the look to the first process of the boot a lock is held that all of
//! root's knallers wait for. So nothing on a disk may belong to such a user: what is its machine's is shown to it as
//! its own ([`crate::jail::hand`]).

use std::num::ParseIntError;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::flocked::Flocked;

mod become_one;
mod obstacle;
mod taken;

pub(crate) use become_one::Switch;
pub(crate) use obstacle::Obstacle;

/// What all of root's knallers lock while one of them takes a number, whatever folders they have.
const LOCK: &str = "/run/knaller-users.lock";

/// What the helper opens by the host's path, as the machine's user.
pub(crate) const TUN: &str = "/dev/net/tun";

/// The numbers that root's machines may have as user and group.
///
/// By default the 65,536 from 0x7000_0000 (1,879,048,192) on, which systemd's and Debian's schemes leave to nobody
/// (systemd: `docs/UIDS-GIDS.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRange {
    pub first: u32,
    pub last: u32,
}

/// A text that is no range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UserRangeError {
    /// It has another form.
    #[error("it is FIRST-LAST, two numbers")]
    Form,
    /// One of its numbers is none.
    #[error(transparent)]
    Number(#[from] ParseIntError),
    /// Root is in it, or what stands for no user (setuid(2): -1), or nobody at all.
    #[error("the numbers are from 1 to 4294967294, the last not below the first")]
    Bounds,
}

impl Default for UserRange {
    fn default() -> Self {
        Self {
            first: 0x7000_0000,
            last: 0x7000_ffff,
        }
    }
}

impl FromStr for UserRange {
    type Err = UserRangeError;

    fn from_str(text: &str) -> Result<Self, UserRangeError> {
        let (first, last) = text.split_once('-').ok_or(UserRangeError::Form)?;
        let range = Self {
            first: first.trim().parse()?,
            last: last.trim().parse()?,
        };
        if range.first == 0 || range.last == u32::MAX || range.last < range.first {
            return Err(UserRangeError::Bounds);
        }
        Ok(range)
    }
}

/// A number that nobody has, and that nobody takes for as long as this lives. To be dropped when a process has it.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) id: u32,
    _lock: Flocked,
}

/// Takes one of the range. Blocks while another does.
pub(crate) fn take(range: UserRange) -> Result<Taken, Obstacle> {
    let looked = Flocked::of_root(Path::new(LOCK)).and_then(|lock| Ok((lock, taken::first_free(range)?)));
    let (lock, id) = looked.map_err(Obstacle::Accounts)?;
    let id = id.ok_or(Obstacle::NoneFree)?;
    Ok(Taken { id, _lock: lock })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_range_is() {
        let range: UserRange = "5-9".parse().unwrap();
        assert_eq!((range.first, range.last), (5, 9));
        for bad in [
            "",
            "5",
            "9-5",
            "0-5",
            "1-4294967295",
            "a-b",
            "-1-5",
            "1-99999999999",
        ] {
            bad.parse::<UserRange>().unwrap_err();
        }
    }
}

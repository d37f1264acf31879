//! A folder's entries as `ls -l` shows them: clients print that line as it is.

use std::collections::HashMap;
use std::path::Path;

use rustix::fs::{FileType, Stat};

use crate::users::Accounts;

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// Older files are shown with their year in place of the time, in seconds.
const HALF_A_YEAR: i64 = 365 * 24 * 60 * 60 / 2;

/// Names of users and groups, read once.
#[derive(Debug)]
pub(super) struct Names {
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
}

impl Names {
    pub(super) fn load() -> Self {
        let (users, groups) = Accounts::load(Path::new("/etc")).names();
        Self { users, groups }
    }

    pub(super) fn user(&self, uid: u32) -> Option<&str> {
        self.users.get(&uid).map(String::as_str)
    }

    pub(super) fn group(&self, gid: u32) -> Option<&str> {
        self.groups.get(&gid).map(String::as_str)
    }

    /// The line of a file. `now` is in seconds since the Unix epoch; times are shown in UTC.
    pub(super) fn line(&self, name: &[u8], stat: &Stat, now: i64) -> Vec<u8> {
        let or_number = |name: Option<&str>, id: u32| name.map_or_else(|| id.to_string(), str::to_owned);
        let user = or_number(self.user(stat.st_uid), stat.st_uid);
        let group = or_number(self.group(stat.st_gid), stat.st_gid);
        let (mode, links, size) = (mode(stat.st_mode), stat.st_nlink, stat.st_size);
        let date = date(stat.st_mtime, now);
        let mut line = format!("{mode} {links:>3} {user:<8} {group:<8} {size:>8} {date} ").into_bytes();
        line.extend_from_slice(name);
        line
    }
}

/// Kind and permissions in letters.
fn mode(mode: u32) -> String {
    let kind = match FileType::from_raw_mode(mode) {
        FileType::Directory => 'd',
        FileType::Symlink => 'l',
        FileType::CharacterDevice => 'c',
        FileType::BlockDevice => 'b',
        FileType::Fifo => 'p',
        FileType::Socket => 's',
        FileType::RegularFile | FileType::Unknown => '-',
    };
    let mut text = String::from(kind);
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = mode >> shift;
        text.push(if bits & 4 == 0 { '-' } else { 'r' });
        text.push(if bits & 2 == 0 { '-' } else { 'w' });
        text.push(match (bits & 1 == 0, mode & special == 0) {
            (true, true) => '-',
            (false, true) => 'x',
            (true, false) => letter.to_ascii_uppercase(),
            (false, false) => letter,
        });
    }
    text
}

fn date(time: i64, now: i64) -> String {
    let (days, seconds) = (time.div_euclid(86_400), time.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let month = usize::try_from(month - 1)
        .ok()
        .and_then(|month| MONTHS.get(month))
        .unwrap_or(&"???");
    if (now - HALF_A_YEAR..=now).contains(&time) {
        format!("{month} {day:>2} {:02}:{:02}", seconds / 3600, seconds / 60 % 60)
    } else {
        format!("{month} {day:>2}  {year}")
    }
}

/// Year, month and day of a day counted from the Unix epoch. Years are taken to begin in March, so that a leap day is
/// their last.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (year + era * 400 + next, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_dates() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(19_782), (2024, 2, 29));
        assert_eq!(civil(-1), (1969, 12, 31));
        assert_eq!(date(1_767_323_045, 1_767_400_000), "Jan  2 03:04");
        assert_eq!(date(1_767_323_045, 1_867_400_000), "Jan  2  2026");
    }

    #[test]
    fn modes_have_letters() {
        assert_eq!(mode(0o100_644), "-rw-r--r--");
        assert_eq!(mode(0o041_777), "drwxrwxrwt");
        assert_eq!(mode(0o104_755), "-rwsr-xr-x");
        assert_eq!(mode(0o102_644), "-rw-r-Sr--");
        assert_eq!(mode(0o120_777), "lrwxrwxrwx");
    }
}

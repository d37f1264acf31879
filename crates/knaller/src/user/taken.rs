//! Which numbers are somebody's. The invariant: who cannot tell says so, and takes none for free.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::ops::RangeInclusive;
use std::path::Path;
use std::process::{Command, Stdio};

use super::UserRange;

/// Accounts and groups (passwd(5), group(5)): the number is the third field.
const ACCOUNTS: [&str; 2] = ["/etc/passwd", "/etc/group"];

/// What accounts may give to their containers (subuid(5), subgid(5)): whose, from, how many.
const SHARES: [&str; 2] = ["/etc/subuid", "/etc/subgid"];

/// The first number of the range that is nobody's.
pub(super) fn first_free(range: UserRange) -> io::Result<Option<u32>> {
    let mut used = running(Path::new("/proc"))?;
    for path in ACCOUNTS {
        used.extend(read(Path::new(path))?.lines().filter_map(account));
    }
    let mut shares = Vec::new();
    for path in SHARES {
        shares.extend(read(Path::new(path))?.lines().filter_map(share));
    }
    let candidates = (range.first..=range.last)
        .filter(|id| !used.contains(id) && !shares.iter().any(|share| share.contains(id)));
    for id in candidates {
        // Last, since it runs a program: of those that are left the first is nobody's but by chance.
        if !is_known(id)? {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

/// Nothing where there is no such file, or its process has ended.
fn read(path: &Path) -> io::Result<String> {
    match fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        // proc(5): it was opened before the process ended.
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(String::new()),
        Err(error) => Err(error),
    }
}

fn account(line: &str) -> Option<u32> {
    line.split(':').nth(2)?.parse().ok()
}

fn share(line: &str) -> Option<RangeInclusive<u32>> {
    let mut fields = line.split(':').skip(1);
    let first: u32 = fields.next()?.trim().parse().ok()?;
    let count: u32 = fields.next()?.trim().parse().ok()?;
    (count > 0).then(|| first..=first.saturating_add(count - 1))
}

/// Users and groups of all processes.
fn running(proc: &Path) -> io::Result<BTreeSet<u32>> {
    let mut used = BTreeSet::new();
    for entry in fs::read_dir(proc)? {
        let entry = entry?;
        let name = entry.file_name();
        if !name
            .to_str()
            .is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        {
            continue;
        }
        for line in read(&entry.path().join("status"))?.lines() {
            if let Some(ids) = line.strip_prefix("Uid:").or_else(|| line.strip_prefix("Gid:")) {
                used.extend(
                    ids.split_ascii_whitespace()
                        .filter_map(|id| id.parse::<u32>().ok()),
                );
            }
        }
    }
    Ok(used)
}

/// Whether a directory of accounts that is no file has it (getent(1), nsswitch.conf(5)). Without getent there is none.
fn is_known(id: u32) -> io::Result<bool> {
    for database in ["passwd", "group"] {
        let asked = Command::new("getent")
            .args([database, &id.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        match asked {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
            Ok(status) if status.success() => return Ok(true),
            Ok(_) => {}
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_accounts_and_shares() {
        assert_eq!(account("www:x:33:33:www:/var/www:/bin/false"), Some(33));
        assert_eq!(account("+::::::"), None);
        assert_eq!(share("me:100000:65536"), Some(100_000..=165_535));
        assert_eq!(share("me:1:0"), None);
        assert_eq!(share("me:4294967295:9"), Some(u32::MAX..=u32::MAX));
        assert_eq!(share("# nothing"), None);
    }

    #[test]
    fn a_running_process_and_an_account_have_their_numbers() {
        let own = rustix::process::getuid().as_raw();
        assert!(running(Path::new("/proc")).unwrap().contains(&own));
        let only = |id| UserRange { first: id, last: id };
        assert_eq!(first_free(only(own)).unwrap(), None);
        // nobody
        assert_eq!(first_free(only(65_534)).unwrap(), None);
        assert!(first_free(UserRange::default()).unwrap().is_some());
    }
}

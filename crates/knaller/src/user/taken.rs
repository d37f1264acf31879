//! Which numbers are somebody's.

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
        used.extend(read(path).lines().filter_map(account));
    }
    let shares: Vec<_> = SHARES
        .iter()
        .flat_map(|path| read(path).lines().filter_map(share).collect::<Vec<_>>())
        .collect();
    let mut candidates = (range.first..=range.last)
        .filter(|id| !used.contains(id) && !shares.iter().any(|share| share.contains(id)));
    // Last, since it runs a program: of those that are left the first is nobody's but by chance.
    Ok(candidates.find(|id| !is_known(*id)))
}

fn read(path: &str) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
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
    for entry in fs::read_dir(proc)?.flatten() {
        let name = entry.file_name();
        if !name
            .to_str()
            .is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        {
            continue;
        }
        // One that has just ended has no status any more.
        let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        for line in status.lines() {
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
fn is_known(id: u32) -> bool {
    ["passwd", "group"].iter().any(|database| {
        let asked = Command::new("getent")
            .args([*database, &id.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        asked.is_ok_and(|status| status.success())
    })
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

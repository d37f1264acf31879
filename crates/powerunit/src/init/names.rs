//! Names: the machine's own, and how it finds others'. Pure texts, and the files they go to.
//!
//! The invariant: the image's own lines in /etc/hosts stay; a file that already says what it should is not written.

use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::Path;

use guest_protocol::Network;
use rustix::fs::{FileType, Mode};

use crate::files;

/// The longest file of the image that is read, in bytes.
const MAX_FILE: u64 = 1024 * 1024;

/// Debian's address for the name of a machine that has no permanent one (Debian Reference, 5.1.1).
const OWN_ADDRESS: &str = "127.0.1.1";

/// The most name servers and search domains the resolver uses (`MAXNS`, and the old limit of six domains, resolv.conf(5)).
const MAX_SERVERS: usize = 3;

/// What could not be set.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("`{0}` is no host name: 1 to 64 letters, digits and `-`")]
    Hostname(String),
    #[error("the kernel does not take the host name")]
    Kernel(#[source] std::io::Error),
    #[error("`{0}` is no id of a machine: 32 hexadecimal digits in lower case, not all of them 0")]
    MachineId(String),
    #[error("`{0}` is no search domain")]
    Search(String),
    #[error("cannot write {path}")]
    Write {
        path: &'static str,
        #[source]
        source: std::io::Error,
    },
}

/// Tells the kernel the machine's name.
pub(crate) fn set_hostname(name: &str) -> Result<(), Error> {
    if !is_hostname(name) {
        return Err(Error::Hostname(name.into()));
    }
    rustix::system::sethostname(name.as_bytes()).map_err(|e| Error::Kernel(e.into()))
}

/// Writes /etc/hostname, /etc/hosts and /etc/resolv.conf where they do not say what they should. Gives what failed.
pub(crate) fn write_files(hostname: &str, network: Option<&Network>) -> Vec<Error> {
    let mut errors = Vec::new();
    if is_hostname(hostname) {
        errors.extend(write("/etc/hostname", |_| format!("{hostname}\n")).err());
        errors.extend(write("/etc/hosts", |present| hosts(present, hostname)).err());
    }
    if let Some(network) = network.filter(|network| !network.dns.is_empty()) {
        errors.extend(
            network
                .search
                .iter()
                .filter(|domain| !is_domain(domain))
                .cloned()
                .map(Error::Search),
        );
        errors.extend(write("/etc/resolv.conf", |_| resolv_conf(&network.dns, &network.search)).err());
    }
    errors
}

/// Where programs find what tells this machine from every other (machine-id(5)), and where D-Bus may have a copy of its own.
const MACHINE_ID: &str = "/etc/machine-id";
const DBUS_MACHINE_ID: &str = "/var/lib/dbus/machine-id";

/// Writes the machine's id; an empty one changes nothing. Gives what failed.
pub(crate) fn write_machine_id(id: &str) -> Vec<Error> {
    if id.is_empty() {
        return Vec::new();
    }
    if !is_machine_id(id) {
        return vec![Error::MachineId(id.into())];
    }
    // Elsewhere it is a link to the other.
    let own = rustix::fs::lstat(DBUS_MACHINE_ID)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile);
    let paths = [Some(MACHINE_ID), own.then_some(DBUS_MACHINE_ID)];
    let written = paths
        .into_iter()
        .flatten()
        .map(|path| write(path, |_| format!("{id}\n")));
    // A root that cannot be written to, and has no such file, names no other machine.
    let missing =
        |e: &Error| matches!(e, Error::Write { source, .. } if source.kind() == ErrorKind::NotFound);
    written.filter_map(Result::err).filter(|e| !missing(e)).collect()
}

fn write(path: &'static str, wanted: impl FnOnce(&str) -> String) -> Result<(), Error> {
    // What cannot be read (a link into nowhere, a folder, a FIFO) is replaced like what is not there.
    let present = files::read(Path::new(path), MAX_FILE).unwrap_or_default();
    let present = String::from_utf8_lossy(&present);
    let wanted = wanted(&present);
    if present == wanted {
        return Ok(());
    }
    let path_there = Path::new(path);
    let folder = path_there.parent().unwrap_or(Path::new("/"));
    files::make_folder(folder, Mode::from_raw_mode(0o755))
        .and_then(|_| files::replace_or_cover(path_there, wanted.as_bytes(), Mode::from_raw_mode(0o644)))
        .map_err(|source| Error::Write { path, source })
}

/// `present` with lines for the loopback names, where it has none, and for the machine's own name.
fn hosts(present: &str, hostname: &str) -> String {
    let names = |line: &str| -> Vec<String> {
        let line = line.split('#').next().unwrap_or_default();
        line.split_whitespace().map(Into::into).collect()
    };
    let is_own = |line: &str| names(line).first().is_some_and(|address| address == OWN_ADDRESS);
    let mut lines: Vec<&str> = present.lines().filter(|line| !is_own(line)).collect();
    let knows = |lines: &[&str], address: &str, name: &str| {
        lines.iter().any(|line| {
            let names = names(line);
            names
                .split_first()
                .is_some_and(|(first, rest)| first == address && rest.iter().any(|n| n == name))
        })
    };
    let own = format!("{OWN_ADDRESS}\t{hostname}");
    if !knows(&lines, "127.0.0.1", "localhost") {
        lines.insert(0, "127.0.0.1\tlocalhost");
    }
    if !knows(&lines, "::1", "localhost") && !knows(&lines, "::1", "ip6-localhost") {
        lines.push("::1\tlocalhost ip6-localhost ip6-loopback");
    }
    let named = lines
        .iter()
        .any(|line| names(line).iter().skip(1).any(|name| name == hostname));
    if !named {
        lines.push(&own);
    }
    lines.join("\n") + "\n"
}

fn resolv_conf(dns: &[IpAddr], search: &[String]) -> String {
    let servers = dns
        .iter()
        .take(MAX_SERVERS)
        .map(|server| format!("nameserver {server}\n"));
    let mut text: String = servers.collect();
    let domains: Vec<&str> = search
        .iter()
        .map(String::as_str)
        .filter(|domain| is_domain(domain))
        .collect();
    if !domains.is_empty() {
        text.push_str(&format!("search {}\n", domains.join(" ")));
    }
    text
}

/// The protocol's own rule for host names, which leaves no room for another line in a file.
fn is_hostname(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (1..=64).contains(&name.len()) && name.bytes().all(plain)
}

fn is_machine_id(id: &str) -> bool {
    let digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    id.len() == 32 && id.bytes().all(digit) && id.bytes().any(|byte| byte != b'0')
}

fn is_domain(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    (1..=253).contains(&name.len()) && name.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_empty_file_gets_all_lines() {
        let expected = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.1.1\tbox\n";
        assert_eq!(hosts("", "box"), expected);
    }

    #[test]
    fn the_images_lines_stay_and_an_old_own_name_goes() {
        let present = "127.0.0.1 localhost\n# ours\n10.0.0.9 db\n127.0.1.1 old\n::1 ip6-localhost\n";
        let expected = "127.0.0.1 localhost\n# ours\n10.0.0.9 db\n::1 ip6-localhost\n127.0.1.1\tbox\n";
        assert_eq!(hosts(present, "box"), expected);
        assert_eq!(
            hosts("127.0.0.1 localhost box\n::1 localhost\n", "box"),
            "127.0.0.1 localhost box\n::1 localhost\n"
        );
        assert!(hosts("# 127.0.0.1 localhost\n", "box").starts_with("127.0.0.1\tlocalhost\n"));
    }

    #[test]
    fn the_resolver_gets_what_it_can_use() {
        let dns: Vec<IpAddr> = ["10.0.0.1", "fd00::1", "1.1.1.1", "8.8.8.8"]
            .map(|a| a.parse().unwrap())
            .into();
        let search = [
            "example.com".into(),
            "bad\nnameserver 6.6.6.6".into(),
            "corp".into(),
        ];
        let expected =
            "nameserver 10.0.0.1\nnameserver fd00::1\nnameserver 1.1.1.1\nsearch example.com corp\n";
        assert_eq!(resolv_conf(&dns, &search), expected);
    }

    #[test]
    fn an_id_of_a_machine_is_machine_id5s() {
        assert!(is_machine_id("0123456789abcdef0123456789abcdef"));
        for id in [
            "0".repeat(32),
            "A".repeat(32),
            "a".repeat(31),
            "g".repeat(32),
            format!("{}\n", "a".repeat(31)),
        ] {
            assert!(!is_machine_id(&id), "{id:?}");
        }
    }

    #[test]
    fn host_names_are_the_protocols() {
        assert!(is_hostname("box-7") && is_hostname(&"a".repeat(64)));
        for name in ["", "a b", "a\nb", "ä", &"a".repeat(65)] {
            assert!(!is_hostname(name), "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn writing_twice_changes_nothing(present in "([0-9.:]{1,9}[ \t][a-z ]{0,12}(#[a-z]*)?\n){0,6}", name in "[a-z]{1,5}") {
            let once = hosts(&present, &name);
            prop_assert_eq!(hosts(&once, &name), once.clone());
            prop_assert!(once.ends_with('\n'));
        }

        #[test]
        fn foreign_lines_survive(lines in prop::collection::vec("10\\.0\\.0\\.[0-9] [a-z]{1,5}", 0..6)) {
            let once = hosts(&lines.join("\n"), "box");
            for line in &lines {
                prop_assert!(once.lines().any(|l| l == line));
            }
        }
    }
}

//! The files that the guest's init writes at each boot: what is in them of the machine, and not of its image.
//!
//! The host must know them too, to leave them out of an image that it makes of the machine.

use std::net::IpAddr;

use crate::{Pin, is_hostname};

/// Where the machine's name is.
pub const HOSTNAME: &str = "/etc/hostname";
pub const HOSTS: &str = "/etc/hosts";
pub const RESOLV_CONF: &str = "/etc/resolv.conf";

/// What tells the machine from every other (machine-id(5)).
pub const MACHINE_ID: &str = "/etc/machine-id";

/// A link that is made where there is none, and where it leads.
pub const MTAB: (&str, &str) = ("/etc/mtab", "../proc/self/mounts");

/// Debian's address for the name of a machine that has no permanent one (Debian Reference, 5.1.1).
const OWN_ADDRESS: &str = "127.0.1.1";

/// The most name servers and search domains the resolver uses (`MAXNS`, and the old limit of six domains, resolv.conf(5)).
const MAX_SERVERS: usize = 3;

/// hostname(5).
#[must_use]
pub fn hostname_file(hostname: &str) -> String {
    format!("{hostname}\n")
}

/// What a line of a pinned name ends in: it goes when the names are pinned anew.
const PINNED: &str = "# pinned by knaller";

/// `present` with lines for the pinned names, which come first and so count, for the loopback names, where it has none, and for
/// the machine's own name.
#[must_use]
pub fn hosts(present: &str, hostname: &str, pins: &[Pin]) -> String {
    let pinned: String = pins
        .iter()
        .filter(|pin| is_hostname(&pin.name))
        .map(|pin| format!("{}\t{} {PINNED}\n", pin.address, pin.name))
        .collect();
    pinned + &with_own(&unpinned(present), hostname)
}

/// A text of [`hosts`] without the pinned names.
#[must_use]
pub fn unpinned(hosts: &str) -> String {
    let pinned = |line: &&str| line.trim_end_matches('\n').ends_with(PINNED);
    hosts.split_inclusive('\n').filter(|line| !pinned(line)).collect()
}

fn with_own(present: &str, hostname: &str) -> String {
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
    // With a domain the name comes first that has it, so that it is what the short one stands for (hosts(5)).
    let own = match hostname.split_once('.') {
        Some((short, _)) => format!("{OWN_ADDRESS}\t{hostname} {short}"),
        None => format!("{OWN_ADDRESS}\t{hostname}"),
    };
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

/// resolv.conf(5), with those of the domains that are some.
#[must_use]
pub fn resolv_conf(dns: &[IpAddr], search: &[String]) -> String {
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

/// Whether a text is one that [`resolv_conf`] makes, of whatever servers and domains.
#[must_use]
pub fn is_resolv_conf(text: &str) -> bool {
    let (mut dns, mut search) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let known = match line.split_once(' ') {
            Some(("nameserver", address)) => address.parse().map(|address| dns.push(address)).is_ok(),
            Some(("search", domains)) => {
                search.extend(domains.split(' ').map(str::to_owned));
                true
            }
            _ => false,
        };
        if !known {
            return false;
        }
    }
    !dns.is_empty() && resolv_conf(&dns, &search) == text
}

/// Whether a text is a machine's id: 32 hexadecimal digits in lower case, not all of them 0 (machine-id(5)).
#[must_use]
pub fn is_machine_id(id: &str) -> bool {
    let digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    id.len() == 32 && id.bytes().all(digit) && id.bytes().any(|byte| byte != b'0')
}

/// Whether a text can be a search domain; no other can begin a new line of the file.
#[must_use]
pub fn is_domain(name: &str) -> bool {
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
        assert_eq!(hosts("", "box", &[]), expected);
    }

    #[test]
    fn the_images_lines_stay_and_an_old_own_name_goes() {
        let present = "127.0.0.1 localhost\n# ours\n10.0.0.9 db\n127.0.1.1 old\n::1 ip6-localhost\n";
        let expected = "127.0.0.1 localhost\n# ours\n10.0.0.9 db\n::1 ip6-localhost\n127.0.1.1\tbox\n";
        assert_eq!(hosts(present, "box", &[]), expected);
        assert_eq!(
            hosts("127.0.0.1 localhost box\n::1 localhost\n", "box", &[]),
            "127.0.0.1 localhost box\n::1 localhost\n"
        );
        assert!(hosts("# 127.0.0.1 localhost\n", "box", &[]).starts_with("127.0.0.1\tlocalhost\n"));
    }

    #[test]
    fn a_name_with_a_domain_is_found_by_its_first_part_too() {
        let text = hosts("", "web.example.org", &[]);
        assert!(text.ends_with("127.0.1.1\tweb.example.org web\n"), "{text}");
        assert_eq!(hosts(&text, "web.example.org", &[]), text);
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
        assert!(is_resolv_conf(expected));
    }

    #[test]
    fn a_resolver_file_of_somebody_else_is_told() {
        for text in [
            "",
            "# ours\nnameserver 10.0.0.1\n",
            "nameserver 10.0.0.1",
            "search corp\n",
            "search corp\nnameserver 10.0.0.1\n",
            "nameserver 10.0.0.1\noptions ndots:5\n",
        ] {
            assert!(!is_resolv_conf(text), "{text:?}");
        }
    }

    #[test]
    fn pinned_names_come_first_and_go_when_they_are_pinned_anew() {
        let pin = |name: &str, address: &str| Pin {
            name: name.into(),
            address: address.parse().unwrap(),
        };
        let image = "10.0.0.9 example.org\n";
        let first = hosts(
            image,
            "box",
            &[pin("example.org", "192.0.2.1"), pin("a\nb", "192.0.2.2")],
        );
        assert!(first.starts_with("192.0.2.1\texample.org # pinned"), "{first}");
        assert!(
            !first.contains("192.0.2.2") && first.contains("10.0.0.9 example.org\n"),
            "{first}"
        );
        let second = hosts(&first, "box", &[pin("example.org", "2001:db8::1")]);
        assert!(second.starts_with("2001:db8::1\texample.org"), "{second}");
        assert!(!second.contains("192.0.2.1"), "{second}");
        assert_eq!(hosts(&second, "box", &[]), hosts(image, "box", &[]));
    }

    proptest! {
        #[test]
        fn writing_twice_changes_nothing(present in "([0-9.:]{1,9}[ \t][a-z ]{0,12}(#[a-z]*)?\n){0,6}", name in "[a-z]{1,5}(\\.[a-z]{1,3})?") {
            let once = hosts(&present, &name, &[]);
            prop_assert_eq!(hosts(&once, &name, &[]), once.clone());
            prop_assert!(once.ends_with('\n'));
        }

        #[test]
        fn foreign_lines_survive(lines in prop::collection::vec("10\\.0\\.0\\.[0-9] [a-z]{1,5}", 0..6)) {
            let once = hosts(&lines.join("\n"), "box", &[]);
            for line in &lines {
                prop_assert!(once.lines().any(|l| l == line));
            }
        }
    }
}

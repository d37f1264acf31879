//! Patterns of `authorized_keys`: lists of addresses, and of hosts with ports.

use std::net::IpAddr;

/// The list itself, if every element of it is an address, a network or a pattern of addresses with `*` and `?`.
/// Host names are not looked up, so that a list with one in it is none.
pub(super) fn check_addresses(list: &str) -> Option<&str> {
    let element = |element: &str| {
        let element = element.strip_prefix('!').unwrap_or(element);
        let characters = |c: char| c.is_ascii_hexdigit() || matches!(c, '.' | ':' | '*' | '?');
        network(element).is_some() || (!element.is_empty() && element.chars().all(characters))
    };
    list.split(',').all(|part| element(part.trim())).then_some(list)
}

/// Whether `address` is on the list and not on it with a `!`, as ssh_config(5) explains patterns.
pub(super) fn matches_address(list: &str, address: IpAddr) -> bool {
    let address = address.to_canonical();
    let text = address.to_string();
    let mut found = false;
    for element in list.split(',').map(str::trim) {
        let (denied, pattern) = match element.strip_prefix('!') {
            Some(rest) => (true, rest),
            None => (false, element),
        };
        let matched = match network(pattern) {
            Some((base, prefix)) => contains(base, prefix, address),
            None => matches_text(pattern.as_bytes(), text.as_bytes()),
        };
        if matched && denied {
            return false;
        }
        found |= matched;
    }
    found
}

/// `ADDRESS/PREFIX`.
fn network(text: &str) -> Option<(IpAddr, u32)> {
    let (base, prefix) = text.split_once('/')?;
    let (base, prefix): (IpAddr, u32) = (base.parse().ok()?, prefix.parse().ok()?);
    (prefix <= if base.is_ipv4() { 32 } else { 128 }).then_some((base, prefix))
}

fn contains(base: IpAddr, prefix: u32, address: IpAddr) -> bool {
    match (base, address) {
        (IpAddr::V4(base), IpAddr::V4(address)) => {
            let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
            (base.to_bits() ^ address.to_bits()) & mask == 0
        }
        (IpAddr::V6(base), IpAddr::V6(address)) => {
            let mask = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
            (base.to_bits() ^ address.to_bits()) & mask == 0
        }
        _ => false,
    }
}

/// Whether `text` matches a pattern in which `*` stands for any bytes and `?` for one. Takes time in proportion to
/// the product of the lengths at most.
fn matches_text(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut within) = (0, 0);
    // The last star, and how much of the text it stands for.
    let mut star: Option<(usize, usize)> = None;
    while let Some(byte) = text.get(within) {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, within));
                at += 1;
            }
            Some(wanted) if *wanted == b'?' || wanted.eq_ignore_ascii_case(byte) => {
                at += 1;
                within += 1;
            }
            _ => {
                let Some((star_at, taken)) = star else {
                    return false;
                };
                star = Some((star_at, taken + 1));
                at = star_at + 1;
                within = taken + 1;
            }
        }
    }
    pattern
        .get(at..)
        .unwrap_or_default()
        .iter()
        .all(|byte| *byte == b'*')
}

/// A host and a port, either of which may be `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortPattern {
    host: String,
    /// `None`: any.
    port: Option<u16>,
}

impl PortPattern {
    /// `host:port` or `[host]:port`; where `port_alone` also `port`, which means the loopback and any other host.
    pub fn parse(text: &str, port_alone: bool) -> Option<Self> {
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, port),
            None if port_alone => ("*", text),
            None => return None,
        };
        let host = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        let port = if port == "*" {
            None
        } else {
            Some(port.parse().ok()?)
        };
        (!host.is_empty()).then(|| Self {
            host: host.to_owned(),
            port,
        })
    }

    /// Names are compared as they are written: none is looked up.
    pub fn allows(&self, host: &str, port: u16) -> bool {
        (self.host == "*" || self.host.eq_ignore_ascii_case(host)) && self.port.is_none_or(|own| own == port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_addresses() {
        let matches = |list: &str, address: &str| matches_address(list, address.parse().unwrap());
        assert!(matches("192.168.1.*", "192.168.1.77"));
        assert!(matches("192.168.?.1", "::ffff:192.168.3.1"));
        assert!(!matches("192.168.?.1", "192.168.33.1"));
        assert!(matches("fd00::/8", "fd12::1") && !matches("fd00::/8", "fe80::1"));
        assert!(matches("0.0.0.0/0", "1.2.3.4") && !matches("0.0.0.0/0", "::1"));
        assert!(!matches("*,!10.0.0.1", "10.0.0.1") && matches("*,!10.0.0.1", "10.0.0.2"));
        assert!(check_addresses("10.0.0.0/8, !10.1.*").is_some());
        assert!(check_addresses("10.0.0.0/33").is_none() && check_addresses("host.example").is_none());
    }

    #[test]
    fn stars_stand_for_anything() {
        assert!(matches_text(b"*a*b", b"xxaxxab") && !matches_text(b"*a*b", b"xxaxxac"));
        assert!(matches_text(b"*", b"") && matches_text(b"**", b"x") && !matches_text(b"?", b""));
    }

    #[test]
    fn hosts_and_ports() {
        let any = PortPattern::parse("8080", true).unwrap();
        assert!(any.allows("localhost", 8080) && !any.allows("localhost", 8081));
        assert_eq!(PortPattern::parse("8080", false), None);
        assert_eq!(PortPattern::parse("host:70000", false), None);
        assert!(PortPattern::parse("host:*", false).unwrap().allows("HOST", 1));
    }
}

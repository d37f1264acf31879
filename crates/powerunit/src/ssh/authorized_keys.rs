//! Lines of `authorized_keys`, sshd(8).
//!
//! The invariant: an option is honoured or its key is refused. A key with an option that is not understood, or that needs
//! what this server does not have, opens nothing.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::pattern::{self, PortPattern};
use super::protocol::public_key::PublicKey;

/// The longest line looked at, in bytes; an RSA key of 16,384 bits has 2,800.
const MAX_LINE: usize = 16 * 1024;

/// What a key's options allow and demand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permissions {
    /// Runs in place of whatever the client asks for.
    pub command: Option<String>,
    pub environment: Vec<(String, String)>,
    pub pty: bool,
    pub agent_forwarding: bool,
    pub port_forwarding: bool,
    /// Where connections may be made to; `None`: anywhere.
    pub permit_open: Option<Vec<PortPattern>>,
    /// Where connections may be waited for; `None`: anywhere.
    pub permit_listen: Option<Vec<PortPattern>>,
    /// A security key must have been touched.
    pub touch: bool,
    /// And its owner verified by it.
    pub verified: bool,
    from: Option<String>,
    /// Seconds since the Unix epoch.
    expires: Option<i64>,
}

impl Default for Permissions {
    fn default() -> Self {
        Self {
            command: None,
            environment: Vec::new(),
            pty: true,
            agent_forwarding: true,
            port_forwarding: true,
            permit_open: None,
            permit_listen: None,
            touch: true,
            verified: false,
            from: None,
            expires: None,
        }
    }
}

impl Permissions {
    /// Whether the key opens anything for a client at `address` (`None`: over vsock) at `now`, in
    /// seconds since the Unix epoch.
    pub fn admit(&self, address: Option<IpAddr>, now: i64) -> bool {
        let from = match (&self.from, address) {
            (None, _) => true,
            (Some(patterns), Some(address)) => pattern::matches_address(patterns, address),
            (Some(_), None) => false,
        };
        from && self.expires.is_none_or(|expires| now < expires)
    }

    /// Applies one option. `None`: it is not understood.
    fn apply(&mut self, name: &str, value: Option<&str>) -> Option<()> {
        match (name.to_ascii_lowercase().as_str(), value) {
            ("restrict", None) => {
                (self.pty, self.agent_forwarding, self.port_forwarding) = (false, false, false);
            }
            ("pty", None) => self.pty = true,
            ("no-pty", None) => self.pty = false,
            ("agent-forwarding", None) => self.agent_forwarding = true,
            ("no-agent-forwarding", None) => self.agent_forwarding = false,
            ("port-forwarding", None) => self.port_forwarding = true,
            ("no-port-forwarding", None) => self.port_forwarding = false,
            // What these would allow is never done here: X11 forwarding, tunnel devices, ~/.ssh/rc.
            ("x11-forwarding" | "no-x11-forwarding" | "user-rc" | "no-user-rc", None)
            | ("tunnel", Some(_)) => {}
            ("no-touch-required", None) => self.touch = false,
            ("verify-required", None) => self.verified = true,
            ("command", Some(command)) => self.command = Some(command.to_owned()),
            ("environment", Some(pair)) => {
                let (name, value) = pair.split_once('=')?;
                self.environment.push((name.to_owned(), value.to_owned()));
            }
            ("from", Some(patterns)) => {
                self.from = Some(pattern::check_addresses(patterns)?.to_owned());
            }
            ("permitopen", Some(target)) => {
                self.permit_open
                    .get_or_insert_default()
                    .push(PortPattern::parse(target, false)?);
            }
            ("permitlisten", Some(target)) => {
                self.permit_listen
                    .get_or_insert_default()
                    .push(PortPattern::parse(target, true)?);
            }
            ("expiry-time", Some(time)) => {
                let time = parse_time(time)?;
                self.expires = Some(self.expires.map_or(time, |earlier| earlier.min(time)));
            }
            _ => return None,
        }
        Some(())
    }
}

/// `YYYYMMDD[Z]` or `YYYYMMDDHHMM[SS][Z]` in seconds since the Unix epoch. Without `Z` it is local time, which in a
/// guest is UTC.
fn parse_time(text: &str) -> Option<i64> {
    let digits = text.strip_suffix(['Z', 'z']).unwrap_or(text);
    if !matches!(digits.len(), 8 | 12 | 14) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number = |at: usize, length: usize| match digits.get(at..at + length) {
        Some(digits) => digits.parse::<i64>().ok(),
        None => Some(0),
    };
    let (year, month, day) = (number(0, 4)?, number(4, 2)?, number(6, 2)?);
    let (hour, minute, second) = (number(8, 2)?, number(10, 2)?, number(12, 2)?);
    let valid =
        (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second < 61;
    // Days since 0000-03-01, from years that begin in March, so that leap days come last.
    let (march_year, march_month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = march_year * 365 + march_year.div_euclid(4) - march_year.div_euclid(100)
        + march_year.div_euclid(400)
        + (153 * march_month + 2) / 5
        + day
        - 1;
    const EPOCH: i64 = 719_468;
    valid.then_some((((days - EPOCH) * 24 + hour) * 60 + minute) * 60 + second)
}

/// One line: a key and what it may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// As it is sent.
    pub blob: Vec<u8>,
    pub permissions: Permissions,
}

/// Why a line opens nothing. Blank lines and comments are no lines.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("the line is longer than {MAX_LINE} bytes")]
    TooLong,
    #[error("there is no public key of a type that is accepted")]
    NoKey,
    #[error("its option {0:?} is not honoured here")]
    Option(String),
}

impl Entry {
    /// Reads a line. `None`: it is blank or a comment.
    pub fn parse(line: &str) -> Option<Result<Self, Refused>> {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            return None;
        }
        Some(if line.len() > MAX_LINE {
            Err(Refused::TooLong)
        } else {
            Self::parse_text(line)
        })
    }

    fn parse_text(line: &str) -> Result<Self, Refused> {
        if let Some(blob) = key(line) {
            return Ok(Self {
                blob,
                permissions: Permissions::default(),
            });
        }
        let mut permissions = Permissions::default();
        let mut rest = line;
        loop {
            let (name, value, after) =
                option(rest).ok_or_else(|| Refused::Option(rest.chars().take(20).collect()))?;
            permissions
                .apply(name, value.as_deref())
                .ok_or_else(|| Refused::Option(name.to_owned()))?;
            match after.strip_prefix(',') {
                Some(more) => rest = more,
                None => {
                    let blob = key(after.trim_start()).ok_or(Refused::NoKey)?;
                    return Ok(Self { blob, permissions });
                }
            }
        }
    }
}

/// The key at the start of `text`: type and base64. What follows is a comment.
fn key(text: &str) -> Option<Vec<u8>> {
    let mut words = text.split([' ', '\t']).filter(|word| !word.is_empty());
    let (kind, base64) = (words.next()?, words.next()?);
    let blob = STANDARD.decode(base64).ok()?;
    let parsed = PublicKey::parse(&blob).ok()?;
    (parsed.name() == kind.as_bytes()).then_some(blob)
}

/// The option at the start of `text`, its value without quotes, and what follows.
fn option(text: &str) -> Option<(&str, Option<String>, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '-')
        .unwrap_or(text.len());
    let (name, rest) = text.split_at_checked(end)?;
    if name.is_empty() {
        return None;
    }
    let Some(quoted) = rest.strip_prefix("=\"") else {
        return rest.starts_with([',', ' ', '\t']).then_some((name, None, rest));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((name, Some(value), quoted.get(at + 1..)?)),
            // Only a quote can be quoted, sshd(8).
            '\\' if quoted.get(at + 1..)?.starts_with('"') => {
                characters.next();
                value.push('"');
            }
            _ => value.push(character),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ssh::host_key::tests::host_key;

    fn line(options: &str) -> String {
        format!(
            "{options}ssh-ed25519 {} a comment",
            STANDARD.encode(host_key().public())
        )
    }

    fn permissions(options: &str) -> Permissions {
        Entry::parse(&line(&format!("{options} ")))
            .unwrap()
            .unwrap()
            .permissions
    }

    #[test]
    fn a_bare_key_may_do_all() {
        let entry = Entry::parse(&line("")).unwrap().unwrap();
        assert_eq!(entry.blob, host_key().public());
        assert_eq!(entry.permissions, Permissions::default());
        assert_eq!(Entry::parse("  # comment"), None);
        assert_eq!(Entry::parse(""), None);
    }

    #[test]
    fn options_are_honoured() {
        let all = permissions(
            r#"restrict,pty,command="echo \"a, b\"",environment="A=b=c",permitopen="localhost:80",permitopen="[::1]:*""#,
        );
        assert!(all.pty && !all.port_forwarding && !all.agent_forwarding);
        assert_eq!(all.command.as_deref(), Some("echo \"a, b\""));
        assert_eq!(all.environment, [("A".into(), "b=c".into())]);
        let targets = all.permit_open.unwrap();
        assert!(targets[0].allows("localhost", 80) && !targets[0].allows("localhost", 81));
        assert!(targets[1].allows("::1", 12345));
        assert!(!permissions("no-pty").pty);
    }

    #[test]
    fn addresses_and_times_limit_a_key() {
        // 2026-01-02 03:04:05 UTC.
        let now = 1_767_323_045;
        assert_eq!(parse_time("20260102030405Z"), Some(now));
        assert_eq!(parse_time("20240229"), Some(1_709_164_800));
        assert_eq!(parse_time("20261301"), None);
        let home = "10.1.2.3".parse().ok();
        let from = permissions(r#"from="10.0.0.0/8,!10.1.2.4""#);
        assert!(from.admit(home, now));
        assert!(!from.admit("10.1.2.4".parse().ok(), now));
        assert!(!from.admit("192.168.0.1".parse().ok(), now));
        assert!(
            !from.admit(None, now),
            "a key for addresses opens nothing over vsock"
        );
        assert!(!permissions(r#"expiry-time="20260102""#).admit(home, now));
        assert!(permissions(r#"expiry-time="202601020305Z""#).admit(home, now));
        assert!(!permissions(r#"expiry-time="20270101",expiry-time="20250101""#).admit(home, now));
    }

    #[test]
    fn what_is_not_honoured_refuses_the_key() {
        for options in [
            "cert-authority",
            "principals=\"a\"",
            "made-up",
            "command",
            "from=\"*.example.org\"",
            "expiry-time=\"soon\"",
        ] {
            let parsed = Entry::parse(&line(&format!("{options} "))).unwrap();
            assert!(matches!(parsed, Err(Refused::Option(_))), "{options}: {parsed:?}");
        }
        assert!(Entry::parse("ssh-ed25519 AAAA").unwrap().is_err());
        assert!(
            Entry::parse(&format!(
                "no-pty ssh-rsa {}",
                STANDARD.encode(host_key().public())
            ))
            .unwrap()
            .is_err()
        );
        assert_eq!(
            Entry::parse(&"x".repeat(MAX_LINE + 1)),
            Some(Err(Refused::TooLong))
        );
    }

    proptest! {
        #[test]
        fn foreign_lines_never_panic(text in ".{0,200}", options in "[a-z=\",\\\\!*.:/0-9-]{0,60}") {
            let _ = Entry::parse(&text);
            let _ = Entry::parse(&line(&format!("{options} ")));
        }
    }
}

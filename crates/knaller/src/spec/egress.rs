//! What a machine may reach, written `deny`, `allow=CIDR[:PORT]` and `dns=NAME[:PORT]` with IPv6 prefixes in brackets before a
//! port.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use guest_protocol::is_hostname;
use serde::{Deserialize, Serialize};

use crate::text_form::text_form;

/// One rule of a machine's egress policy. With any, and always in [`crate::Network::Direct`], the machine reaches public
/// addresses and what its rules allow, but nothing private: see `docs/network.md`.
///
/// ```
/// use knaller::EgressRule;
///
/// let rule: EgressRule = "allow=10.1.0.0/16:5432".parse()?;
/// assert_eq!(rule.to_string(), "allow=10.1.0.0/16:5432");
/// assert!("allow=10.1.2.3/16".parse::<EgressRule>().is_err());
/// # Ok::<(), knaller::InvalidEgress>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum EgressRule {
    /// Nothing but what the other rules allow, not even the name servers.
    Deny,
    /// These addresses, with one port of TCP and UDP or all that there is.
    Allow { prefix: Prefix, port: Option<u16> },
    /// The addresses that the name has when the machine is started.
    Name { name: String, port: Option<u16> },
}

text_form!(EgressRule, InvalidEgress);

/// Addresses that begin alike; no bit is set beyond the length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prefix {
    pub address: IpAddr,
    /// In bits: up to 32 of IPv4, up to 128 of IPv6.
    pub length: u8,
}

/// Why a text is no [`EgressRule`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not an egress rule like deny, allow=10.1.0.0/16, allow=10.1.2.3:443, allow=[fd00::/8]:443 or \
     dns=example.org:443: {reason}"
)]
pub struct InvalidEgress {
    text: String,
    reason: &'static str,
}

impl Prefix {
    /// One address.
    pub(crate) const fn host(address: IpAddr) -> Self {
        let length = match address {
            IpAddr::V4(_) => 32,
            IpAddr::V6(_) => 128,
        };
        Self { address, length }
    }

    pub(crate) const fn v4(a: u8, b: u8, c: u8, d: u8, length: u8) -> Self {
        Self {
            address: IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
            length,
        }
    }

    pub(crate) const fn v6(bits: u128, length: u8) -> Self {
        Self {
            address: IpAddr::V6(Ipv6Addr::from_bits(bits)),
            length,
        }
    }

    /// Whether there is an address in both.
    pub(crate) fn overlaps(self, other: Self) -> bool {
        let length = self.length.min(other.length);
        match (self.address, other.address) {
            (IpAddr::V4(one), IpAddr::V4(two)) => {
                high(one.to_bits().into(), length, 32) == high(two.to_bits().into(), length, 32)
            }
            (IpAddr::V6(one), IpAddr::V6(two)) => {
                high(one.to_bits(), length, 128) == high(two.to_bits(), length, 128)
            }
            _ => false,
        }
    }
}

/// The first `length` bits of `width`.
fn high(bits: u128, length: u8, width: u8) -> u128 {
    bits.checked_shr(u32::from(width - length)).unwrap_or(0)
}

impl FromStr for Prefix {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, length) = match text.split_once('/') {
            None => (text, None),
            Some((address, length)) => (address, Some(length)),
        };
        let address: IpAddr = address
            .parse()
            .map_err(|_| "the address is neither IPv4 nor IPv6")?;
        let whole = Self::host(address);
        let Some(length) = length else { return Ok(whole) };
        let length: u8 = length
            .parse()
            .map_err(|_| "the length of the prefix is no number")?;
        if length > whole.length {
            return Err("the prefix is longer than the address");
        }
        let bits = match address {
            IpAddr::V4(v4) => u128::from(v4.to_bits()) << 96,
            IpAddr::V6(v6) => v6.to_bits(),
        };
        if bits.checked_shl(length.into()).unwrap_or(0) != 0 {
            return Err("the address has bits beyond the length of the prefix");
        }
        Ok(Self { address, length })
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::host(self.address) == *self {
            true => write!(f, "{}", self.address),
            false => write!(f, "{}/{}", self.address, self.length),
        }
    }
}

impl FromStr for EgressRule {
    type Err = InvalidEgress;

    fn from_str(text: &str) -> Result<Self, InvalidEgress> {
        parse(text).map_err(|reason| InvalidEgress {
            text: text.chars().take(120).collect(),
            reason,
        })
    }
}

fn parse(text: &str) -> Result<EgressRule, &'static str> {
    match text.split_once('=') {
        None if text == "deny" => Ok(EgressRule::Deny),
        Some(("allow", target)) => parse_allow(target),
        Some(("dns", target)) => {
            let (name, port) = match target.split_once(':') {
                None => (target, None),
                Some((name, port)) => (name, Some(parse_port(port)?)),
            };
            if !is_hostname(name) || name.parse::<IpAddr>().is_ok() {
                return Err("the name is none of a host");
            }
            let name = name.to_ascii_lowercase();
            Ok(EgressRule::Name { name, port })
        }
        _ => Err("a rule is deny, allow=… or dns=…"),
    }
}

fn parse_allow(target: &str) -> Result<EgressRule, &'static str> {
    if let Ok(prefix) = target.parse() {
        return Ok(EgressRule::Allow { prefix, port: None });
    }
    let (prefix, port) = match target.strip_prefix('[') {
        Some(rest) => {
            let (prefix, rest) = rest.split_once(']').ok_or("the bracket is not closed")?;
            (prefix, rest.strip_prefix(':'))
        }
        None => match target.split_once(':') {
            // More than one colon: an address of IPv6 that is none.
            Some((prefix, port)) if !port.contains(':') => (prefix, Some(port)),
            _ => (target, None),
        },
    };
    let prefix: Prefix = prefix.parse()?;
    let port = port.ok_or("a port comes after a colon")?;
    let port = Some(parse_port(port)?);
    Ok(EgressRule::Allow { prefix, port })
}

fn parse_port(text: &str) -> Result<u16, &'static str> {
    match text.parse() {
        Ok(0) | Err(_) => Err("a port is a number from 1 to 65535"),
        Ok(port) => Ok(port),
    }
}

impl fmt::Display for EgressRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = match self {
            Self::Deny => return f.write_str("deny"),
            Self::Allow {
                prefix,
                port: Some(_),
            } if prefix.address.is_ipv6() => {
                write!(f, "allow=[{prefix}]")?;
                port_of(self)
            }
            Self::Allow { prefix, .. } => {
                write!(f, "allow={prefix}")?;
                port_of(self)
            }
            Self::Name { name, .. } => {
                write!(f, "dns={name}")?;
                port_of(self)
            }
        };
        port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

fn port_of(rule: &EgressRule) -> Option<u16> {
    match rule {
        EgressRule::Deny => None,
        EgressRule::Allow { port, .. } | EgressRule::Name { port, .. } => *port,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for text in [
            "deny",
            "allow=10.0.0.0/8",
            "allow=10.1.2.3",
            "allow=10.1.2.3:443",
            "allow=0.0.0.0/0:443",
            "allow=fd00::/8",
            "allow=[fd00::/8]:443",
            "allow=[fd00::1]:443",
            "dns=example.org",
            "dns=example.org:443",
        ] {
            let rule: EgressRule = text.parse().unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(rule.to_string(), text);
            let json = serde_json::to_string(&rule).unwrap();
            assert_eq!(serde_json::from_str::<EgressRule>(&json).unwrap(), rule);
        }
        assert_eq!(
            "allow=10.1.2.3/32".parse(),
            "allow=10.1.2.3".parse::<EgressRule>()
        );
    }

    #[test]
    fn what_is_none_says_why() {
        for (text, why) in [
            ("", "a rule is"),
            ("allow", "a rule is"),
            ("block=1.1.1.1", "a rule is"),
            ("allow=", "neither IPv4 nor"),
            ("allow=10.0.0.1/8", "bits beyond"),
            ("allow=10.0.0.0/33", "longer than"),
            ("allow=10.0.0.0/x", "no number"),
            ("allow=10.0.0.0/8:0", "1 to 65535"),
            ("allow=10.0.0.0/8:70000", "1 to 65535"),
            ("allow=[fd00::/8", "not closed"),
            ("allow=[fd00::/8]443", "after a colon"),
            ("allow=fd00::1:/8:443", "neither"),
            ("dns=", "none of a host"),
            ("dns=a..b", "none of a host"),
            ("dns=10.0.0.1", "none of a host"),
            ("dns=example.org:x", "1 to 65535"),
        ] {
            let error = text.parse::<EgressRule>().unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn prefixes_overlap_where_one_holds_the_other() {
        let overlap = |one: &str, two: &str| {
            let [one, two] = [one, two].map(|text| text.parse::<Prefix>().unwrap());
            assert_eq!(one.overlaps(two), two.overlaps(one));
            one.overlaps(two)
        };
        assert!(overlap("10.0.0.0/8", "10.255.0.0/31"));
        assert!(overlap("0.0.0.0/0", "10.255.0.1"));
        assert!(!overlap("10.0.0.0/31", "10.0.0.2/31"));
        assert!(!overlap("::/0", "10.0.0.0/8"));
        assert!(overlap("::/0", "fd00::/8"));
    }
}

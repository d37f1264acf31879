//! Port forwards, written `[ADDR:]HOST:GUEST[/tcp|/udp]` with IPv6 addresses in brackets.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Which packets a [`Forward`] carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    #[default]
    Tcp,
    Udp,
}

/// One port of the host that leads into a machine.
///
/// ```
/// use knaller::{Forward, Protocol};
///
/// let dns: Forward = "127.0.0.1:5353:53/udp".parse()?;
/// assert_eq!((dns.host_port, dns.guest_port, dns.protocol), (5353, 53, Protocol::Udp));
/// assert_eq!(dns.to_string(), "127.0.0.1:5353:53/udp");
/// let any: Forward = "0:80".parse()?;
/// assert_eq!(any.host_port, 0);
/// # Ok::<(), knaller::InvalidForward>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forward {
    /// The address of the host that is listened on; every address, IPv4 and IPv6, if none.
    #[serde(default)]
    pub bind: Option<IpAddr>,
    /// 0: a free one, chosen at the start.
    pub host_port: u16,
    /// Never 0.
    pub guest_port: u16,
    #[serde(default)]
    pub protocol: Protocol,
}

/// Why a text is no [`Forward`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a port forward like 8080:80, 127.0.0.1:0:80, [::1]:8080:80 or 5353:53/udp: {reason}"
)]
pub struct InvalidForward {
    text: String,
    reason: &'static str,
}

impl FromStr for Forward {
    type Err = InvalidForward;

    fn from_str(text: &str) -> Result<Self, InvalidForward> {
        parse(text).map_err(|reason| InvalidForward {
            text: text.chars().take(120).collect(),
            reason,
        })
    }
}

fn parse(text: &str) -> Result<Forward, &'static str> {
    let (ports, protocol) = match text.rsplit_once('/') {
        None => (text, Protocol::Tcp),
        Some((ports, "tcp")) => (ports, Protocol::Tcp),
        Some((ports, "udp")) => (ports, Protocol::Udp),
        Some(_) => return Err("the protocol is tcp or udp"),
    };
    let (rest, guest) = ports
        .rsplit_once(':')
        .ok_or("a host port and a guest port are needed")?;
    let (bind, host) = match rest.rsplit_once(':') {
        None => (None, rest),
        Some((address, host)) => (Some(parse_address(address)?), host),
    };
    let guest_port = parse_port(guest)?;
    if guest_port == 0 {
        return Err("the guest port cannot be 0");
    }
    Ok(Forward {
        bind,
        host_port: parse_port(host)?,
        guest_port,
        protocol,
    })
}

fn parse_address(text: &str) -> Result<IpAddr, &'static str> {
    let bare = match text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
        Some(v6) => {
            return v6
                .parse()
                .map(IpAddr::V6)
                .map_err(|_| "the address in brackets is not IPv6");
        }
        None => text,
    };
    bare.parse()
        .map(IpAddr::V4)
        .map_err(|_| "the address is neither IPv4 nor IPv6 in brackets")
}

fn parse_port(text: &str) -> Result<u16, &'static str> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits
        .then(|| text.parse().ok())
        .flatten()
        .ok_or("a port is a number up to 65535")
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

impl fmt::Display for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.bind {
            None => {}
            Some(IpAddr::V4(address)) => write!(f, "{address}:")?,
            Some(IpAddr::V6(address)) => write!(f, "[{address}]:")?,
        }
        write!(f, "{}:{}", self.host_port, self.guest_port)?;
        match self.protocol {
            Protocol::Tcp => Ok(()),
            Protocol::Udp => f.write_str("/udp"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn forwards() -> impl Strategy<Value = Forward> {
        let udp = any::<bool>().prop_map(|udp| if udp { Protocol::Udp } else { Protocol::Tcp });
        (any::<Option<IpAddr>>(), any::<u16>(), 1u16.., udp).prop_map(
            |(bind, host_port, guest_port, protocol)| Forward {
                bind,
                host_port,
                guest_port,
                protocol,
            },
        )
    }

    proptest! {
        #[test]
        fn text_and_back(forward in forwards()) {
            prop_assert_eq!(forward.to_string().parse::<Forward>(), Ok(forward));
        }

        #[test]
        fn foreign_text_never_panics(text in ".{0,60}") {
            let _ = text.parse::<Forward>();
        }
    }

    #[test]
    fn refusals_name_the_reason() {
        for (text, reason) in [
            ("80", "needed"),
            ("80:0", "cannot be 0"),
            ("80:70000", "65535"),
            ("+80:80", "65535"),
            ("::1:80:80", "brackets"),
            ("80:80/sctp", "tcp or udp"),
        ] {
            let error = text.parse::<Forward>().unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}

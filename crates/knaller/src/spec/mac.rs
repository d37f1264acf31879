//! The hardware address of a guest's network interface.

use std::fmt;
use std::str::FromStr;

use firecracker_api::models::MacAddress;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// An Ethernet address that one interface can have: six pairs of hexadecimal digits with colons, written in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac([u8; 6]);

/// A text is no address of an interface.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMac {
    /// It is none at all.
    #[error(
        "{0:?} is no MAC address: six pairs of hexadecimal digits with colons are wanted, such as 02:00:5e:10:00:01"
    )]
    Text(String),
    /// It is a group's, or nobody's.
    #[error("{0} is no address of one interface: the first byte must be even, and not all bytes 0")]
    NotOne(String),
}

impl Mac {
    /// One that nobody was given: random, and marked as administered locally (IEEE 802, the second bit of the first byte).
    ///
    /// # Errors
    /// The kernel gives no random bytes.
    pub fn random() -> Result<Self> {
        let mut bytes = [0; 6];
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
            .map_err(|errno| Error::system("draw random bytes")(errno.into()))?;
        let [first, ..] = &mut bytes;
        *first = *first & !GROUP | LOCAL;
        Ok(Self(bytes))
    }

    pub(crate) const fn new(bytes: [u8; 6]) -> Self {
        Self(bytes)
    }

    pub(crate) fn bytes(self) -> [u8; 6] {
        self.0
    }
}

/// The bits of the first byte that say whose an address is.
const GROUP: u8 = 1;
const LOCAL: u8 = 2;

impl FromStr for Mac {
    type Err = InvalidMac;

    fn from_str(text: &str) -> std::result::Result<Self, InvalidMac> {
        let MacAddress(bytes) = text.parse().map_err(|_| InvalidMac::Text(text.to_owned()))?;
        let [first, ..] = bytes;
        if first & GROUP != 0 || bytes == [0; 6] {
            return Err(InvalidMac::NotOne(text.to_owned()));
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Mac {
    type Error = InvalidMac;

    fn try_from(text: String) -> std::result::Result<Self, InvalidMac> {
        text.parse()
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> Self {
        mac.to_string()
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        MacAddress(self.0).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_interface_has_it() {
        let mac: Mac = "02:00:5E:10:00:01".parse().unwrap();
        assert_eq!(mac.to_string(), "02:00:5e:10:00:01");
        for text in [
            "",
            "02:00:5e:10:00",
            "02:00:5e:10:00:01:02",
            "0200.5e10.0001",
            "02:00:5e:10:00:0g",
        ] {
            assert!(matches!(text.parse::<Mac>(), Err(InvalidMac::Text(_))), "{text}");
        }
        for text in ["ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01", "00:00:00:00:00:00"] {
            assert!(
                matches!(text.parse::<Mac>(), Err(InvalidMac::NotOne(_))),
                "{text}"
            );
        }
    }

    #[test]
    fn random_ones_are_local_and_differ() {
        let macs: Vec<_> = (0..100).map(|_| Mac::random().unwrap()).collect();
        for mac in &macs {
            assert_eq!(mac.to_string().parse(), Ok(*mac));
            assert_eq!(mac.0[0] & (GROUP | LOCAL), LOCAL);
        }
        let different: std::collections::HashSet<_> = macs.iter().collect();
        assert_eq!(different.len(), macs.len());
    }
}

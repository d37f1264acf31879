//! `--mac`: which hardware address a guest is to have.

use std::str::FromStr;

use knaller::{InvalidMac, Mac};

use crate::error::CommandError;

/// `new`, or an address.
#[derive(Clone, Copy, Debug)]
pub(crate) enum MacChoice {
    New,
    Given(Mac),
}

impl FromStr for MacChoice {
    type Err = InvalidMac;

    fn from_str(text: &str) -> Result<Self, InvalidMac> {
        match text {
            "new" => Ok(Self::New),
            text => text.parse().map(Self::Given),
        }
    }
}

impl MacChoice {
    /// The address; another one each time it is to be new.
    pub(crate) fn address(self) -> Result<Mac, CommandError> {
        match self {
            Self::New => Ok(Mac::random()?),
            Self::Given(mac) => Ok(mac),
        }
    }
}

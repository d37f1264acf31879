//! Names of machines. The invariant: a [`Name`] is a valid host name label, so it can stand in a path, on a command
//! line, in an ssh_config and as the guest's host name without quoting.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::text_form::text_form;

mod words;

/// The longest name, in bytes: a DNS label (RFC 1035, 2.3.4).
pub const MAX_LEN: usize = 63;

/// A machine's name: 1 to 63 bytes of `a-z`, `A-Z`, `0-9` and `-`, with a letter or digit at both ends.
///
/// ```
/// use knaller::Name;
///
/// let name: Name = "web-1".parse()?;
/// assert_eq!(name.as_str(), "web-1");
/// assert!("-x".parse::<Name>().is_err());
/// # Ok::<(), knaller::InvalidName>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// Why a text is no [`Name`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no name that can be given: 1 to {MAX_LEN} letters, digits and hyphens are, with a letter or digit at both ends"
)]
pub struct InvalidName(String);

impl Name {
    /// Two words drawn at random, as `brave-otter`: 9,216 pairs, so a clash is likely enough that the caller must try
    /// again with another.
    pub(crate) fn generate(random: u64) -> Self {
        Self(words::pair(random))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let inner = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let ends = !text.starts_with('-') && !text.ends_with('-');
        if inner && ends && (1..=MAX_LEN).contains(&text.len()) {
            return Ok(Self(text.to_owned()));
        }
        Err(InvalidName(text.chars().take(80).collect()))
    }
}

text_form!(Name, InvalidName);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_generated_name_is_valid(random: u64) {
            let name = Name::generate(random);
            prop_assert_eq!(name.as_str().parse::<Name>(), Ok(name.clone()));
            prop_assert_eq!(name.as_str().split('-').count(), 2);
        }

        #[test]
        fn no_accepted_name_leaves_its_folder(text in ".{0,80}") {
            if let Ok(name) = text.parse::<Name>() {
                let path = std::path::Path::new(name.as_str());
                prop_assert_eq!(path.components().count(), 1);
                prop_assert!(!name.as_str().starts_with(['.', '-']));
            }
        }
    }

    #[test]
    fn limits() {
        assert!("a".repeat(63).parse::<Name>().is_ok());
        for bad in ["", "a/b", "..", "a.b", "a-", "-a", "ä", &"a".repeat(64)] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
    }
}

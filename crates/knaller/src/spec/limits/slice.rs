//! The name of a slice: a part of the host's tree of control groups, as systemd.slice(5) names them.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::text_form::text_form;

/// What ends each name.
const SUFFIX: &str = ".slice";

/// The most bytes of a name: of a unit's (systemd.unit(5)), which is a file's.
const MAX_LEN: usize = 255;

/// A slice, by its name: `machines.slice`, and `machines-ci.slice`, which is within it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Slice(String);

/// A text that names no slice.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} names no slice: write it as machines.slice or machines-ci.slice, of letters, digits, '_', '.' and ':'"
)]
pub struct InvalidSlice(String);

impl Slice {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The folder below the root of the control groups: each dash is one level (systemd.slice(5)).
    pub(crate) fn folder(&self) -> PathBuf {
        let name = self.0.trim_end_matches(SUFFIX);
        let dashes = name.match_indices('-').map(|(at, _)| at);
        let ends = dashes.chain([name.len()]);
        ends.filter_map(|end| name.get(..end))
            .map(|part| format!("{part}{SUFFIX}"))
            .collect()
    }
}

/// The ending may be left out.
impl FromStr for Slice {
    type Err = InvalidSlice;

    fn from_str(text: &str) -> Result<Self, InvalidSlice> {
        let name = text.strip_suffix(SUFFIX).unwrap_or(text);
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b':');
        let part = |part: &str| !part.is_empty() && !part.starts_with('.') && part.bytes().all(plain);
        if name.ends_with(SUFFIX) || name.len() + SUFFIX.len() > MAX_LEN || !name.split('-').all(part) {
            return Err(InvalidSlice(text.chars().take(80).collect()));
        }
        Ok(Self(format!("{name}{SUFFIX}")))
    }
}

impl fmt::Display for Slice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_form!(Slice, InvalidSlice);

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn dashes_are_levels() {
        let slice: Slice = "a-b-c.slice".parse().unwrap();
        assert_eq!(slice.folder(), Path::new("a.slice/a-b.slice/a-b-c.slice"));
        assert_eq!("machines".parse::<Slice>().unwrap().as_str(), "machines.slice");
    }

    #[test]
    fn what_is_no_slice() {
        let long = "x".repeat(250);
        for text in [
            "",
            ".slice",
            "-",
            "a-",
            "-a.slice",
            "a--b",
            "../x",
            "a/b",
            "..",
            "a.slice.slice",
            "a b",
            long.as_str(),
        ] {
            assert!(text.parse::<Slice>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_folder_never_leaves_the_tree(text in "\\PC{0,30}") {
            if let Ok(slice) = text.parse::<Slice>() {
                let folder = slice.folder();
                let inside = |part| matches!(part, std::path::Component::Normal(_));
                prop_assert!(folder.components().all(inside), "{}", folder.display());
            }
        }
    }
}

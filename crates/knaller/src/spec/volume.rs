//! Further disks of a machine, written `NAME:/path[:ro]` or `FILE:/path[:ro]`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Name;

/// A disk that is mounted in the guest.
///
/// ```
/// use knaller::{Volume, VolumeSource};
///
/// let volume: Volume = "db:/var/lib/postgresql".parse()?;
/// assert_eq!((volume.source, volume.read_only), (VolumeSource::Name("db".parse()?), false));
/// let file: Volume = "./data.ext4:/data:ro".parse()?;
/// assert!(file.read_only);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    pub source: VolumeSource,
    /// Absolute, and not `/`.
    pub path: String,
    #[serde(default)]
    pub read_only: bool,
}

/// Which disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VolumeSource {
    /// A volume of this name, made at the first start that names it.
    Name(Name),
    /// A raw ext4 file of the user's own.
    File(PathBuf),
}

/// Why a text is no [`Volume`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a volume like data:/srv, ./disk.ext4:/srv or data:/srv:ro: {reason}")]
pub struct InvalidVolume {
    text: String,
    reason: &'static str,
}

impl FromStr for Volume {
    type Err = InvalidVolume;

    fn from_str(text: &str) -> Result<Self, InvalidVolume> {
        parse(text).map_err(|reason| InvalidVolume {
            text: text.chars().take(120).collect(),
            reason,
        })
    }
}

fn parse(text: &str) -> Result<Volume, &'static str> {
    let (rest, read_only) = match text.rsplit_once(':') {
        Some((rest, "ro")) => (rest, true),
        Some((rest, "rw")) => (rest, false),
        _ => (text, false),
    };
    let (source, path) = rest
        .rsplit_once(':')
        .ok_or("a disk and a folder of the guest are needed")?;
    check_path(path)?;
    let source = if source.contains('/') {
        VolumeSource::File(source.into())
    } else {
        let name = source.parse();
        VolumeSource::Name(
            name.map_err(|_| "a name has letters, digits and hyphens; a file's path has a slash")?,
        )
    };
    Ok(Volume {
        source,
        path: path.to_owned(),
        read_only,
    })
}

/// What the guest takes for a place to mount on.
pub(super) fn check_path(path: &str) -> Result<(), &'static str> {
    if !path.starts_with('/') {
        return Err("the folder of the guest is an absolute path");
    }
    let names = || path.split('/').filter(|name| !name.is_empty());
    if names().next().is_none() {
        return Err("a volume cannot be the root folder");
    }
    if names().any(|name| matches!(name, "." | "..")) || path.contains(['\0', '\n']) {
        return Err("the folder of the guest has no `.`, `..` or line break in it");
    }
    // What the kernel shows there is not the machine's, and an image has no files there.
    if matches!(names().next(), Some("proc" | "sys" | "dev")) {
        return Err("a volume cannot be in /proc, /sys or /dev");
    }
    Ok(())
}

impl fmt::Display for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let read_only = if self.read_only { ":ro" } else { "" };
        write!(f, "{}:{}{read_only}", self.source, self.path)
    }
}

impl fmt::Display for VolumeSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_volume() {
        for bad in [
            "",
            "data",
            "data:srv",
            "data:/",
            "data:/proc",
            "data:/dev/shm",
            "data:/a/../b",
            ":/srv",
            "da ta:/srv",
            "data:/srv:rx",
        ] {
            assert!(bad.parse::<Volume>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(name in "[a-z]{1,8}", file: bool, path in "(/[a-z]{1,5}){1,3}", read_only: bool) {
            let source = if file {
                VolumeSource::File(format!("./{name}").into())
            } else {
                VolumeSource::Name(name.parse().unwrap())
            };
            let volume = Volume { source, path, read_only };
            prop_assert_eq!(volume.to_string().parse::<Volume>(), Ok(volume));
        }

        #[test]
        fn foreign_text_never_panics(text in ".{0,40}") {
            let _ = text.parse::<Volume>();
        }
    }
}

//! How much an image may be.

use std::fmt;
use std::str::FromStr;

use crate::{layer, tar};

const MIB: u64 = 1 << 20;

/// Limits on what an image's layers hold. The defaults take every image that people run and stop what was made to fill
/// a disk; each can be changed.
///
/// ```
/// use images::convert::Limits;
///
/// let limits: Limits = "total=100G, entries=5000000".parse()?;
/// assert_eq!((limits.total, limits.entries), (100 << 30, 5_000_000));
/// assert_eq!(limits.depth, Limits::default().depth);
/// # Ok::<(), images::convert::InvalidLimits>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of file data that are written, all layers together, what later ones hide included; and of each layer's unpacked
    /// archive. 64 GiB; at most 8 TiB.
    pub total: u64,
    /// Bytes of a single file, as its length is told: a sparse one counts whole. 16 GiB.
    pub file: u64,
    /// Entries of all layers together. 2,000,000.
    pub entries: u64,
    /// Folders within one another. 2,048.
    pub depth: u64,
    /// Bytes of a path in an archive. 64 KiB.
    pub path: u64,
    /// Bytes of an extended attribute's value. 64 KiB, which is also the most that Linux has.
    pub xattr: u64,
    /// How many times its size a layer may unpack to, from 1 GiB on. 500: files of programs have 2 to 5, zeros 1,000.
    /// It is looked at once, when an image comes in from outside.
    pub ratio: u64,
    /// Bytes of memory for names and inodes while an image is converted: about 110 for each of them, and its name. 100 MiB.
    pub memory: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            total: 64 * 1024 * MIB,
            file: 16 * 1024 * MIB,
            entries: 2_000_000,
            depth: 2_048,
            path: 64 << 10,
            xattr: 64 << 10,
            ratio: 500,
            memory: 100 * MIB,
        }
    }
}

/// Why a text sets no limits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} sets no limit: write NAME=NUMBER, with K, M, G or T behind the number if you like, and commas between several. \
     There are total, file, entries, depth, path, xattr, ratio and memory"
)]
pub struct InvalidLimits(String);

impl FromStr for Limits {
    type Err = InvalidLimits;

    /// The defaults, but for what is named.
    fn from_str(text: &str) -> Result<Self, InvalidLimits> {
        let mut limits = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let invalid = || InvalidLimits(part.chars().take(120).collect());
            let (name, value) = part.split_once('=').ok_or_else(invalid)?;
            let field = match name.trim() {
                "total" => &mut limits.total,
                "file" => &mut limits.file,
                "entries" => &mut limits.entries,
                "depth" => &mut limits.depth,
                "path" => &mut limits.path,
                "xattr" => &mut limits.xattr,
                "ratio" => &mut limits.ratio,
                "memory" => &mut limits.memory,
                _ => return Err(invalid()),
            };
            *field = number(value.trim()).ok_or_else(invalid)?;
        }
        Ok(limits)
    }
}

impl fmt::Display for Limits {
    /// As it is read: all of them, each in the largest unit that leaves a whole number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = [
            ("total", self.total),
            ("file", self.file),
            ("entries", self.entries),
            ("depth", self.depth),
            ("path", self.path),
            ("xattr", self.xattr),
            ("ratio", self.ratio),
            ("memory", self.memory),
        ];
        for (number, (name, value)) in fields.into_iter().enumerate() {
            let comma = if number > 0 { "," } else { "" };
            let unit = UNITS.into_iter().rev().find(|(_, bits)| {
                let unit = 1u64 << bits;
                value >= unit && value % unit == 0
            });
            match unit {
                Some((unit, bits)) => write!(f, "{comma}{name}={}{unit}", value >> bits)?,
                None => write!(f, "{comma}{name}={value}")?,
            }
        }
        Ok(())
    }
}

/// Units of 1,024 and its powers: of two to this.
const UNITS: [(&str, u32); 4] = [("K", 10), ("M", 20), ("G", 30), ("T", 40)];

/// A number with a unit of 1,024 or its powers.
fn number(text: &str) -> Option<u64> {
    let unit = UNITS
        .into_iter()
        .find_map(|(unit, bits)| Some((text.strip_suffix(unit)?, bits)));
    let (digits, bits) = unit.unwrap_or((text, 0));
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits
        .parse::<u64>()
        .ok()
        .filter(|_| plain)?
        .checked_mul(1 << bits)
}

impl Limits {
    /// Those on a layer's unpacking.
    pub(crate) fn layer(&self) -> layer::Limits {
        layer::Limits {
            total: self.total,
            ratio: self.ratio,
            ..layer::Limits::default()
        }
    }

    /// Those on a layer's archive.
    pub(crate) fn tar(&self) -> tar::Limits {
        let size = |limit: u64| usize::try_from(limit).unwrap_or(usize::MAX);
        tar::Limits {
            path: size(self.path),
            xattr_value: size(self.xattr),
            ..tar::Limits::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        let limits = Limits {
            total: 5 << 40,
            entries: 7,
            ..Limits::default()
        };
        let text = limits.to_string();
        assert!(
            text.starts_with("total=5T,file=16G,entries=7,depth=2K,path=64K"),
            "{text}"
        );
        assert_eq!(text.parse(), Ok(limits));
    }

    #[test]
    fn what_sets_no_limit() {
        for bad in [
            "total",
            "total=",
            "total=x",
            "totals=1",
            "total=-1",
            "total=+1",
            "total=1.5G",
            "total=99999999T",
        ] {
            assert!(bad.parse::<Limits>().is_err(), "{bad}");
        }
        assert_eq!("".parse(), Ok(Limits::default()));
        assert_eq!(
            "ratio=7,memory=1M"
                .parse::<Limits>()
                .map(|limits| (limits.ratio, limits.memory)),
            Ok((7, MIB))
        );
    }
}

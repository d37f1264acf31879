//! Which machine an image is for.
//!
//! The invariant: names are those of Go (`amd64`, `arm64`), which the specifications use, whatever the source wrote; so equal
//! platforms compare equal. Normalisation as containerd's `platforms` package has it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::lenient::or_default;

/// An operating system on a kind of processor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "Raw")]
pub struct Platform {
    pub os: String,
    pub architecture: String,
    /// What the processor must be able to do beyond the least one: `v7` of arm, `v3` of amd64. Empty for the usual one, which
    /// for arm64 is v8 and for amd64 v1.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

#[derive(Deserialize)]
struct Raw {
    #[serde(default, deserialize_with = "or_default")]
    os: String,
    #[serde(default, deserialize_with = "or_default")]
    architecture: String,
    #[serde(default, deserialize_with = "or_default")]
    variant: String,
}

impl From<Raw> for Platform {
    fn from(raw: Raw) -> Self {
        Self::new(&raw.os, &raw.architecture, &raw.variant)
    }
}

/// Why a text is no platform.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlatformError {
    #[error("{0:?} is no platform: one reads linux/amd64, or linux/arm/v7")]
    Form(String),
    #[error("guests run Linux, and {0} asks for another system")]
    Os(Platform),
}

impl Platform {
    pub(crate) fn new(os: &str, architecture: &str, variant: &str) -> Self {
        let os = os.to_ascii_lowercase();
        let (architecture, variant) = (architecture.to_ascii_lowercase(), variant.to_ascii_lowercase());
        let (architecture, implied) = match architecture.as_str() {
            "x86_64" | "x86-64" => ("amd64", ""),
            "aarch64" => ("arm64", ""),
            "i386" | "i486" | "i586" | "i686" => ("386", ""),
            "armhf" => ("arm", "v7"),
            "armel" => ("arm", "v6"),
            other => (other, ""),
        };
        let variant = if variant.is_empty() { implied } else { &variant };
        let variant = match (architecture, variant) {
            ("arm64", "8" | "v8") | ("amd64", "v1") => "",
            ("arm", "") => "v7",
            ("arm", "5") => "v5",
            ("arm", "6") => "v6",
            ("arm", "7") => "v7",
            (_, other) => other,
        };
        Self {
            os,
            architecture: architecture.to_owned(),
            variant: variant.to_owned(),
        }
    }

    /// What guests on this machine run.
    #[must_use]
    pub fn host() -> Self {
        Self::new("linux", std::env::consts::ARCH, "")
    }

    /// Whether a machine of the kind `machine` can execute what is for `self`, as far as the kind of processor tells: a
    /// variant that a processor is not up to shows itself when it runs. 386 runs where Linux runs for amd64.
    #[must_use]
    pub fn runs_on(&self, machine: &Self) -> bool {
        let kinds = (self.architecture.as_str(), machine.architecture.as_str());
        self.os == machine.os && (kinds.0 == kinds.1 || kinds == ("386", "amd64"))
    }

    /// How well an image for `self` serves who asks for `wanted`: the lower the better, `None` not at all. A processor of a
    /// later variant runs what was made for earlier ones.
    #[must_use]
    pub fn serves(&self, wanted: &Self) -> Option<u32> {
        if (&self.os, &self.architecture) != (&wanted.os, &wanted.architecture) {
            return None;
        }
        if self.variant == wanted.variant {
            return Some(0);
        }
        self.level()
            .zip(wanted.level())
            .and_then(|(has, wants)| wants.checked_sub(has))
    }

    /// The variant's number.
    fn level(&self) -> Option<u32> {
        match (self.architecture.as_str(), self.variant.as_str()) {
            ("amd64", "") => Some(1),
            ("arm64", "") => Some(8),
            ("amd64" | "arm64" | "arm", variant) => variant.strip_prefix('v')?.parse().ok(),
            _ => None,
        }
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    /// `os/architecture`, `os/architecture/variant`, or the architecture alone.
    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let fit = |part: &&str| {
            part.starts_with(|first: char| first.is_ascii_alphanumeric())
                && part.len() <= 32
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        };
        let parts: Vec<&str> = text.splitn(4, '/').collect();
        let platform = match parts.as_slice() {
            parts if !parts.iter().all(fit) => None,
            [architecture] => Some(Self::new("linux", architecture, "")),
            [os, architecture] => Some(Self::new(os, architecture, "")),
            [os, architecture, variant] => Some(Self::new(os, architecture, variant)),
            _ => None,
        };
        let platform = platform.ok_or_else(|| PlatformError::Form(text.chars().take(100).collect()))?;
        if platform.os == "linux" {
            Ok(platform)
        } else {
            Err(PlatformError::Os(platform))
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if !self.variant.is_empty() {
            write!(f, "/{}", self.variant)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        text.parse().unwrap()
    }

    #[test]
    fn names_become_the_usual_ones() {
        for (text, usual) in [
            ("amd64", "linux/amd64"),
            ("linux/x86_64", "linux/amd64"),
            ("Linux/AMD64/v1", "linux/amd64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("aarch64", "linux/arm64"),
            ("arm", "linux/arm/v7"),
            ("linux/arm/6", "linux/arm/v6"),
            ("linux/riscv64", "linux/riscv64"),
        ] {
            assert_eq!(platform(text).to_string(), usual);
        }
        assert_eq!(Platform::host().os, "linux");
    }

    #[test]
    fn what_is_no_platform_of_guests() {
        for text in ["", "/", "linux/", "linux/amd64/v1/x", "linux/am d64", "../x"] {
            assert!(
                matches!(text.parse::<Platform>(), Err(PlatformError::Form(_))),
                "{text}"
            );
        }
        assert!(matches!(
            "windows/amd64".parse::<Platform>(),
            Err(PlatformError::Os(_))
        ));
    }

    #[test]
    fn a_machine_executes_its_own_kind_and_the_kind_before() {
        let runs = |image: &str| platform(image).runs_on(&platform("amd64"));
        assert!(runs("amd64") && runs("linux/amd64/v3") && runs("386"));
        assert!(!runs("arm64") && !runs("arm"));
        assert!(!platform("amd64").runs_on(&platform("386")));
    }

    #[test]
    fn later_processors_run_what_is_for_earlier_ones() {
        let serves = |has: &str, wants: &str| platform(has).serves(&platform(wants));
        assert_eq!(serves("amd64", "amd64"), Some(0));
        assert_eq!(serves("linux/amd64/v2", "linux/amd64/v3"), Some(1));
        assert_eq!(serves("amd64", "linux/amd64/v3"), Some(2));
        assert_eq!(serves("linux/amd64/v3", "amd64"), None);
        assert_eq!(serves("linux/arm/v6", "linux/arm/v7"), Some(1));
        assert_eq!(serves("linux/arm64/v9", "arm64"), None);
        assert_eq!(serves("arm64", "amd64"), None);
    }
}

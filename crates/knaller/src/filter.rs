//! Which machines, and other things that can be listed, are meant, where they are not called by name.

mod of_image;

use std::fmt;
use std::str::FromStr;

use images::oci::Reference;
use images::store::Image;

use crate::{Damaged, MachineInfo, Root, SnapshotInfo, TemplateInfo, VolumeInfo};

/// One condition, as `label=tier=front`, `label=tier`, `name=web`, `state=running`, `image=debian:12`, `vmm=sparkler` or
/// `reference=debian:*`.
///
/// An image is meant by its name, with or without a tag or a digest (without, whichever tag it has), or by how its id begins. A
/// reference is a pattern of an image's name, with or without its tag: `*` is anything but a `/`, `?` one character.
///
/// ```
/// use knaller::Filter;
///
/// let filter: Filter = "state=running".parse()?;
/// assert_eq!(filter.to_string(), "state=running");
/// assert!("colour=red".parse::<Filter>().is_err());
/// # Ok::<(), knaller::InvalidFilter>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    key: Key,
    value: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Label,
    Name,
    State,
    Image,
    Vmm,
    Reference,
}

impl Key {
    const ALL: [Self; 6] = [
        Self::Label,
        Self::Name,
        Self::State,
        Self::Image,
        Self::Vmm,
        Self::Reference,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Label => "label",
            Self::Name => "name",
            Self::State => "state",
            Self::Image => "image",
            Self::Vmm => "vmm",
            Self::Reference => "reference",
        }
    }
}

/// Something that filters look at. What it does not have meets no filter.
pub trait Filtered {
    /// Whether `part` is in a name of it.
    fn is_called(&self, part: &str) -> bool;

    fn label(&self, name: &str) -> Option<&str> {
        let _ = name;
        None
    }

    /// A word: a machine's state, or `used` and `unused`.
    fn state(&self) -> Option<&str> {
        None
    }

    fn is_of_image(&self, image: &str) -> bool {
        let _ = image;
        false
    }

    fn vmm(&self) -> Option<&str> {
        None
    }

    /// The names of an image.
    fn references(&self) -> Vec<&Reference> {
        Vec::new()
    }
}

impl Filtered for MachineInfo {
    fn is_called(&self, part: &str) -> bool {
        self.name.as_str().contains(part)
    }

    fn label(&self, name: &str) -> Option<&str> {
        self.spec.labels.get(name).map(String::as_str)
    }

    fn state(&self) -> Option<&str> {
        Some(self.state.as_str())
    }

    fn is_of_image(&self, image: &str) -> bool {
        match &self.spec.root {
            Root::Image(name) => of_image::is_meant(name, self.image.as_deref(), image),
            Root::Builtin => image == "builtin",
            Root::Initramfs => image == "initramfs",
            Root::File(path) | Root::Raw(path) => path.as_os_str() == image,
        }
    }

    fn vmm(&self) -> Option<&str> {
        Some(&self.vmm)
    }
}

impl Filtered for Damaged {
    fn is_called(&self, part: &str) -> bool {
        self.name.as_str().contains(part)
    }

    fn state(&self) -> Option<&str> {
        Some("damaged")
    }
}

impl Filtered for SnapshotInfo {
    fn is_called(&self, part: &str) -> bool {
        self.name.as_str().contains(part)
    }

    /// Those of the machine that it was taken of.
    fn label(&self, name: &str) -> Option<&str> {
        self.labels.get(name).map(String::as_str)
    }

    /// By its id, or how that begins.
    fn is_of_image(&self, image: &str) -> bool {
        self.image
            .as_deref()
            .is_some_and(|id| of_image::begins(id, image))
    }

    fn vmm(&self) -> Option<&str> {
        Some(&self.vmm)
    }
}

impl Filtered for VolumeInfo {
    fn is_called(&self, part: &str) -> bool {
        self.name.as_str().contains(part)
    }

    fn state(&self) -> Option<&str> {
        Some(if self.users.is_empty() { "unused" } else { "used" })
    }
}

impl Filtered for TemplateInfo {
    fn is_called(&self, part: &str) -> bool {
        self.key.contains(part)
    }

    fn state(&self) -> Option<&str> {
        Some(if self.stale { "stale" } else { "fresh" })
    }

    fn vmm(&self) -> Option<&str> {
        Some(&self.vmm)
    }
}

impl Filtered for Image {
    fn is_called(&self, part: &str) -> bool {
        self.names.iter().any(|name| name.familiar().contains(part))
    }

    fn label(&self, name: &str) -> Option<&str> {
        self.config.run.labels.get(name).map(String::as_str)
    }

    fn references(&self) -> Vec<&Reference> {
        self.names.iter().collect()
    }
}

/// Why a text is no filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no filter: write label=NAME[=VALUE], name=PART, state=STATE, image=IMAGE, vmm=VMM or reference=PATTERN"
)]
pub struct InvalidFilter(String);

impl FromStr for Filter {
    type Err = InvalidFilter;

    fn from_str(text: &str) -> Result<Self, InvalidFilter> {
        let invalid = || InvalidFilter(text.to_owned());
        let (key, value) = text.split_once('=').ok_or_else(invalid)?;
        // As Docker has them.
        let key = match key {
            "status" => "state",
            "ancestor" => "image",
            key => key,
        };
        let key = Key::ALL.into_iter().find(|known| known.as_str() == key);
        match (key, value) {
            (Some(key), value) if !value.is_empty() => Ok(Self {
                key,
                value: value.to_owned(),
            }),
            _ => Err(invalid()),
        }
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.key.as_str(), self.value)
    }
}

impl Filter {
    /// What it looks at: `label`, `name`, `state`, `image`, `vmm` or `reference`.
    #[must_use]
    pub fn key(&self) -> &'static str {
        self.key.as_str()
    }

    /// What is wanted of it.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Whether a machine, or another thing, meets this condition.
    #[must_use]
    pub fn matches(&self, thing: &impl Filtered) -> bool {
        let value = self.value.as_str();
        match self.key {
            Key::Label => match value.split_once('=') {
                Some((name, wanted)) => thing.label(name) == Some(wanted),
                None => thing.label(value).is_some(),
            },
            Key::Name => thing.is_called(value),
            Key::State => thing.state() == Some(value),
            Key::Image => thing.is_of_image(value),
            Key::Vmm => thing.vmm() == Some(value),
            Key::Reference => thing
                .references()
                .into_iter()
                .any(|name| of_image::is_like(name, value)),
        }
    }

    /// Whether a machine, or another thing, meets all of the labels among `filters`, and of every other kind one.
    #[must_use]
    pub fn all_match(filters: &[Self], thing: &impl Filtered) -> bool {
        Key::ALL.into_iter().all(|key| {
            let mut of_kind = filters.iter().filter(|filter| filter.key == key).peekable();
            match key {
                _ if of_kind.peek().is_none() => true,
                Key::Label => of_kind.all(|filter| filter.matches(thing)),
                _ => of_kind.any(|filter| filter.matches(thing)),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MachineSpec, State};

    fn machine() -> MachineInfo {
        let mut spec = MachineSpec::new();
        spec.labels.insert("tier".into(), "front".into());
        spec.labels.insert("team".into(), "a".into());
        MachineInfo {
            name: "web-1".parse().unwrap(),
            state: State::Running,
            origin: crate::Origin::Cold,
            instance: String::new(),
            vmm: "sparkler".into(),
            jail: None,
            vmm_version: None,
            pid: None,
            created: 0,
            started: 0,
            restarts: 0,
            spec,
            next_start: None,
            forwards: Vec::new(),
            addresses: Vec::new(),
            kernel: String::new(),
            image: None,
            health: None,
        }
    }

    #[test]
    fn labels_must_all_be_met_and_one_of_each_other_kind() {
        let meets = |texts: &[&str]| {
            let filters: Vec<Filter> = texts.iter().map(|text| text.parse().unwrap()).collect();
            Filter::all_match(&filters, &machine())
        };
        assert!(meets(&[]));
        assert!(meets(&["label=tier=front", "label=team"]));
        assert!(!meets(&["label=tier=front", "label=team=b"]));
        assert!(meets(&["state=stopped", "status=running", "name=web"]));
        assert!(!meets(&["state=running", "name=db"]));
        assert!(meets(&["image=builtin", "vmm=sparkler"]));
        assert!(!meets(&["image=debian:12"]));
    }

    #[test]
    fn what_is_no_filter_says_what_one_is() {
        for text in ["", "label", "label=", "=x", "colour=red"] {
            let error = text.parse::<Filter>().unwrap_err().to_string();
            assert!(error.contains("label=NAME"), "{error}");
        }
    }
}

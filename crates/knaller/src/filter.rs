//! Which machines are meant, where they are not called by name.

use std::fmt;
use std::str::FromStr;

use crate::{MachineInfo, Root};

/// One condition, as `label=tier=front`, `label=tier`, `name=web`, `state=running`, `image=debian:12` or `vmm=sparkler`.
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
}

impl Key {
    const ALL: [Self; 5] = [Self::Label, Self::Name, Self::State, Self::Image, Self::Vmm];

    fn as_str(self) -> &'static str {
        match self {
            Self::Label => "label",
            Self::Name => "name",
            Self::State => "state",
            Self::Image => "image",
            Self::Vmm => "vmm",
        }
    }
}

/// Why a text is no filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no filter: write label=NAME[=VALUE], name=PART, state=STATE, image=IMAGE or vmm=VMM")]
pub struct InvalidFilter(String);

impl FromStr for Filter {
    type Err = InvalidFilter;

    fn from_str(text: &str) -> Result<Self, InvalidFilter> {
        let invalid = || InvalidFilter(text.to_owned());
        let (key, value) = text.split_once('=').ok_or_else(invalid)?;
        // As Docker has it.
        let key = if key == "status" { "state" } else { key };
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
    /// Whether a machine meets this condition.
    #[must_use]
    pub fn matches(&self, machine: &MachineInfo) -> bool {
        let value = self.value.as_str();
        match self.key {
            Key::Label => match value.split_once('=') {
                Some((name, wanted)) => machine.spec.labels.get(name).is_some_and(|label| label == wanted),
                None => machine.spec.labels.contains_key(value),
            },
            Key::Name => machine.name.as_str().contains(value),
            Key::State => machine.state.as_str() == value,
            Key::Image => match &machine.spec.root {
                Root::Image(image) => image == value,
                Root::Builtin => value == "builtin",
                Root::Initramfs => value == "initramfs",
                Root::File(path) => path.as_os_str() == value,
            },
            Key::Vmm => machine.vmm == value,
        }
    }

    /// Whether a machine meets all of the labels among `filters`, and of every other kind one.
    #[must_use]
    pub fn all_match(filters: &[Self], machine: &MachineInfo) -> bool {
        Key::ALL.into_iter().all(|key| {
            let mut of_kind = filters.iter().filter(|filter| filter.key == key).peekable();
            match key {
                _ if of_kind.peek().is_none() => true,
                Key::Label => of_kind.all(|filter| filter.matches(machine)),
                _ => of_kind.any(|filter| filter.matches(machine)),
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
            warm: false,
            instance: String::new(),
            vmm: "sparkler".into(),
            vmm_version: None,
            pid: None,
            created: 0,
            started: 0,
            restarts: 0,
            spec,
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

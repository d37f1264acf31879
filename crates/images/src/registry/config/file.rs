//! `registries.yaml`: what a user says of hosts.
//!
//! The invariant: nothing in the file is passed over. A key that is not known, or is there twice, is refused with its line;
//! so is every wish to leave certificates unverified, with what to do instead.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::ConfigError;
use super::hosts::{ClientCertificate, HostSettings, Hosts, Mirror};
use crate::files::read;

const LIMIT: u64 = 256 * 1024;
/// What can be said of a host.
const KEYS: &[&str] = &["mirrors", "plain_http", "ca", "cert", "key"];
/// What other programs call the wish that is refused.
const UNVERIFIED: &[&str] = &["insecure_skip_verify", "insecure", "skip_verify", "tls_verify"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    registries: BTreeMap<Host, Entry>,
}

#[derive(Default)]
struct Entry {
    mirrors: Vec<Place>,
    plain_http: Option<bool>,
    ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
}

/// Read by hand: the text that serde's derived code has for an unknown key would offer those that are refused, too.
impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Settings)
    }
}

struct Settings;

impl<'de> Visitor<'de> for Settings {
    type Value = Entry;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the settings of a registry: {}", KEYS.join(", "))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entry, A::Error> {
        let mut entry = Entry::default();
        while let Some(Key(key)) = map.next_key()? {
            match key {
                "mirrors" => entry.mirrors = map.next_value()?,
                "plain_http" => entry.plain_http = map.next_value()?,
                "ca" => entry.ca = map.next_value()?,
                "cert" => entry.cert = map.next_value()?,
                _ => entry.key = map.next_value()?,
            }
        }
        Ok(entry)
    }
}

/// One of [`KEYS`].
struct Key(&'static str);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if UNVERIFIED.contains(&text.as_str()) {
            return Err(de::Error::custom(format!(
                "{text}: certificates are always verified. Name the registry's own authority by ca: FILE, \
                 or say plain_http: true where there is no TLS at all"
            )));
        }
        let known = KEYS.iter().find(|key| **key == text);
        known
            .copied()
            .map(Self)
            .ok_or_else(|| de::Error::unknown_field(&text, KEYS))
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Host(String);

impl<'de> Deserialize<'de> for Host {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let place = Place::deserialize(deserializer)?.0;
        match place.prefix {
            None => Ok(Self(place.host)),
            Some(prefix) => Err(de::Error::custom(format!(
                "settings are for a whole registry: {:?}, without /{prefix}",
                place.host
            ))),
        }
    }
}

struct Place(Mirror);

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(de::Error::custom)
    }
}

/// Reads the file. None there: nothing is said.
pub(super) fn load(path: &Path) -> Result<Hosts, ConfigError> {
    let bytes = match read(path, LIMIT) {
        Ok(bytes) => bytes,
        Err(error) if error.is_absence() => return Ok(Hosts::default()),
        Err(error) => return Err(ConfigError::Read(error)),
    };
    parse(&bytes).map_err(|text| ConfigError::Form {
        path: path.to_owned(),
        text,
    })
}

/// Understands the contents of a `registries.yaml`.
///
/// # Errors
/// What is wrong, and in which line.
pub fn parse(bytes: &[u8]) -> Result<Hosts, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    if text.trim().is_empty() {
        return Ok(Hosts::default());
    }
    let file: File = serde_saphyr::from_str(text).map_err(|error| error.without_snippet().to_string())?;
    let mut hosts = Hosts::default();
    for (host, entry) in file.registries {
        let identity = match (entry.cert, entry.key) {
            (None, None) => None,
            (Some(cert), Some(key)) => Some(ClientCertificate { cert, key }),
            _ => {
                return Err(format!(
                    "{}: cert and key belong together, and one is missing",
                    host.0
                ));
            }
        };
        let settings = HostSettings {
            mirrors: entry.mirrors.into_iter().map(|place| place.0).collect(),
            plain_http: entry.plain_http,
            ca: entry.ca,
            identity,
        };
        hosts.named.insert(host.0, settings);
    }
    Ok(hosts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_can_be_said() {
        let hosts = parse(
            b"registries:\n  docker.io:\n    mirrors: [mirror.lan:5000, 'cache.lan/hub']\n  mirror.lan:5000:\n    plain_http: true\n  cache.lan:\n    ca: /etc/ssl/lan.pem\n    cert: me.pem\n    key: me.key\n",
        )
        .unwrap();
        assert_eq!(hosts.of("docker.io").mirrors.len(), 2);
        assert_eq!(hosts.of("mirror.lan:5000").plain_http, Some(true));
        assert_eq!(
            hosts.of("cache.lan").ca.as_deref(),
            Some(Path::new("/etc/ssl/lan.pem"))
        );
        assert_eq!(
            hosts.of("cache.lan").identity,
            Some(ClientCertificate {
                cert: "me.pem".into(),
                key: "me.key".into()
            })
        );
        assert_eq!(hosts.of("other.org"), HostSettings::default());
        assert_eq!(parse(b"").unwrap(), Hosts::default());
        assert_eq!(parse(b"registries: {}").unwrap(), Hosts::default());
    }

    #[test]
    fn what_is_refused_is_named_with_its_line() {
        for (text, line, part) in [
            (
                "registries:\n  a.org:\n    plain-http: true",
                "line 3",
                "plain-http",
            ),
            (
                "registries:\n  a.org:\n    insecure: true",
                "line 3",
                "always verified",
            ),
            (
                "registries:\n  a.org:\n    insecure_skip_verify: true",
                "line 3",
                "ca: FILE",
            ),
            (
                "registries:\n  a.org:\n    mirrors: ['http://b.org']",
                "line 3",
                "HOST:PORT",
            ),
            (
                "registries:\n  a.org/x:\n    plain_http: true",
                "line 2",
                "without /x",
            ),
            ("registries:\n  a.org: {}\n  a.org: {}", "line 3", "a.org"),
            ("mirrors: []", "line 1", "mirrors"),
            (
                "registries:\n  a.org:\n    plain_http: perhaps",
                "line 3",
                "boolean",
            ),
        ] {
            let error = parse(text.as_bytes()).unwrap_err();
            assert!(error.contains(line) && error.contains(part), "{text}\n{error}");
        }
        let twice = parse(b"registries:\n  a.org:\n    ca: a\n    ca: b").unwrap_err();
        assert!(twice.contains("line 4") && twice.contains("ca"), "{twice}");
        // What is offered in its place is not refused then.
        let unknown = parse(b"registries:\n  a.org:\n    verify: no").unwrap_err();
        for key in KEYS {
            assert!(unknown.contains(key), "{unknown}");
        }
        for key in UNVERIFIED {
            assert!(!unknown.contains(key), "{unknown}");
        }
        let error = parse(b"registries:\n  a.org:\n    cert: a.pem").unwrap_err();
        assert!(error.contains("a.org") && error.contains("key"), "{error}");
        assert!(parse(b"\xff").is_err());
    }
}

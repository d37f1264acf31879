//! `registries.yaml`: what a user says of hosts.
//!
//! The invariant: nothing in the file is passed over. A key that is not known, or is there twice, is refused with its line;
//! so is every wish to leave certificates unverified, with what to do instead.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, de};

use super::ConfigError;
use super::hosts::{ClientCertificate, HostSettings, Hosts, Mirror};
use crate::files::read;

const LIMIT: u64 = 256 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    registries: BTreeMap<Host, Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    #[serde(default)]
    mirrors: Vec<Place>,
    plain_http: Option<bool>,
    ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    #[serde(
        default,
        rename = "insecure_skip_verify",
        alias = "insecure",
        alias = "skip_verify",
        alias = "tls_verify"
    )]
    _unverified: Option<Refused>,
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

struct Refused;

impl<'de> Deserialize<'de> for Refused {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(de::Error::custom(
            "certificates are always verified. Name the registry's own authority by ca: FILE, \
             or say plain_http: true where there is no TLS at all",
        ))
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
        let error = parse(b"registries:\n  a.org:\n    cert: a.pem").unwrap_err();
        assert!(error.contains("a.org") && error.contains("key"), "{error}");
        assert!(parse(b"\xff").is_err());
    }
}

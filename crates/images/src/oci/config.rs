//! An image's configuration: what it is for, what it runs, and which layers it has once they are unpacked.
//!
//! The invariant: what a program left out, wrote as `null` or wrote in Docker's older ways reads as the same value. What no
//! guest needs (`ArgsEscaped` of Windows, `OnBuild` of builders, `Shell`) is not read. Format: OCI image specification,
//! `config.md`; Docker's `image/spec/v1.2.md`.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

use super::digest::{Algorithm, Digest, Hasher};
use super::healthcheck::{self, Healthcheck};
use super::lenient::or_default;
use super::manifest::MAX_LAYERS;
use super::platform::Platform;
use super::select::NoPlatform;

/// The largest configuration, in bytes.
pub const MAX_CONFIG: u64 = 8 << 20;

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("the image's configuration has {size} bytes: more than the {MAX_CONFIG} allowed")]
    TooLarge { size: u64 },
    #[error("the image's configuration is no JSON of the right form")]
    Json(#[source] serde_json::Error),
    #[error("the image's configuration names {0} layers: more than the {MAX_LAYERS} allowed")]
    TooManyLayers(usize),
    #[error("the image's layers are of type {0:?}, and only \"layers\" is known")]
    Rootfs(String),
}

/// What an image says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageConfig {
    /// Names are empty where the image does not say them.
    pub platform: Platform,
    pub created: Option<Timestamp>,
    pub author: String,
    pub run: RunConfig,
    /// Of the uncompressed layers, the lowest first.
    pub diff_ids: Vec<Digest>,
    pub history: Vec<History>,
}

/// What runs in the guest, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunConfig {
    /// `NAME=value` each.
    pub env: Vec<String>,
    /// Empty where there is none.
    pub entrypoint: Vec<String>,
    /// Arguments of the entry point, or the command where there is none.
    pub cmd: Vec<String>,
    /// `user`, `user:group`, by name or number; empty is root.
    pub user: String,
    /// Empty is `/`.
    pub working_dir: String,
    /// `SIGTERM`, `15`, `SIGRTMIN+3`. Empty is SIGTERM.
    pub stop_signal: String,
    pub labels: BTreeMap<String, String>,
    /// In order, each once.
    pub exposed_ports: Vec<ExposedPort>,
    /// Folders whose content is meant to outlive the container.
    pub volumes: Vec<String>,
    pub healthcheck: Option<Healthcheck>,
}

/// A port that the image says it listens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExposedPort {
    pub port: u16,
    pub protocol: Protocol,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

/// One step in which the image was built.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct History {
    #[serde(deserialize_with = "time")]
    pub created: Option<Timestamp>,
    #[serde(deserialize_with = "or_default")]
    pub created_by: String,
    #[serde(deserialize_with = "or_default")]
    pub author: String,
    #[serde(deserialize_with = "or_default")]
    pub comment: String,
    /// Whether it made no layer.
    #[serde(deserialize_with = "or_default")]
    pub empty_layer: bool,
}

#[derive(Deserialize)]
struct Raw {
    #[serde(default, deserialize_with = "or_default")]
    os: String,
    #[serde(default, deserialize_with = "or_default")]
    architecture: String,
    #[serde(default, deserialize_with = "or_default")]
    variant: String,
    #[serde(default, deserialize_with = "time")]
    created: Option<Timestamp>,
    #[serde(default, deserialize_with = "or_default")]
    author: String,
    #[serde(default, deserialize_with = "or_default")]
    config: RawRun,
    rootfs: RawRootfs,
    #[serde(default, deserialize_with = "or_default")]
    history: Vec<History>,
}

#[derive(Deserialize)]
struct RawRootfs {
    #[serde(default, deserialize_with = "or_default", rename = "type")]
    kind: String,
    #[serde(default, deserialize_with = "or_default")]
    diff_ids: Vec<Digest>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct RawRun {
    #[serde(deserialize_with = "or_default")]
    env: Vec<String>,
    #[serde(deserialize_with = "words")]
    entrypoint: Vec<String>,
    #[serde(deserialize_with = "words")]
    cmd: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    user: String,
    #[serde(deserialize_with = "or_default")]
    working_dir: String,
    #[serde(deserialize_with = "or_default")]
    stop_signal: String,
    #[serde(deserialize_with = "or_default")]
    labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_default")]
    exposed_ports: BTreeMap<String, IgnoredAny>,
    #[serde(deserialize_with = "or_default")]
    volumes: BTreeMap<String, IgnoredAny>,
    #[serde(deserialize_with = "or_default")]
    healthcheck: healthcheck::Raw,
}

impl ImageConfig {
    /// Reads a configuration.
    ///
    /// # Errors
    /// It is none, or too large.
    pub fn parse(bytes: &[u8]) -> Result<Self, ConfigError> {
        let size = bytes.len() as u64;
        if size > MAX_CONFIG {
            return Err(ConfigError::TooLarge { size });
        }
        let raw: Raw = serde_json::from_slice(bytes).map_err(ConfigError::Json)?;
        if !matches!(raw.rootfs.kind.as_str(), "layers" | "") {
            return Err(ConfigError::Rootfs(raw.rootfs.kind.chars().take(100).collect()));
        }
        if raw.rootfs.diff_ids.len() > MAX_LAYERS {
            return Err(ConfigError::TooManyLayers(raw.rootfs.diff_ids.len()));
        }
        Ok(Self {
            platform: Platform::new(&raw.os, &raw.architecture, &raw.variant),
            created: raw.created,
            author: raw.author,
            run: raw.config.into(),
            diff_ids: raw.rootfs.diff_ids,
            history: raw.history,
        })
    }

    /// Whether a machine that asks for `wanted` can run it. An image that says no platform is believed to be for any.
    ///
    /// # Errors
    /// It is for another.
    pub fn check_platform(&self, wanted: &Platform) -> Result<(), NoPlatform> {
        let platform = &self.platform;
        if platform.architecture.is_empty() || platform.serves(wanted).is_some() {
            return Ok(());
        }
        Err(NoPlatform {
            wanted: wanted.clone(),
            available: vec![platform.clone()],
        })
    }

    /// What the root file system of all layers together is named by, as containerd and the specification's `config.md`
    /// ("Layer ChainID") have it. Images with the same layers have the same. Without layers, the digest of nothing.
    #[must_use]
    pub fn chain_id(&self) -> Digest {
        let mut ids = self.diff_ids.iter();
        let Some(first) = ids.next() else {
            return Digest::of(b"");
        };
        ids.fold(first.clone(), |chain, diff_id| {
            let mut hasher = Hasher::new(Algorithm::Sha256);
            hasher.update(format!("{chain} {diff_id}").as_bytes());
            hasher.finish()
        })
    }
}

impl From<RawRun> for RunConfig {
    fn from(raw: RawRun) -> Self {
        let mut exposed_ports: Vec<ExposedPort> = raw
            .exposed_ports
            .keys()
            .flat_map(|text| ExposedPort::parse(text))
            .collect();
        exposed_ports.sort();
        exposed_ports.dedup();
        Self {
            env: raw.env,
            entrypoint: raw.entrypoint,
            cmd: raw.cmd,
            user: raw.user,
            working_dir: raw.working_dir,
            stop_signal: raw.stop_signal,
            labels: raw.labels,
            exposed_ports,
            volumes: raw.volumes.into_keys().collect(),
            healthcheck: raw.healthcheck.resolve(),
        }
    }
}

impl ExposedPort {
    /// `80/tcp`, `53/udp`, `80`, and as builders write them too `8001-8003/tcp`. What reads otherwise (`$PORT` that no builder
    /// replaced) exposes nothing.
    fn parse(text: &str) -> impl Iterator<Item = Self> + use<> {
        let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let protocol = match protocol.to_ascii_lowercase().as_str() {
            "tcp" | "" => Some(Protocol::Tcp),
            "udp" => Some(Protocol::Udp),
            "sctp" => Some(Protocol::Sctp),
            _ => None,
        };
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        let port = |text: &str| text.parse().ok().filter(|port: &u16| *port != 0);
        let range = port(first).zip(port(last)).zip(protocol);
        range
            .into_iter()
            .flat_map(|((first, last), protocol)| (first..=last).map(move |port| Self { port, protocol }))
    }
}

impl fmt::Display for ExposedPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        };
        write!(f, "{}/{protocol}", self.port)
    }
}

/// Words, or in Docker's older way one word alone.
fn words<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Words {
        Many(Vec<String>),
        One(String),
    }
    Ok(match Option::deserialize(deserializer)? {
        None => Vec::new(),
        Some(Words::Many(words)) => words,
        Some(Words::One(word)) => vec![word],
    })
}

/// A time as RFC 3339 writes it. Nothing depends on it, so one that is written otherwise is none; nor is the year 1, Go's
/// way to say nothing.
fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let text: Option<String> = Option::deserialize(deserializer)?;
    let time: Option<Timestamp> = text.and_then(|text| text.parse().ok());
    // 62,135,596,800 s lie between the years 1 and 1970.
    Ok(time.filter(|time| time.as_second() != -62_135_596_800))
}

#[cfg(test)]
mod tests;

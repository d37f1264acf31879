//! What the user says about registries: where they are, whom they trust, how they are reached.
//!
//! The invariant: a registry is reached by TLS with a verified certificate, and only at its own address, unless this user's
//! configuration says otherwise for that very host. Only a loopback address is taken for plain HTTP unasked, since nothing
//! of it leaves the machine.

mod certificates;
mod file;
mod hosts;
mod proxies;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) use certificates::{authorities, identity};
pub use file::parse as parse_hosts;
pub(crate) use hosts::address;
pub use hosts::{ClientCertificate, HostSettings, Hosts, Mirror};
pub use proxies::Proxies;
pub(crate) use proxies::shown;

use super::credentials::CredentialFiles;
use crate::files::ReadError;

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("the registries' configuration cannot be read")]
    Read(#[source] ReadError),
    #[error("{path}: {text}")]
    Form { path: PathBuf, text: String },
    #[error("the certificate authority {path} of the registry {host} cannot be used: {text}")]
    Authority {
        host: String,
        path: PathBuf,
        text: String,
    },
    #[error("the certificate {path} for the registry {host} cannot be used: {text}")]
    Identity {
        host: String,
        path: PathBuf,
        text: String,
    },
    #[error(
        "{name}={value:?} is no proxy's address: it reads http://HOST:PORT, https://HOST:PORT, socks5://HOST:PORT or socks5h://HOST:PORT"
    )]
    Proxy { name: &'static str, value: String },
    #[error("no certificate authorities are known to this system: install the package ca-certificates")]
    NoAuthorities,
}

/// How long a registry is waited for.
#[derive(Clone, Debug)]
pub struct Patience {
    /// Until a connection stands.
    pub connect: Duration,
    /// Until a request has its answer; of a small one (a manifest, a token) all of it.
    pub answer: Duration,
    /// Within this time of a blob's transfer at least [`Self::floor`] bytes must come, or it is broken off and resumed.
    pub stall: Duration,
    /// Bytes.
    pub floor: u64,
    /// How often one thing is tried in a row without getting on.
    pub attempts: u32,
    /// Before the second attempt; doubled before each further one, up to `longest_wait`, and each time shortened by chance by
    /// up to a half, so that many clients do not come back at the same moment.
    pub first_wait: Duration,
    pub longest_wait: Duration,
    /// What a registry may ask to be left alone for; if it asks for more, the attempt has failed.
    pub longest_pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(15),
            answer: Duration::from_secs(60),
            stall: Duration::from_secs(30),
            floor: 30 * 1024,
            attempts: 6,
            first_wait: Duration::from_millis(500),
            longest_wait: Duration::from_secs(20),
            longest_pause: Duration::from_secs(120),
        }
    }
}

/// All that a client of registries needs to know of its user.
#[derive(Clone, Debug)]
pub struct Configuration {
    pub hosts: Hosts,
    pub proxies: Proxies,
    pub credentials: CredentialFiles,
    /// Folders as `certs.d` of Docker and containers: within, `HOST/*.crt` are authorities for that host, and `HOST/NAME.cert`
    /// with `HOST/NAME.key` is what this machine proves itself with there.
    pub certificate_folders: Vec<PathBuf>,
    pub patience: Patience,
    /// How many blobs are fetched or sent at once.
    pub parallel: usize,
    /// How much of a blob goes with one request to a registry that does not take all of it at once: bytes, halved where
    /// that is too much as well.
    pub piece: u64,
}

impl Configuration {
    /// Reads `knaller/registries.yaml` in the user's configuration folder, where there is one. `variable` looks up the
    /// environment: `HOME`, `XDG_CONFIG_HOME`, `XDG_RUNTIME_DIR`, `REGISTRY_AUTH_FILE`, `DOCKER_CONFIG`, `PATH` and the
    /// proxies' variables.
    ///
    /// # Errors
    /// The file or a proxy's address cannot be understood.
    pub fn load(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, ConfigError> {
        let path = |name: &str| {
            variable(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let home = path("HOME").unwrap_or_else(|| PathBuf::from("/"));
        let config = path("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config"));
        let containers = config.join("containers");
        Ok(Self {
            hosts: file::load(&config.join("knaller/registries.yaml"))?,
            proxies: Proxies::from_environment(&variable)?,
            credentials: CredentialFiles {
                explicit: path("REGISTRY_AUTH_FILE"),
                own: containers.join("auth.json"),
                runtime: path("XDG_RUNTIME_DIR").map(|folder| folder.join("containers/auth.json")),
                docker: path("DOCKER_CONFIG")
                    .unwrap_or_else(|| home.join(".docker"))
                    .join("config.json"),
                path: variable("PATH"),
            },
            certificate_folders: vec![
                containers.join("certs.d"),
                Path::new("/etc/containers/certs.d").to_owned(),
                Path::new("/etc/docker/certs.d").to_owned(),
            ],
            patience: Patience::default(),
            parallel: 3,
            piece: 16 * 1024 * 1024,
        })
    }
}

/// Whether a registry is spoken to without TLS.
pub(crate) fn is_plain(configuration: &Configuration, registry: &str) -> bool {
    let said = configuration.hosts.of(registry).plain_http;
    said.unwrap_or_else(|| is_private(registry) && !certificates::any(configuration, registry))
}

/// Whether nothing that is sent to this registry leaves the machine.
pub(crate) fn is_private(registry: &str) -> bool {
    hosts::is_loopback(registry)
}

//! What is said of each registry's host.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use crate::oci::Reference;

/// Where Docker's own registry answers.
const DOCKER: (&str, &str) = ("docker.io", "registry-1.docker.io");

/// A place that has a copy of a registry's images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// Host and port, by which the mirror's own settings and credentials are found.
    pub host: String,
    /// What stands before a repository's name there.
    pub prefix: Option<String>,
}

impl Mirror {
    /// The repository's name at this mirror.
    #[must_use]
    pub fn repository(&self, repository: &str) -> String {
        self.prefix.as_ref().map_or_else(
            || repository.to_owned(),
            |prefix| format!("{prefix}/{repository}"),
        )
    }
}

impl FromStr for Mirror {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is no registry's address: it reads HOST, HOST:PORT or HOST:PORT/PREFIX, without http://, \
                 and a HOST without a dot or port is localhost"
            )
        };
        // Whatever may stand before an image's name is an address.
        let reference: Reference = format!("{text}/x").parse().map_err(|_| wrong())?;
        let (host, rest) = text
            .split_once('/')
            .map_or((text, None), |(host, rest)| (host, Some(rest)));
        if reference.registry() != host {
            return Err(wrong());
        }
        Ok(Self {
            host: host.to_owned(),
            prefix: rest.map(str::to_owned),
        })
    }
}

/// A certificate of this machine's own, both PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The certificate, and those that lead from it to an authority.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// One host's settings; the default is what holds for a host nobody said anything of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostSettings {
    /// Asked in this order before the registry itself.
    pub mirrors: Vec<Mirror>,
    /// HTTP without TLS. Not said: only for a loopback address that has no authority of its own.
    pub plain_http: Option<bool>,
    /// PEM, trusted beside the system's authorities.
    pub ca: Option<PathBuf>,
    /// What this machine proves itself with.
    pub identity: Option<ClientCertificate>,
}

/// What is said of all hosts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hosts {
    pub named: BTreeMap<String, HostSettings>,
}

impl Hosts {
    pub(crate) fn of(&self, host: &str) -> HostSettings {
        self.named.get(host).cloned().unwrap_or_default()
    }
}

/// Where a registry of this name answers.
pub(crate) fn address(registry: &str) -> &str {
    if registry == DOCKER.0 { DOCKER.1 } else { registry }
}

/// The names by which others know the registry that answers at `host`.
pub(crate) fn names(host: &str) -> impl Iterator<Item = &str> {
    let docker = (host == DOCKER.1).then_some(DOCKER.0);
    std::iter::once(host).chain(docker)
}

/// Whether a host (with or without a port) is this machine.
pub(crate) fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_hosts() {
        for host in [
            "localhost",
            "localhost:5000",
            "127.0.0.1",
            "127.9.9.9:80",
            "[::1]:5000",
            "[::1]",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "localhost.example.org",
            "10.0.0.1:5000",
            "registry.lan",
            "127.0.0.1.example.org",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn mirrors() {
        let mirror: Mirror = "mirror.lan:5000/hub/of".parse().unwrap();
        assert_eq!(mirror.host, "mirror.lan:5000");
        assert_eq!(mirror.repository("library/debian"), "hub/of/library/debian");
        let plain: Mirror = "localhost".parse().unwrap();
        assert_eq!(plain.repository("a/b"), "a/b");
        for wrong in [
            "",
            "https://mirror.lan",
            "mirror",
            "mirror.lan/",
            "mirror.lan/UPPER",
            "a b.c",
            "m.lan/x?y",
        ] {
            assert!(wrong.parse::<Mirror>().is_err(), "{wrong}");
        }
    }
}

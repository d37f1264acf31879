//! Whose certificates are believed, and which one is shown.
//!
//! The invariant: an authority named for one host is believed for that host alone, beside the system's own; and a certificate
//! of this machine's is shown to the one host that it is named for.

use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::hosts::{ClientCertificate, names};
use super::{ConfigError, Configuration};
use crate::files::read;

const LIMIT: u64 = 4 * 1024 * 1024;
/// More files of a kind than that for one host are a mistake.
const MAX_FILES: usize = 64;

/// The authorities for `host`: the system's, and those named for it. Reads files.
pub(crate) fn authorities(configuration: &Configuration, host: &str) -> Result<RootCertStore, ConfigError> {
    let mut store = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    for error in &system.errors {
        tracing::debug!(%error, "an authority of the system is not used");
    }
    store.add_parsable_certificates(system.certs);
    for path in named(configuration, host) {
        let wrong = |text: String| ConfigError::Authority {
            host: host.to_owned(),
            path: path.clone(),
            text,
        };
        for certificate in certificates(&path).map_err(wrong)? {
            store.add(certificate).map_err(|error| wrong(error.to_string()))?;
        }
    }
    if store.is_empty() {
        return Err(ConfigError::NoAuthorities);
    }
    Ok(store)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let bytes = read(path, LIMIT).map_err(|error| error.to_string())?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match found {
        Ok(found) if found.is_empty() => Err("it holds no certificate in PEM form".to_owned()),
        Ok(found) => Ok(found),
        Err(error) => Err(error.to_string()),
    }
}

/// What this machine proves itself to `host` with. Reads files.
pub(crate) fn identity(
    configuration: &Configuration,
    host: &str,
    provider: &CryptoProvider,
) -> Result<Option<CertifiedKey>, ConfigError> {
    let Some(ClientCertificate { cert, key }) = client_certificate(configuration, host) else {
        return Ok(None);
    };
    let wrong = |path: &Path| {
        let (host, path) = (host.to_owned(), path.to_owned());
        move |text: String| ConfigError::Identity { host, path, text }
    };
    let chain = certificates(&cert).map_err(wrong(&cert))?;
    let bytes = read(&key, LIMIT).map_err(|error| wrong(&key)(error.to_string()))?;
    let secret = PrivateKeyDer::from_pem_slice(&bytes)
        .map_err(|error| wrong(&key)(format!("it holds no private key in PEM form ({error})")))?;
    let pair = CertifiedKey::from_der(chain, secret, provider)
        .map_err(|error| wrong(&cert)(format!("it does not go with {} ({error})", key.display())))?;
    Ok(Some(pair))
}

/// Whether anything is said of certificates for this host alone.
pub(super) fn any(configuration: &Configuration, host: &str) -> bool {
    !named(configuration, host).is_empty() || client_certificate(configuration, host).is_some()
}

/// The files with authorities for this host alone: the one that is configured, and those in the folders that other tools use.
fn named(configuration: &Configuration, host: &str) -> Vec<PathBuf> {
    let configured = names(host).filter_map(|name| configuration.hosts.of(name).ca);
    configured.chain(in_folders(configuration, host, "crt")).collect()
}

/// The one that is configured, or else the first in the folders that other tools use.
fn client_certificate(configuration: &Configuration, host: &str) -> Option<ClientCertificate> {
    let configured = names(host).find_map(|name| configuration.hosts.of(name).identity);
    configured.or_else(|| {
        let cert = in_folders(configuration, host, "cert").into_iter().next()?;
        let key = cert.with_extension("key");
        Some(ClientCertificate { cert, key })
    })
}

/// Files of this host's in folders such as `certs.d`, by their extension.
fn in_folders(configuration: &Configuration, host: &str, extension: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for folder in &configuration.certificate_folders {
        for name in names(host) {
            files.extend(in_folder(&folder.join(name), extension));
        }
    }
    files
}

fn in_folder(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<_> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .take(MAX_FILES)
        .collect();
    files.sort();
    files
}

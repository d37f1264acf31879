//! Whose certificates are believed.
//!
//! The invariant: an authority named for one host is believed for that host alone, beside the system's own.

use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::{ConfigError, Configuration};
use crate::files::read;

const LIMIT: u64 = 4 * 1024 * 1024;
/// More `*.crt` files than that for one host are a mistake.
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
        let bytes = read(&path, LIMIT).map_err(|error| wrong(error.to_string()))?;
        let mut any = false;
        for certificate in CertificateDer::pem_slice_iter(&bytes) {
            let added = certificate
                .map_err(|error| error.to_string())
                .and_then(|certificate| store.add(certificate).map_err(|error| error.to_string()));
            added.map_err(wrong)?;
            any = true;
        }
        if !any {
            return Err(wrong("it holds no certificate in PEM form".to_owned()));
        }
    }
    if store.is_empty() {
        return Err(ConfigError::NoAuthorities);
    }
    Ok(store)
}

/// The files with authorities for this host alone: the one that is configured, and those in the folders that other tools use.
pub(super) fn named(configuration: &Configuration, host: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = configuration.hosts.of(host).ca.into_iter().collect();
    for folder in &configuration.certificate_folders {
        files.extend(in_folder(&folder.join(host)));
    }
    files
}

fn in_folder(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<_> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "crt"))
        .take(MAX_FILES)
        .collect();
    files.sort();
    files
}

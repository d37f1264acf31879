//! Names: the machine's own, and how it finds others', in the files that they go to.
//!
//! The invariant: the image's own lines in /etc/hosts stay; a file that already says what it should is not written.

use std::io::ErrorKind;
use std::path::Path;

use guest_protocol::names::{
    HOSTNAME, HOSTS, MACHINE_ID, RESOLV_CONF, hostname_file, hosts, is_domain, is_machine_id, resolv_conf,
};
use guest_protocol::{Network, is_hostname};
use rustix::fs::{FileType, Mode};

use crate::files;

/// The longest file of the image that is read, in bytes.
const MAX_FILE: u64 = 1024 * 1024;

/// What could not be set.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("`{0}` is no host name: 1 to 64 letters, digits and `-`, with dots between them")]
    Hostname(String),
    #[error("the kernel does not take the host name")]
    Kernel(#[source] std::io::Error),
    #[error("`{0}` is no id of a machine: 32 hexadecimal digits in lower case, not all of them 0")]
    MachineId(String),
    #[error("`{0}` is no search domain")]
    Search(String),
    #[error("cannot write {path}")]
    Write {
        path: &'static str,
        #[source]
        source: std::io::Error,
    },
}

/// Tells the kernel the machine's name.
pub(crate) fn set_hostname(name: &str) -> Result<(), Error> {
    if !is_hostname(name) {
        return Err(Error::Hostname(name.into()));
    }
    rustix::system::sethostname(name.as_bytes()).map_err(|e| Error::Kernel(e.into()))
}

/// Writes /etc/hostname, /etc/hosts and /etc/resolv.conf where they do not say what they should. Gives what failed.
pub(crate) fn write_files(hostname: &str, network: Option<&Network>) -> Vec<Error> {
    let mut errors = Vec::new();
    if is_hostname(hostname) {
        errors.extend(write(HOSTNAME, |_| hostname_file(hostname)).err());
        let pins = network.map_or(&[][..], |network| &network.pins);
        errors.extend(write(HOSTS, |present| hosts(present, hostname, pins)).err());
    }
    if let Some(network) = network.filter(|network| !network.dns.is_empty()) {
        errors.extend(
            network
                .search
                .iter()
                .filter(|domain| !is_domain(domain))
                .cloned()
                .map(Error::Search),
        );
        errors.extend(write(RESOLV_CONF, |_| resolv_conf(&network.dns, &network.search)).err());
    }
    errors
}

/// Where D-Bus may have a copy of the machine's id.
const DBUS_MACHINE_ID: &str = "/var/lib/dbus/machine-id";

/// Writes the machine's id; an empty one changes nothing. Gives what failed.
pub(crate) fn write_machine_id(id: &str) -> Vec<Error> {
    if id.is_empty() {
        return Vec::new();
    }
    if !is_machine_id(id) {
        return vec![Error::MachineId(id.into())];
    }
    // Elsewhere it is a link to the other.
    let own = rustix::fs::lstat(DBUS_MACHINE_ID)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile);
    let paths = [Some(MACHINE_ID), own.then_some(DBUS_MACHINE_ID)];
    let written = paths
        .into_iter()
        .flatten()
        .map(|path| write(path, |_| format!("{id}\n")));
    // A root that cannot be written to, and has no such file, names no other machine.
    let missing =
        |e: &Error| matches!(e, Error::Write { source, .. } if source.kind() == ErrorKind::NotFound);
    written.filter_map(Result::err).filter(|e| !missing(e)).collect()
}

fn write(path: &'static str, wanted: impl FnOnce(&str) -> String) -> Result<(), Error> {
    // What cannot be read (a link into nowhere, a folder, a FIFO) is replaced like what is not there.
    let present = files::read(Path::new(path), MAX_FILE).unwrap_or_default();
    let present = String::from_utf8_lossy(&present);
    let wanted = wanted(&present);
    if present == wanted {
        return Ok(());
    }
    let path_there = Path::new(path);
    let folder = path_there.parent().unwrap_or(Path::new("/"));
    files::make_folder(folder, Mode::from_raw_mode(0o755))
        .and_then(|_| files::replace_or_cover(path_there, wanted.as_bytes(), Mode::from_raw_mode(0o644)))
        .map_err(|source| Error::Write { path, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_a_machine_is_machine_id5s() {
        assert!(is_machine_id("0123456789abcdef0123456789abcdef"));
        for id in [
            "0".repeat(32),
            "A".repeat(32),
            "a".repeat(31),
            "g".repeat(32),
            format!("{}\n", "a".repeat(31)),
        ] {
            assert!(!is_machine_id(&id), "{id:?}");
        }
    }
}

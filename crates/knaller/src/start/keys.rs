//! The machine's keys, made on the host: the guest's host key, so that it is known before the guest exists, and a client key
//! for the host's own access.

use russh::keys::PrivateKey;
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};

use crate::layout::Files;
use crate::record::write_private;
use crate::{Error, Name, Result};

/// What the guest is told.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    /// OpenSSH's PEM form.
    pub(super) host_key: String,
    /// The client's, as a line of authorized_keys.
    pub(super) authorized: String,
}

/// Makes both pairs and writes them to the machine's folder, or reads those that are there.
pub(super) fn prepare(files: &Files, name: &Name) -> Result<Keys> {
    let host = pair(&files.host_key(), &format!("{name} host key"))?;
    let client = pair(&files.client_key(), &format!("knaller {name}"))?;
    know(files, name)?;
    let pem = host.to_openssh(LineEnding::LF).map_err(failed)?;
    Ok(Keys {
        host_key: pem.to_string(),
        authorized: public_line(&client)?,
    })
}

/// Writes the host key where ssh looks for it under this name. A machine that was never started has none.
pub(crate) fn know(files: &Files, name: &Name) -> Result<()> {
    let path = files.host_key();
    if !path.exists() {
        return Ok(());
    }
    let host = PrivateKey::read_openssh_file(&path).map_err(failed)?;
    let known = format!("{name} {}\n", public_line(&host)?);
    write_private(&files.known_hosts(), known.as_bytes())
}

fn pair(path: &std::path::Path, comment: &str) -> Result<PrivateKey> {
    if path.exists() {
        return PrivateKey::read_openssh_file(path).map_err(failed);
    }
    let mut seed = [0; 32];
    fill_random(&mut seed)?;
    let data = KeypairData::Ed25519(Ed25519Keypair::from_seed(&seed));
    let key = PrivateKey::new(data, comment).map_err(failed)?;
    let pem = key.to_openssh(LineEnding::LF).map_err(failed)?;
    write_private(path, pem.as_bytes())?;
    Ok(key)
}

fn public_line(key: &PrivateKey) -> Result<String> {
    key.public_key().to_openssh().map_err(failed)
}

fn failed(error: russh::keys::ssh_key::Error) -> Error {
    Error::system("make an SSH key")(std::io::Error::other(error))
}

/// From the kernel (getrandom(2)).
pub(super) fn fill_random(bytes: &mut [u8]) -> Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let got = rustix::rand::getrandom(&mut *rest, rustix::rand::GetRandomFlags::empty())
            .map_err(|e| Error::system("get random bytes")(e.into()))?;
        rest = rest.get_mut(got..).unwrap_or_default();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_made_once_and_differ() {
        use std::os::unix::fs::PermissionsExt as _;

        let temp = tempfile::tempdir().unwrap();
        let files = Files {
            data: temp.path().to_owned(),
            runtime: temp.path().join("run"),
        };
        let name: Name = "web".parse().unwrap();
        let first = prepare(&files, &name).unwrap();
        let again = prepare(&files, &name).unwrap();
        assert_eq!(
            (&first.host_key, &first.authorized),
            (&again.host_key, &again.authorized)
        );
        let host = PrivateKey::from_openssh(&first.host_key).unwrap();
        let known = std::fs::read_to_string(files.known_hosts()).unwrap();
        assert!(known.starts_with("web ssh-ed25519 "));
        assert!(known.contains(&host.public_key().to_openssh().unwrap()));
        assert!(!known.contains(&first.authorized));
        for path in [files.host_key(), files.client_key()] {
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
    }
}

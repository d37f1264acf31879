//! Who may log in: a key against the keys of the host's config and of the account's own files.
//!
//! The invariant, sshd's `StrictModes`: a file of keys counts only if nobody but its owner and root could have written it,
//! by its own mode or by that of any folder on its way. It is read with the owner's rights.

use std::io::Read as _;
use std::net::IpAddr;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::authorized_keys::{Entry, Permissions};
use super::identity::act_as;
use super::protocol::public_key::{Proof, PublicKey};
use super::protocol::userauth::Method;
use super::session::command::{is_program, keeps_out};
use super::settings::Settings;
use crate::machine;
use crate::users::{Accounts, Identity, User};

/// A longer file of keys is not read to its end, in bytes.
const MAX_FILE: u64 = 1024 * 1024;

/// The files of keys in a home, sshd_config(5).
const FILES: [&str; 2] = [".ssh/authorized_keys", ".ssh/authorized_keys2"];

/// Somebody who is logged in.
#[derive(Clone, Debug)]
pub(super) struct Login {
    pub user: String,
    pub permissions: Permissions,
    /// By a key of the host's config, not by one of the account's own.
    pub by_host: bool,
    settings: Arc<Settings>,
    machine: machine::Handle,
}

/// The answer to a request.
#[derive(Debug)]
pub(super) enum Answer {
    /// That key would do.
    KeyAccepted,
    Success(Arc<Login>),
    Failure,
}

/// Whom a key lets in.
struct Admitted {
    user: String,
    permissions: Permissions,
    by_host: bool,
}

/// What decides on logins.
#[derive(Clone, Debug)]
pub(super) struct Door {
    pub settings: Arc<Settings>,
    pub machine: machine::Handle,
    /// Where the client is; `None`: on the host, over vsock.
    pub address: Option<IpAddr>,
}

impl Door {
    /// Answers a request of `user`. May wait for the root file system, where the accounts are.
    pub(super) async fn answer(&self, user: &str, method: &Method<'_>) -> Answer {
        let (Method::Query(offer) | Method::Signed { offer, .. }) = method else {
            return Answer::Failure;
        };
        let Ok(key) = PublicKey::parse(offer.key) else {
            return Answer::Failure;
        };
        if !key.signs_with(offer.algorithm) {
            return Answer::Failure;
        }
        let Some(Admitted {
            user,
            permissions,
            by_host,
        }) = self.admit(user, offer.key).await
        else {
            return Answer::Failure;
        };
        let Method::Signed {
            offer,
            signed,
            signature,
        } = method
        else {
            return Answer::KeyAccepted;
        };
        match key.verify(offer.algorithm, signed, signature) {
            Some(Proof::SecurityKey(touch))
                if (permissions.touch && !touch.present) || (permissions.verified && !touch.verified) =>
            {
                tracing::info!(
                    user,
                    "a security key was used without the touch or proof that its line demands"
                );
                Answer::Failure
            }
            Some(_) => Answer::Success(Arc::new(Login {
                user,
                permissions,
                by_host,
                settings: self.settings.clone(),
                machine: self.machine.clone(),
            })),
            None => Answer::Failure,
        }
    }

    /// Whom that key lets in as `user`, which is an account's name or uid, and what it may do; if anything.
    async fn admit(&self, user: &str, key: &[u8]) -> Option<Admitted> {
        let configured = self.admitted(&self.settings.keys, key);
        // Root is there before its file system: the host must get in whatever becomes of that.
        if user == "root"
            && let Some(permissions) = configured
        {
            return Some(Admitted {
                user: user.to_owned(),
                permissions,
                by_host: true,
            });
        }
        self.machine.root().await.ok()?;
        let accounts = Accounts::load(&self.settings.etc);
        let identity = accounts.identity(accounts.login(user)?);
        // From here on the account's own name counts, whatever it was called by.
        let user = identity.user.name.clone();
        // Root gets in also where its shell is missing: its commands are then executed directly.
        if user != "root" && !is_program(&identity.user.shell) || keeps_out(&identity.user.shell) {
            tracing::info!(user, shell = %identity.user.shell.display(), "the account's shell lets nobody in");
            return None;
        }
        let by_host = configured.is_some();
        let permissions = if by_host || !self.settings.user_keys {
            configured?
        } else {
            let entries = act_as(&identity, || own_entries(&identity));
            self.admitted(&entries.ok()?, key)?
        };
        Some(Admitted {
            user,
            permissions,
            by_host,
        })
    }

    /// The first line with that key whose conditions hold.
    fn admitted(&self, entries: &[Entry], key: &[u8]) -> Option<Permissions> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |now| now.as_secs());
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        let found = entries
            .iter()
            .find(|entry| entry.blob == key && entry.permissions.admit(self.address, now));
        found.map(|entry| entry.permissions.clone())
    }
}

impl Login {
    /// The account, once the image's files are there. The error is for the user to read.
    pub(super) async fn identity(&self) -> Result<Identity, String> {
        self.machine.root().await?;
        let accounts = Accounts::load(&self.settings.etc);
        let user = accounts.user(&self.user);
        let user = user.ok_or_else(|| format!("there is no account {:?} any more", self.user))?;
        Ok(accounts.identity(user))
    }

    /// With whose rights sockets are handled. Root has all rights before its account can be read.
    pub(super) async fn rights(&self) -> Result<Identity, String> {
        if self.user == "root" {
            Ok(Accounts::default().identity(User::root()))
        } else {
            self.identity().await
        }
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(super) fn machine(&self) -> &machine::Handle {
        &self.machine
    }
}

/// The keys of the account's own files.
fn own_entries(identity: &Identity) -> Vec<Entry> {
    let mut entries = Vec::new();
    for file in FILES {
        let path = identity.user.home.join(file);
        match read(&path, &identity.user.home, identity.user.uid) {
            Ok(text) => entries.extend(text.lines().filter_map(|line| {
                let entry = Entry::parse(line)?;
                entry
                    .inspect_err(
                        |error| tracing::info!(path = %path.display(), %error, "a key opens nothing"),
                    )
                    .ok()
            })),
            Err(Unsafe::Io(error)) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => tracing::info!(path = %path.display(), %error, "a file of keys is passed over"),
        }
    }
    entries
}

/// Why a file of keys does not count.
#[derive(Debug, thiserror::Error)]
enum Unsafe {
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("{0} is not a regular file")]
    NotAFile(PathBuf),
    #[error("{0} is owned by somebody else, or somebody else may write to it")]
    Exposed(PathBuf),
}

/// Reads a file that only `uid` and root can have written.
fn read(path: &Path, home: &Path, uid: u32) -> Result<String, Unsafe> {
    let real = path.canonicalize()?;
    // Not blocking: a named pipe must not hold the server.
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
    let flags = i32::try_from(flags.bits()).unwrap_or(0);
    let file = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(&real)?;
    let own = |metadata: &std::fs::Metadata, path: &Path| {
        let safe = (metadata.uid() == 0 || metadata.uid() == uid) && metadata.mode() & 0o022 == 0;
        if safe {
            Ok(())
        } else {
            Err(Unsafe::Exposed(path.to_owned()))
        }
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(Unsafe::NotAFile(real));
    }
    own(&metadata, &real)?;
    // Up to the home, or to the root where the file is elsewhere.
    let home = home.canonicalize()?;
    for folder in real.ancestors().skip(1) {
        own(&std::fs::metadata(folder)?, folder)?;
        if folder == home {
            break;
        }
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn a_file_that_others_could_write_does_not_count() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path().canonicalize().unwrap();
        let uid = rustix::process::geteuid().as_raw();
        let mode = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        let folder = home.join(".ssh");
        let file = folder.join("authorized_keys");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(&file, "text").unwrap();
        for path in [&home, &folder] {
            mode(path, 0o755);
        }
        mode(&file, 0o644);
        assert_eq!(read(&file, &home, uid).unwrap(), "text");
        for (path, bad, good) in [
            (&file, 0o664, 0o600),
            (&folder, 0o777, 0o700),
            (&home, 0o770, 0o700),
        ] {
            mode(path, bad);
            assert!(matches!(read(&file, &home, uid), Err(Unsafe::Exposed(exposed)) if exposed == **path));
            mode(path, good);
        }
        assert!(read(&file, &home, uid).is_ok());
        if uid == 0 {
            std::os::unix::fs::chown(&file, Some(65534), None).unwrap();
            assert!(matches!(read(&file, &home, 1000), Err(Unsafe::Exposed(_))));
            assert!(read(&file, &home, 65534).is_ok());
        }
    }

    #[test]
    fn a_link_leads_to_the_checks_of_where_it_leads() {
        let home = tempfile::tempdir().unwrap();
        let open = tempfile::tempdir_in("/tmp").unwrap();
        let uid = rustix::process::geteuid().as_raw();
        std::fs::write(open.path().join("keys"), "text").unwrap();
        let link = home.path().join("keys");
        symlink(open.path().join("keys"), &link).unwrap();
        // /tmp is writable by all: a file below it, outside the home, could have been put there by anybody.
        assert!(matches!(read(&link, home.path(), uid), Err(Unsafe::Exposed(_))));
        let folder = home.path().join("folder");
        std::fs::create_dir(&folder).unwrap();
        assert!(matches!(
            read(&folder, home.path(), uid),
            Err(Unsafe::NotAFile(_))
        ));
    }
}

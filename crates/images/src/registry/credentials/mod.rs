//! Who the user is at a registry: what Docker's, Podman's and our own `login` left, in files or with helper programs.
//!
//! The invariant: a secret goes to the registry that it was stored for (or the token server that this registry names) and
//! nowhere else: not into a log, an error, or another program's arguments. A file that is there but cannot be understood is
//! an error, never "no credentials".
//!
//! An own reader, because the crate for it (docker_credential 1.4) knows Docker's file alone, no entries for single
//! repositories, and waits for a helper without end.

mod file;
mod helper;
mod key;
mod store;

use std::ffi::OsString;
use std::path::PathBuf;

pub use file::parse as parse_auth_file;
pub use helper::parse as parse_helper_output;

use super::secret::Secret;
use crate::files::{ReadError, StageError};

/// What a user proves himself with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    Password {
        username: String,
        password: Secret,
    },
    /// An OAuth2 refresh token, as Docker's `identitytoken` and helpers whose user name is `<token>` give.
    Identity(Secret),
    /// A bearer token for the registry itself (`registrytoken`).
    Bearer(Secret),
}

/// Where credentials lie.
#[derive(Clone, Debug)]
pub struct CredentialFiles {
    /// `$REGISTRY_AUTH_FILE`: then no other file counts.
    pub explicit: Option<PathBuf>,
    /// Where [`store`](Self::store) writes, and what is read first: `~/.config/containers/auth.json`.
    pub own: PathBuf,
    /// `$XDG_RUNTIME_DIR/containers/auth.json`: Podman's, until the machine restarts.
    pub runtime: Option<PathBuf>,
    /// `~/.docker/config.json`.
    pub docker: PathBuf,
    /// Where helper programs are looked for.
    pub path: Option<OsString>,
}

/// Why credentials cannot be had or kept.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    #[error("a file with credentials cannot be read")]
    Read(#[source] ReadError),
    #[error(
        "{path} holds no credentials that can be understood: {text}. Mend the file, or remove it and log in again"
    )]
    Form { path: PathBuf, text: String },
    #[error("the folder {path} cannot be written")]
    Folder { path: PathBuf, source: std::io::Error },
    #[error("the file with credentials cannot be written")]
    Write(#[source] StageError),
    #[error("the credential helper {program}, which {path} names, {text}")]
    Helper {
        program: String,
        path: PathBuf,
        text: String,
    },
}

impl CredentialFiles {
    /// In the order in which they are asked.
    fn all(&self) -> Vec<PathBuf> {
        if let Some(path) = &self.explicit {
            return vec![path.clone()];
        }
        let mut files = vec![self.own.clone()];
        files.extend(self.runtime.clone());
        files.push(self.docker.clone());
        files
    }

    /// What is known for a repository of a registry: of each file first the helper for that registry, then the entry of
    /// the longest part of the name (containers-auth.json(5)), then the helper for all.
    ///
    /// # Errors
    /// A file cannot be understood, or a helper fails.
    pub async fn find(
        &self,
        registry: &str,
        repository: &str,
    ) -> Result<Option<Credential>, CredentialError> {
        for path in self.all() {
            let Some(file) = file::load(&path)? else { continue };
            if let Some(name) = file.helper_of(registry) {
                let helper = helper::Helper::new(name, &path, self.path.as_deref())?;
                if let Some(found) = helper.get(registry).await? {
                    return Ok(Some(found));
                }
                continue;
            }
            if let Some(found) = file.entry(&path, registry, repository)? {
                return Ok(Some(found));
            }
            if let Some(name) = &file.creds_store {
                let helper = helper::Helper::new(name, &path, self.path.as_deref())?;
                if let Some(found) = helper.get(registry).await? {
                    return Ok(Some(found));
                }
            }
        }
        Ok(None)
    }
}

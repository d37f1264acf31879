//! Keeping credentials and forgetting them.
//!
//! The invariant: a file is replaced whole, with mode 0600, and everything else in it stays; two that write at once wait for
//! each other.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::file::{self, LIMIT};
use super::helper::Helper;
use super::{CredentialError, CredentialFiles, key};
use crate::files::{Lock, LockError, LockKind, read, replace};
use crate::registry::secret::Secret;
use crate::task::Task;

impl CredentialFiles {
    fn written(&self) -> &Path {
        self.explicit.as_deref().unwrap_or(&self.own)
    }

    /// The helper that keeps the credentials of a registry, if one of the files names one.
    fn helper(&self, registry: &str) -> Result<Option<Helper>, CredentialError> {
        for path in self.all() {
            let Some(file) = file::load(&path)? else { continue };
            if let Some(name) = file.helper_of(registry).or(file.creds_store.as_deref()) {
                return Helper::new(name, &path, self.path.as_deref()).map(Some);
            }
        }
        Ok(None)
    }

    /// Keeps a user's name and password: with the helper that is configured for the registry, else in our own file, whose
    /// path is the answer.
    ///
    /// # Errors
    /// The file cannot be read or written, or the helper fails.
    pub async fn store(
        &self,
        registry: &str,
        username: &str,
        password: &Secret,
    ) -> Result<Option<PathBuf>, CredentialError> {
        if let Some(helper) = self.helper(registry)? {
            helper.store(registry, username, password).await?;
            return Ok(None);
        }
        let auth = STANDARD.encode(format!("{username}:{}", password.expose()));
        let path = self.written();
        change(path, |root| {
            let auths = root.entry("auths").or_insert_with(|| json!({}));
            let auths = auths.as_object_mut()?;
            auths.retain(|key, _| key::normal(key) != key::normal(registry));
            auths.insert(key::normal(registry), json!({ "auth": auth }));
            Some(true)
        })?;
        Ok(Some(path.to_owned()))
    }

    /// Forgets what is kept for a registry, in every file that is read and with its helper. The answer: whether there
    /// was anything.
    ///
    /// # Errors
    /// A file cannot be read or written, or the helper fails.
    pub async fn erase(&self, registry: &str) -> Result<bool, CredentialError> {
        let mut any = match self.helper(registry)? {
            Some(helper) => helper.erase(registry).await?,
            None => false,
        };
        for path in self.all() {
            // A file without an entry is left alone: it may be one that cannot be written.
            if !file::load(&path)?.is_some_and(|file| file.has(registry)) {
                continue;
            }
            any |= change(&path, |root| {
                let Some(auths) = root.get_mut("auths") else {
                    return Some(false);
                };
                let auths = auths.as_object_mut()?;
                let before = auths.len();
                auths.retain(|key, _| key::normal(key) != key::normal(registry));
                Some(auths.len() < before)
            })?;
        }
        Ok(any)
    }
}

/// Changes a file's JSON under a lock. `edit` says whether it changed anything; `None` where the file's shape is wrong.
fn change(
    path: &Path,
    edit: impl FnOnce(&mut Map<String, Value>) -> Option<bool>,
) -> Result<bool, CredentialError> {
    let form = |text: String| CredentialError::Form {
        path: path.to_owned(),
        text,
    };
    let folder = path.parent().unwrap_or(Path::new("."));
    let broken = |source| CredentialError::Folder {
        path: folder.to_owned(),
        source,
    };
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(broken)?;
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let lock =
        Lock::wait(Path::new(&name), LockKind::Exclusive, &Task::new()).map_err(|error| match error {
            LockError::Stage(error) => CredentialError::Write(error),
            LockError::Cancelled(_) => form("nobody waits for it any more".to_owned()),
        })?;
    // A link (into a folder that is synchronised, say) stays one: what it leads to is replaced.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let bytes = match read(&target, LIMIT) {
        Ok(bytes) => bytes,
        Err(error) if error.is_absence() => Vec::new(),
        Err(error) => return Err(CredentialError::Read(error)),
    };
    let mut root = if bytes.iter().all(u8::is_ascii_whitespace) {
        Map::new()
    } else {
        serde_json::from_slice(&bytes).map_err(|error| form(file::place(&error)))?
    };
    let changed = edit(&mut root).ok_or_else(|| form("its auths are no object".to_owned()))?;
    if changed {
        let mut text = serde_json::to_vec_pretty(&root).map_err(|error| form(error.to_string()))?;
        text.push(b'\n');
        let (inside, name) = (target.parent(), target.file_name().and_then(OsStr::to_str));
        let (Some(inside), Some(name)) = (inside, name) else {
            return Err(form("its name is no text".to_owned()));
        };
        replace(inside, name, &text).map_err(CredentialError::Write)?;
    }
    lock.remove().map_err(broken)?;
    Ok(changed)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn other_entries_stay_and_nobody_else_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sub/auth.json");
        let put = |key: &str| {
            change(&path, |root| {
                root.insert(key.to_owned(), json!(1));
                Some(true)
            })
        };
        assert!(put("one").unwrap() && put("two").unwrap());
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("one") && text.contains("two"), "{text}");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(
            folder.path().join("sub").metadata().unwrap().permissions().mode() & 0o777,
            0o700
        );
    }

    #[test]
    fn a_file_that_is_not_understood_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("auth.json");
        fs::write(&path, "[]").unwrap();
        let error = change(&path, |_| Some(true)).unwrap_err();
        assert!(matches!(error, CredentialError::Form { .. }), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "[]");
    }
}

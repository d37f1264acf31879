//! `auth.json` and Docker's `config.json`, read. Format: containers-auth.json(5); docker/cli, `configfile/file.go`.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::{Credential, CredentialError, key};
use crate::files::read;
use crate::registry::secret::Secret;

pub(super) const LIMIT: u64 = 1024 * 1024;

/// What of such a file matters here. Other keys are other tools' business.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthFile {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
    pub(super) creds_store: Option<String>,
}

#[derive(Default, Deserialize)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

/// Nothing of an entry is shown.
impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Entry(…)")
    }
}

/// Understands a file's contents.
///
/// # Errors
/// It is no JSON, or of another shape; the text holds nothing of the contents.
pub fn parse(bytes: &[u8]) -> Result<AuthFile, String> {
    let file: AuthFile = serde_json::from_slice(bytes).map_err(|error| place(&error))?;
    // A store that is named and empty is how Docker says that there is none.
    Ok(AuthFile {
        creds_store: file.creds_store.filter(|name| !name.is_empty()),
        ..file
    })
}

/// Where JSON is wrong, without what stands there: that may be a password.
pub(super) fn place(error: &serde_json::Error) -> String {
    format!(
        "line {}, column {}: unexpected contents",
        error.line(),
        error.column()
    )
}

pub(super) fn load(path: &Path) -> Result<Option<AuthFile>, CredentialError> {
    let bytes = match read(path, LIMIT) {
        Ok(bytes) => bytes,
        Err(error) if error.is_absence() => return Ok(None),
        Err(error) => return Err(CredentialError::Read(error)),
    };
    // Podman leaves an empty file where the last entry was removed.
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    let file = parse(&bytes).map_err(|text| CredentialError::Form {
        path: path.to_owned(),
        text,
    })?;
    Ok(Some(file))
}

impl AuthFile {
    pub(super) fn helper_of(&self, registry: &str) -> Option<&str> {
        let wanted = key::normal(registry);
        let mut helpers = self.cred_helpers.iter();
        let found = helpers.find(|(key, name)| key::normal(key) == wanted && !name.is_empty())?;
        Some(found.1)
    }

    /// Whether there is an entry for the whole of a registry.
    pub(super) fn has(&self, registry: &str) -> bool {
        self.auths
            .keys()
            .any(|key| key::normal(key) == key::normal(registry))
    }

    /// The entry for the longest part of a repository's name. One without contents (Docker's where a helper has them) is none.
    pub(super) fn entry(
        &self,
        path: &Path,
        registry: &str,
        repository: &str,
    ) -> Result<Option<Credential>, CredentialError> {
        for wanted in key::candidates(registry, repository) {
            for (key, entry) in &self.auths {
                if key::normal(key) != wanted {
                    continue;
                }
                let found = entry.credential().map_err(|text| CredentialError::Form {
                    path: path.to_owned(),
                    text: format!("the entry of {key}: {text}"),
                })?;
                if found.is_some() {
                    return Ok(found);
                }
            }
        }
        Ok(None)
    }

    /// All entries, understood or not.
    ///
    /// # Errors
    /// The first that is not understood.
    pub fn check(&self) -> Result<usize, String> {
        let entries = self.auths.values().map(Entry::credential);
        entries
            .collect::<Result<Vec<_>, _>>()
            .map(|entries| entries.len())
    }
}

impl Entry {
    fn credential(&self) -> Result<Option<Credential>, String> {
        let set = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        if let Some(token) = set(&self.identitytoken) {
            return Ok(Some(Credential::Identity(Secret::new(token))));
        }
        if let Some(token) = set(&self.registrytoken) {
            return Ok(Some(Credential::Bearer(Secret::new(token))));
        }
        if let (Some(username), Some(password)) = (set(&self.username), set(&self.password)) {
            let password = Secret::new(password);
            return Ok(Some(Credential::Password { username, password }));
        }
        set(&self.auth).map(|auth| decode(&auth)).transpose()
    }
}

/// `auth`: base64 of the user's name, a colon and the password.
fn decode(auth: &str) -> Result<Credential, String> {
    let bytes = STANDARD
        .decode(auth.trim())
        .map_err(|_| "its auth is no base64".to_owned())?;
    let text = String::from_utf8(bytes).map_err(|_| "its auth is no text".to_owned())?;
    let (username, password) = text
        .split_once(':')
        .ok_or("its auth holds no colon between name and password")?;
    Ok(Credential::Password {
        username: username.to_owned(),
        // Some tools have written a NUL at the end.
        password: Secret::new(password.trim_end_matches('\0')),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(json: &str, registry: &str, repository: &str) -> Result<Option<Credential>, CredentialError> {
        parse(json.as_bytes())
            .unwrap()
            .entry(Path::new("/f"), registry, repository)
    }

    fn name(found: Option<Credential>) -> String {
        match found {
            Some(Credential::Password { username, password }) => format!("{username}/{}", password.expose()),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn the_longest_key_wins_and_empty_entries_are_none() {
        // "me:one", "you:two:three"
        let json = r#"{"auths": {"a.org": {"auth": "bWU6b25l"}, "a.org/team": {"auth": "eW91OnR3bzp0aHJlZQ=="},
            "https://index.docker.io/v1/": {}, "b.org": {"username": "u", "password": "p"}}, "HttpHeaders": {}}"#;
        assert_eq!(name(find(json, "a.org", "team/app").unwrap()), "you/two:three");
        assert_eq!(name(find(json, "a.org", "teams/app").unwrap()), "me/one");
        assert_eq!(name(find(json, "b.org", "x").unwrap()), "u/p");
        assert_eq!(find(json, "docker.io", "library/x").unwrap(), None);
        assert_eq!(find(json, "c.org", "x").unwrap(), None);
    }

    #[test]
    fn tokens() {
        let json = r#"{"auths": {"a.org": {"auth": "bWU6", "identitytoken": "i"}, "b.org": {"registrytoken": "r"}}}"#;
        assert_eq!(
            find(json, "a.org", "x").unwrap(),
            Some(Credential::Identity(Secret::new("i")))
        );
        assert_eq!(
            find(json, "b.org", "x").unwrap(),
            Some(Credential::Bearer(Secret::new("r")))
        );
    }

    #[test]
    fn what_is_wrong_is_told_without_what_it_is() {
        let error = find(r#"{"auths": {"a.org": {"auth": "hunter2!"}}}"#, "a.org", "x")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("a.org") && error.contains("base64") && !error.contains("hunter2"),
            "{error}"
        );
        let error = parse(br#"{"auths": {"a.org": "hunter2"}}"#).unwrap_err();
        assert!(error.contains("line 1") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn helpers() {
        let file = parse(br#"{"credHelpers": {"https://a.org/": "pass"}, "credsStore": ""}"#).unwrap();
        assert_eq!(
            (file.helper_of("a.org"), file.helper_of("b.org")),
            (Some("pass"), None)
        );
        assert_eq!(file.creds_store, None);
    }
}

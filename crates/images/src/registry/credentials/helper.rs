//! Programs that keep credentials: `docker-credential-NAME get|store|erase`, JSON on their standard input and output.
//! Protocol: docker/docker-credential-helpers, `credentials/credentials.go`.
//!
//! The invariant: a secret passes through pipes alone; a helper ends in time, or is killed; what it says has a limit.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use super::{Credential, CredentialError, key};
use crate::registry::secret::Secret;

/// A helper may ask its user to unlock something.
const PATIENCE: Duration = Duration::from_secs(60);
/// Then its user is told, who may have another window to look at.
const SILENCE: Duration = Duration::from_secs(2);
const LIMIT: u64 = 64 * 1024;
/// What a helper's user name is where its secret is an identity token.
const TOKEN_USER: &str = "<token>";
/// What a helper says, ending with 1, when it knows nothing of a server.
const NOT_FOUND: &str = "credentials not found";

/// What a helper answers and is given.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Message {
    #[serde(rename = "ServerURL", default)]
    server: String,
    username: String,
    secret: String,
}

/// Understands what a helper answered.
///
/// # Errors
/// It is no JSON of the right shape; the text holds nothing of it.
pub fn parse(bytes: &[u8]) -> Result<Option<Credential>, String> {
    let message: Message = serde_json::from_slice(bytes).map_err(|error| super::file::place(&error))?;
    let secret = Secret::new(message.secret);
    Ok(match message.username.as_str() {
        _ if secret.expose().is_empty() => None,
        TOKEN_USER => Some(Credential::Identity(secret)),
        _ => Some(Credential::Password {
            username: message.username,
            password: secret,
        }),
    })
}

/// One helper, named in a file.
pub(super) struct Helper {
    program: String,
    executable: PathBuf,
    named_in: PathBuf,
}

impl Helper {
    pub(super) fn new(name: &str, named_in: &Path, path: Option<&OsStr>) -> Result<Self, CredentialError> {
        let program = format!("docker-credential-{name}");
        let mut helper = Self {
            program,
            executable: PathBuf::new(),
            named_in: named_in.to_owned(),
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if name.len() > 64 || !name.bytes().all(plain) {
            return Err(helper.failed("has a name that no program has"));
        }
        let mut folders = std::env::split_paths(path.unwrap_or_default());
        let found = folders.find_map(|folder| {
            let file = folder.join(&helper.program);
            (folder.is_absolute() && file.is_file()).then_some(file)
        });
        helper.executable =
            found.ok_or_else(|| helper.failed("is not on PATH: install it, or remove its name there"))?;
        Ok(helper)
    }

    pub(super) async fn get(&self, registry: &str) -> Result<Option<Credential>, CredentialError> {
        match self.ask("get", key::server(registry).as_bytes()).await? {
            Ok(answer) => {
                parse(&answer).map_err(|text| self.failed(&format!("gave what is no answer: {text}")))
            }
            Err(said) if said.contains(NOT_FOUND) => Ok(None),
            Err(said) => Err(self.failed(&format!("failed: {said}"))),
        }
    }

    pub(super) async fn store(
        &self,
        registry: &str,
        username: &str,
        secret: &Secret,
    ) -> Result<(), CredentialError> {
        let message = Message {
            server: key::server(registry).to_owned(),
            username: username.to_owned(),
            secret: secret.expose().to_owned(),
        };
        let message = serde_json::to_vec(&message).map_err(|error| self.failed(&error.to_string()))?;
        match self.ask("store", &message).await? {
            Ok(_) => Ok(()),
            Err(said) => Err(self.failed(&format!("could not store: {said}"))),
        }
    }

    /// Whether there was something to erase.
    pub(super) async fn erase(&self, registry: &str) -> Result<bool, CredentialError> {
        // Some helpers fail to erase what they do not have, others do not.
        if self.get(registry).await?.is_none() {
            return Ok(false);
        }
        match self.ask("erase", key::server(registry).as_bytes()).await? {
            Ok(_) => Ok(true),
            Err(said) => Err(self.failed(&format!("could not erase: {said}"))),
        }
    }

    /// Its answer, or what it said as it failed (by the protocol, on its standard output too).
    async fn ask(&self, verb: &str, input: &[u8]) -> Result<Result<Vec<u8>, String>, CredentialError> {
        let work = async {
            let mut child = Command::new(&self.executable)
                .arg(verb)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .kill_on_drop(true)
                .spawn()?;
            let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
            let feed = async move {
                if let Some(mut stdin) = stdin {
                    // A helper may end without reading it all: its exit code tells.
                    let _ = stdin.write_all(input).await;
                }
            };
            let mut answer = Vec::new();
            let collect = async {
                match stdout {
                    Some(stdout) => stdout.take(LIMIT + 1).read_to_end(&mut answer).await.map(drop),
                    None => Ok(()),
                }
            };
            let ((), collected) = tokio::join!(feed, collect);
            collected?;
            if answer.len() as u64 > LIMIT {
                return Err(std::io::Error::other(format!("says more than {LIMIT} bytes")));
            }
            Ok((child.wait().await?, answer))
        };
        let mut work = pin!(work);
        let watched = async {
            if let Ok(done) = tokio::time::timeout(SILENCE, &mut work).await {
                return done;
            }
            tracing::warn!(
                program = %self.program,
                named_in = %self.named_in.display(),
                "a credential helper has not answered yet: does it wait for you to unlock something?"
            );
            work.await
        };
        let (status, answer) = match tokio::time::timeout(PATIENCE, watched).await {
            Err(_) => return Err(self.failed(&format!("has not answered within {} s", PATIENCE.as_secs()))),
            Ok(Err(error)) => return Err(self.failed(&format!("cannot be used: {error}"))),
            Ok(Ok(done)) => done,
        };
        if status.success() {
            return Ok(Ok(answer));
        }
        let said = crate::registry::text::shown(&answer);
        Ok(Err(if said.is_empty() { status.to_string() } else { said }))
    }

    fn failed(&self, text: &str) -> CredentialError {
        CredentialError::Helper {
            program: self.program.clone(),
            path: self.named_in.clone(),
            text: text.to_owned(),
        }
    }
}

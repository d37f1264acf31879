//! Logging in and out.
//!
//! The invariant: a password is stored only after the registry has taken it, and it never goes over a network in the clear
//! unless plain HTTP was configured for this registry.

use std::path::PathBuf;
use std::sync::Arc;

use reqwest::{Method, StatusCode};

use super::Registries;
use super::config::Mirror;
use super::credentials::Credential;
use super::error::RegistryError;
use super::http::{Session, expect, persistently};
use super::secret::Secret;

/// Where a login is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedIn {
    /// The file; `None`: a credential helper has it.
    pub file: Option<PathBuf>,
}

impl Registries {
    /// Checks a user's name and password with a registry and stores them.
    ///
    /// # Errors
    /// The registry refuses them or cannot be asked; they cannot be stored.
    pub async fn login(
        &self,
        registry: &str,
        username: &str,
        password: &Secret,
    ) -> Result<LoggedIn, RegistryError> {
        let registry = host(registry)?;
        let credential = Credential::Password {
            username: username.to_owned(),
            password: password.clone(),
        };
        let session = Session::with(
            Arc::clone(self.transport()),
            &registry,
            "",
            Vec::new(),
            Some(credential),
        )?;
        let checked = persistently(
            &self.configuration().patience,
            |_, _| (),
            async || {
                let response = session.send(&session.request(Method::GET, "")?).await?;
                expect(&session, response, &[StatusCode::OK], "itself").await
            },
        );
        match Box::pin(checked).await {
            Ok(_) => {}
            Err(RegistryError::Denied { host, said, .. }) => {
                return Err(RegistryError::Refused { host, said });
            }
            Err(error) => return Err(error),
        }
        let credentials = &self.configuration().credentials;
        let file = credentials.store(&registry, username, password).await?;
        Ok(LoggedIn { file })
    }

    /// Forgets what is stored for a registry. The answer: whether there was anything.
    ///
    /// # Errors
    /// A file cannot be changed, or a helper fails.
    pub async fn logout(&self, registry: &str) -> Result<bool, RegistryError> {
        let registry = host(registry)?;
        Ok(self.configuration().credentials.erase(&registry).await?)
    }
}

/// A registry's name as a person types it.
fn host(registry: &str) -> Result<String, RegistryError> {
    let wrong = |text: String| RegistryError::Name {
        registry: registry.to_owned(),
        text,
    };
    let mirror: Mirror = registry.parse().map_err(wrong)?;
    match mirror.prefix {
        None => Ok(mirror.host),
        Some(prefix) => Err(wrong(format!(
            "a login is for a whole registry: without /{prefix}"
        ))),
    }
}

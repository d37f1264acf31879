//! One repository of one registry, with the right to do something there.
//!
//! The invariant: at most one token is asked for at a time, and a request is repeated at most once with a new one. A refusal
//! by another host than the registry's, to which it led, is never answered with anything of the user's.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Method, Response, StatusCode, Url};
use tokio::sync::Mutex;

use super::challenge::{self, Challenge};
use super::retry::{Again, Trouble};
use super::token::{self, Question};
use super::transport::{Content, Request, Transport, check_downgrade, host_of};
use crate::registry::config::{Patience, address, is_plain};
use crate::registry::credentials::Credential;
use crate::registry::error::RegistryError;
use crate::registry::secret::Secret;

/// How the user is known to the registry now.
#[derive(Default)]
struct Known {
    header: Option<HeaderValue>,
    until: Option<Instant>,
    /// Raised with each new header.
    serial: u64,
    /// How the registry asked the last time.
    challenge: Option<Challenge>,
}

pub(crate) struct Session {
    transport: Arc<Transport>,
    /// As the configuration has it: `docker.io`.
    registry: String,
    base: Url,
    repository: String,
    scopes: Vec<String>,
    credential: Option<Credential>,
    known: Mutex<Known>,
    /// Whether the registry has ever answered.
    reached: AtomicBool,
}

impl Session {
    /// For a repository of `registry`, with the credentials that are stored for it. `scopes` as token.md has them.
    pub(crate) async fn new(
        transport: Arc<Transport>,
        registry: &str,
        repository: &str,
        scopes: Vec<String>,
    ) -> Result<Self, RegistryError> {
        let files = &transport.configuration().credentials;
        let found = files.find(registry, repository).await?;
        Self::with(transport, registry, repository, scopes, found)
    }

    /// With this credential and no other.
    pub(crate) fn with(
        transport: Arc<Transport>,
        registry: &str,
        repository: &str,
        scopes: Vec<String>,
        credential: Option<Credential>,
    ) -> Result<Self, RegistryError> {
        let plain = is_plain(transport.configuration(), registry);
        let scheme = if plain { "http" } else { "https" };
        let base = Url::parse(&format!("{scheme}://{}/v2/", address(registry)));
        let base = base.map_err(|_| RegistryError::Protocol {
            host: registry.to_owned(),
            text: "its name is no address".to_owned(),
        })?;
        let header = match &credential {
            Some(Credential::Bearer(token)) => Some(bearer(token)?),
            _ => None,
        };
        Ok(Self {
            transport,
            registry: registry.to_owned(),
            base,
            repository: repository.to_owned(),
            scopes,
            credential,
            known: Mutex::new(Known {
                header,
                ..Known::default()
            }),
            reached: AtomicBool::new(false),
        })
    }

    pub(crate) fn registry(&self) -> &str {
        &self.registry
    }

    pub(crate) fn repository(&self) -> &str {
        &self.repository
    }

    pub(crate) fn host(&self) -> String {
        host_of(&self.base)
    }

    pub(crate) fn base(&self) -> &Url {
        &self.base
    }

    pub(crate) fn patience(&self) -> &Patience {
        &self.transport.configuration().patience
    }

    pub(super) fn transport(&self) -> &Transport {
        &self.transport
    }

    pub(crate) fn is_anonymous(&self) -> bool {
        self.credential.is_none()
    }

    /// A request without a body to a place below the registry's `/v2/`.
    pub(crate) fn request(&self, method: Method, path: &str) -> Result<Request, RegistryError> {
        let url = self.base.join(path).map_err(|_| RegistryError::Protocol {
            host: self.host(),
            text: format!("{path} is no part of an address"),
        })?;
        Ok(Request {
            method,
            url,
            headers: HeaderMap::new(),
            content: Content::Nothing,
            limit: Some(self.patience().answer),
        })
    }

    /// The same to a part of the repository: `manifests/12`, `blobs/sha256:…`.
    pub(crate) fn within(&self, method: Method, part: &str) -> Result<Request, RegistryError> {
        self.request(method, &format!("{}/{part}", self.repository))
    }

    /// Sends a request, as the user where it goes to the registry itself.
    pub(crate) async fn send(&self, request: &Request) -> Result<Response, Trouble> {
        check_downgrade(&self.base, &request.url)?;
        let ours = request.url.origin() == self.base.origin();
        let (header, serial) = if ours { self.current().await? } else { (None, 0) };
        let response = self.try_once(request, header.as_ref()).await?;
        // Where it was led to another host, that one's refusal is final.
        let refused = response.status() == StatusCode::UNAUTHORIZED;
        if !refused || response.url().origin() != self.base.origin() {
            return Ok(response);
        }
        let values = response.headers().get_all(WWW_AUTHENTICATE).into_iter();
        let Some(challenge) = challenge::parse(values.filter_map(|value| value.to_str().ok())) else {
            return Ok(response);
        };
        match self.renew(challenge, serial).await? {
            Some(header) => self.try_once(request, Some(&header)).await,
            None => Ok(response),
        }
    }

    async fn try_once(&self, request: &Request, header: Option<&HeaderValue>) -> Result<Response, Trouble> {
        match self.transport.send(request, header).await {
            Ok(response) => {
                self.reached.store(true, Ordering::Relaxed);
                Ok(response)
            }
            // A host that was never there is most likely a name that was mistyped.
            Err(mut trouble) => {
                let unreachable = matches!(trouble.error, RegistryError::Unreachable { .. });
                if unreachable && !self.reached.load(Ordering::Relaxed) {
                    trouble.again = Again::Never;
                }
                Err(trouble)
            }
        }
    }

    /// What a request goes out with, renewed first where it has run out.
    async fn current(&self) -> Result<(Option<HeaderValue>, u64), Trouble> {
        let mut known = self.known.lock().await;
        if known.until.is_some_and(|until| until <= Instant::now())
            && let Some(challenge) = known.challenge.clone()
        {
            self.answer(&mut known, challenge).await?;
        }
        Ok((known.header.clone(), known.serial))
    }

    /// A new header, after the one with `serial` was refused. `None`: there is nothing better to say.
    async fn renew(&self, challenge: Challenge, serial: u64) -> Result<Option<HeaderValue>, Trouble> {
        let mut known = self.known.lock().await;
        // Unless another request has done it meanwhile.
        if known.serial == serial {
            if known.header.is_some() && challenge == Challenge::Basic {
                return Ok(None);
            }
            self.answer(&mut known, challenge).await?;
        }
        Ok(known.header.clone())
    }

    async fn answer(&self, known: &mut Known, challenge: Challenge) -> Result<(), Trouble> {
        let (header, until) = match (&challenge, &self.credential) {
            (Challenge::Basic, Some(Credential::Password { username, password })) => {
                (Some(basic(username, password)?), None)
            }
            // No name and password to give; and for a token of the user's own that was refused no other can be had.
            (Challenge::Basic, _) | (_, Some(Credential::Bearer(_))) => (None, None),
            (Challenge::Bearer { realm, service }, credential) => {
                let question = Question {
                    service: service.as_deref(),
                    scopes: &self.scopes,
                    credential: credential.as_ref(),
                };
                let token = token::fetch(self, realm, &question).await?;
                (Some(bearer(&token.secret)?), token.until)
            }
        };
        *known = Known {
            header,
            until,
            serial: known.serial + 1,
            challenge: Some(challenge),
        };
        Ok(())
    }
}

fn bearer(token: &Secret) -> Result<HeaderValue, RegistryError> {
    sensitive(&format!("Bearer {}", token.expose()))
}

pub(super) fn basic(username: &str, password: &Secret) -> Result<HeaderValue, RegistryError> {
    let text = STANDARD.encode(format!("{username}:{}", password.expose()));
    sensitive(&format!("Basic {text}"))
}

fn sensitive(text: &str) -> Result<HeaderValue, RegistryError> {
    let mut value = HeaderValue::from_str(text).map_err(|_| RegistryError::Protocol {
        host: "the token server".to_owned(),
        text: "its token holds what no header may".to_owned(),
    })?;
    value.set_sensitive(true);
    Ok(value)
}

//! Connections, one client a host, and redirects.
//!
//! reqwest's own redirects are off: it would trust one host's authority for the next host's certificate too, and would send a
//! body again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Body, Client, Method, Response, Url};
use rustls::crypto::ring::default_provider;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, RootCertStore};

use super::names::SystemNames;
use super::retry::Trouble;
use crate::registry::config::{Configuration, authorities, identity, shown};
use crate::registry::error::RegistryError;
use crate::registry::reach::{Unreached, innermost, tls_error};

const MAX_REDIRECTS: usize = 5;
const AGENT: &str = concat!("knaller/", env!("CARGO_PKG_VERSION"));

/// A request's body, which can be made anew for each attempt.
pub(crate) enum Content {
    Nothing,
    Bytes(Bytes),
    /// Makes a body of as many bytes.
    Stream(u64, Box<dyn Fn() -> Body + Send + Sync>),
}

/// One request.
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) content: Content,
    /// How long the answer's head may take; `None`: the content is watched by who sends it.
    pub(crate) limit: Option<Duration>,
}

pub(crate) struct Transport {
    configuration: Arc<Configuration>,
    /// By host, or "" for all without TLS.
    clients: Mutex<HashMap<String, Client>>,
}

impl Transport {
    pub(crate) fn new(configuration: Arc<Configuration>) -> Self {
        Self {
            configuration,
            clients: Mutex::default(),
        }
    }

    pub(crate) fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// Sends a request with `authorization`, and follows where the answer leads: without it as soon as that is another origin.
    pub(crate) async fn send(
        &self,
        request: &Request,
        mut authorization: Option<&HeaderValue>,
    ) -> Result<Response, Trouble> {
        let mut url = request.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let response = self.send_once(request, &url, authorization).await?;
            let Some(next) = redirect(&request.method, &response)? else {
                return Ok(response);
            };
            if next.origin() != url.origin() {
                authorization = None;
            }
            url = next;
        }
        let text = format!("it leads on more than {MAX_REDIRECTS} times");
        Err(protocol(&request.url, text).into())
    }

    async fn send_once(
        &self,
        request: &Request,
        url: &Url,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, Trouble> {
        let client = self.client(url).await?;
        let mut builder = client
            .request(request.method.clone(), url.clone())
            .headers(request.headers.clone())
            // Content is digested as it is stored.
            .header(ACCEPT_ENCODING, "identity");
        if let Some(value) = authorization {
            builder = builder.header(AUTHORIZATION, value.clone());
        }
        builder = match &request.content {
            Content::Nothing => builder,
            Content::Bytes(bytes) => builder.body(bytes.clone()),
            Content::Stream(size, make) => builder.header(CONTENT_LENGTH, *size).body(make()),
        };
        let host = host_of(url);
        let sent = match request.limit {
            None => builder.send().await,
            Some(after) => match tokio::time::timeout(after, builder.send()).await {
                Ok(sent) => sent,
                Err(_) => return Err(Trouble::passing(RegistryError::Silent { host, after })),
            },
        };
        sent.map_err(|error| self.failed(url, &error))
    }

    async fn client(&self, url: &Url) -> Result<Client, RegistryError> {
        let host = if url.scheme() == "https" {
            host_of(url)
        } else {
            String::new()
        };
        if let Some(client) = self.clients().get(&host) {
            return Ok(client.clone());
        }
        let (configuration, name) = (Arc::clone(&self.configuration), host.clone());
        let built = tokio::task::spawn_blocking(move || build(&configuration, &name));
        let client = built
            .await
            .unwrap_or_else(|ended| std::panic::resume_unwind(ended.into_panic()))?;
        self.clients().insert(host, client.clone());
        Ok(client)
    }

    /// Why a request found no answer.
    fn failed(&self, url: &Url, error: &reqwest::Error) -> Trouble {
        if error.is_builder() {
            let text = format!("no request can be made to it ({})", innermost(error));
            return protocol(url, text).into();
        }
        let host = host_of(url);
        if !error.is_connect() && tls_error(error).is_none() {
            return broken(host, error);
        }
        let proxy = self.configuration.proxies.of(url).map(shown);
        let patience = self.configuration.patience.connect;
        let unreached = Unreached::new(host, proxy, error, patience);
        if unreached.is_final() {
            RegistryError::Unreachable(unreached).into()
        } else {
            Trouble::passing(RegistryError::Unreachable(unreached))
        }
    }

    fn clients(&self) -> MutexGuard<'_, HashMap<String, Client>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client for `host`, or for all without TLS. Reads files.
fn build(configuration: &Configuration, host: &str) -> Result<Client, RegistryError> {
    let mut builder = Client::builder()
        .user_agent(AGENT)
        .redirect(reqwest::redirect::Policy::none())
        .dns_resolver(Arc::new(SystemNames))
        .connect_timeout(configuration.patience.connect);
    let (roots, pair, provider) = if host.is_empty() {
        (RootCertStore::empty(), None, default_provider())
    } else {
        let provider = default_provider();
        let pair = identity(configuration, host, &provider)?;
        (authorities(configuration, host)?, pair, provider)
    };
    let tls = ClientConfig::builder_with_provider(Arc::new(provider)).with_safe_default_protocol_versions();
    // ring has what these versions need; were it otherwise, reqwest would refuse to build without a provider.
    if let Ok(tls) = tls {
        let tls = tls.with_root_certificates(roots);
        let tls = match pair {
            Some(pair) => tls.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(pair))),
            None => tls.with_no_client_auth(),
        };
        builder = builder.tls_backend_preconfigured(tls);
    }
    let built = configuration.proxies.apply(builder).build();
    built.map_err(RegistryError::Client)
}

/// Where an answer leads that is to be followed: none does to who sends something.
fn redirect(method: &Method, response: &Response) -> Result<Option<Url>, RegistryError> {
    let redirects = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    if !redirects || !matches!(*method, Method::GET | Method::HEAD) {
        return Ok(None);
    }
    let Some(next) = location(response) else {
        let text = "it leads on to nowhere that can be followed".to_owned();
        return Err(protocol(response.url(), text));
    };
    check_downgrade(response.url(), &next)?;
    Ok(Some(next))
}

fn protocol(url: &Url, text: String) -> RegistryError {
    RegistryError::Protocol {
        host: host_of(url),
        text,
    }
}

/// The host of a URL as configuration and messages have it: with its port where that is not the usual one.
pub(crate) fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port()
        .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Where an answer's `Location` is.
pub(crate) fn location(response: &Response) -> Option<Url> {
    let location = response.headers().get(LOCATION)?.to_str().ok()?;
    let url = response.url().join(location).ok()?;
    matches!(url.scheme(), "http" | "https").then_some(url)
}

/// Nothing leads from TLS to plain HTTP.
pub(crate) fn check_downgrade(from: &Url, to: &Url) -> Result<(), RegistryError> {
    if from.scheme() == "https" && to.scheme() == "http" {
        return Err(RegistryError::Downgrade {
            host: host_of(from),
            target: host_of(to),
        });
    }
    Ok(())
}

/// An answer that ended too early.
pub(crate) fn broken(host: String, error: &reqwest::Error) -> Trouble {
    let reason = innermost(error);
    Trouble::passing(RegistryError::Broken { host, reason })
}

//! Why a host could not be reached: one sentence, and what to do about it.
//!
//! The invariant: a person reads which host did not answer, which way was tried (through which proxy, or none) and one cause.
//! The chain of what the libraries beneath said goes to the log alone.

use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind};
use std::time::Duration;

use rustls::{AlertDescription, CertificateError};

use super::http::NoAddress;

/// A host that could not be reached.
#[derive(Debug)]
pub struct Unreached {
    pub host: String,
    /// The proxy that was asked instead, as `SCHEME://HOST:PORT`.
    pub proxy: Option<String>,
    pub reason: Reason,
}

/// What stood in the way. Of a proxy where one is on the way, but for [`Reason::Tls`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Reason {
    /// Nobody knows an address for this name.
    NoAddress {
        name: String,
        said: String,
    },
    /// There is a machine, and nothing listens.
    Refused,
    /// No network leads there.
    NoWay(String),
    /// Nothing came back within this time.
    Silent(Duration),
    Tls(Box<rustls::Error>),
    /// The proxy wants to know who asks.
    ProxyLogin,
    Other(String),
}

impl Unreached {
    /// Understands what the transport said; `patience` is what a connection may take.
    pub(super) fn new(
        host: String,
        proxy: Option<String>,
        error: &reqwest::Error,
        patience: Duration,
    ) -> Self {
        let reason = reason(error, patience);
        let chain: Vec<String> = causes(error).map(ToString::to_string).collect();
        tracing::debug!(host, proxy, ?chain, "a host cannot be reached");
        Self { host, proxy, reason }
    }

    /// Whether trying again is of no use.
    pub(super) fn is_final(&self) -> bool {
        matches!(self.reason, Reason::Tls(_) | Reason::ProxyLogin)
    }

    /// What to do about it: a sentence without its full stop.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        if let Reason::Tls(error) = &self.reason {
            return tls_hint(error).map(str::to_owned);
        }
        if let Some(proxy) = &self.proxy {
            let (scheme, place) = proxy.split_once("://").unwrap_or(("http", proxy));
            return Some(match &self.reason {
                Reason::ProxyLogin => format!(
                    "give the proxy's address with a user: HTTPS_PROXY={scheme}://USER:PASSWORD@{place}"
                ),
                _ => format!(
                    "HTTPS_PROXY, HTTP_PROXY or ALL_PROXY names that proxy; NO_PROXY={} goes past it",
                    name_of(&self.host)
                ),
            });
        }
        let check = match &self.reason {
            Reason::NoAddress { name, .. } => {
                format!("check the name, and this machine's network with `getent hosts {name}`")
            }
            _ if super::config::is_private(&self.host) => {
                return Some("check that the registry runs, and its port".to_owned());
            }
            _ => "check the name and the port, and this machine's network".to_owned(),
        };
        Some(format!(
            "{check}. No proxy is set: where nothing gets out without one, set HTTPS_PROXY, or name a mirror in knaller/registries.yaml"
        ))
    }
}

impl fmt::Display for Unreached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cannot be reached", self.host)?;
        if let Some(proxy) = &self.proxy {
            write!(f, " through the proxy {proxy}")?;
        }
        match &self.reason {
            Reason::NoAddress { name, said } => write!(f, ": no address is known for {name} ({said})"),
            Reason::Refused => f.write_str(": the connection is refused, nothing listens there"),
            Reason::NoWay(said) => write!(f, ": no network leads there ({said})"),
            Reason::Silent(after) => write!(f, ": no answer within {} s", after.as_secs()),
            Reason::Tls(error) => f.write_str(&tls(error)),
            Reason::ProxyLogin => f.write_str(", which wants a user's name and password"),
            Reason::Other(said) => write!(f, ": {said}"),
        }
    }
}

impl Error for Unreached {}

fn name_of(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

fn tls(error: &rustls::Error) -> String {
    use rustls::Error;
    match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            ": nobody known to this machine vouches for its certificate".to_owned()
        }
        Error::InvalidCertificate(error) if is_out_of_date(error) => {
            ": its certificate does not hold today".to_owned()
        }
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => ": its certificate is another host's".to_owned(),
        Error::InvalidMessage(_) => ": it does not speak TLS".to_owned(),
        Error::AlertReceived(alert) if is_about_us(*alert) => {
            format!(": it wants a certificate of this machine that it trusts (TLS alert {alert:?})")
        }
        other => format!(": TLS fails ({other})"),
    }
}

fn tls_hint(error: &rustls::Error) -> Option<&'static str> {
    use rustls::Error;
    match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            Some("if it has an authority of its own, name that by ca in knaller/registries.yaml")
        }
        Error::InvalidCertificate(error) if is_out_of_date(error) => Some(
            "check this machine's clock (`date`); if it is right, the registry's keeper must renew the certificate",
        ),
        Error::InvalidMessage(_) => {
            Some("if it is meant to be without TLS, say plain_http: true of it in knaller/registries.yaml")
        }
        Error::AlertReceived(alert) if is_about_us(*alert) => {
            Some("name a certificate and its key by cert and key in knaller/registries.yaml")
        }
        _ => None,
    }
}

fn is_out_of_date(error: &CertificateError) -> bool {
    matches!(
        error,
        CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. }
    )
}

/// Alerts by which a server refuses a client's certificate, or the lack of one.
fn is_about_us(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
    )
}

fn reason(error: &reqwest::Error, patience: Duration) -> Reason {
    if let Some(error) = tls_error(error) {
        return Reason::Tls(Box::new(error.clone()));
    }
    for cause in causes(error) {
        if let Some(unknown) = cause.downcast_ref::<NoAddress>() {
            return Reason::NoAddress {
                name: unknown.name.clone(),
                said: unknown.said(),
            };
        }
        match cause.downcast_ref::<io::Error>().map(io::Error::kind) {
            Some(ErrorKind::ConnectionRefused) => return Reason::Refused,
            Some(ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable) => {
                return Reason::NoWay(words(cause));
            }
            _ => {}
        }
    }
    // hyper-util has no type of this that others can name.
    let innermost = innermost(error);
    if innermost.contains("proxy authorization required") {
        return Reason::ProxyLogin;
    }
    if error.is_timeout() {
        return Reason::Silent(patience);
    }
    Reason::Other(innermost)
}

/// An error and what led to it, the innermost last.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| {
        // An I/O error gives its contents' source as its own, and passes over the contents.
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(contents) => Some(contents),
            None => error.source(),
        }
    })
}

/// What the innermost cause of a transport's error says.
pub(super) fn innermost(error: &reqwest::Error) -> String {
    causes(error).last().map(words).unwrap_or_default()
}

/// Without the number that the standard library adds.
fn words(error: &(dyn Error + 'static)) -> String {
    let text = error.to_string();
    let end = text.find(" (os error ").unwrap_or(text.len());
    text[..end].to_owned()
}

/// The reason in the chain of a transport's error, where it is TLS.
pub(super) fn tls_error(error: &reqwest::Error) -> Option<&rustls::Error> {
    causes(error).find_map(|cause| cause.downcast_ref::<rustls::Error>())
}

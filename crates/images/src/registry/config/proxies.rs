//! The proxies of the environment.
//!
//! The invariant: `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` mean what they mean to curl and Docker; the lower-case form wins.
//! This machine itself is never asked for through a proxy.

use std::ffi::OsString;

use reqwest::{ClientBuilder, NoProxy, Proxy, Url};

use super::ConfigError;

/// Never reached through a proxy.
const OWN: &str = "localhost,127.0.0.0/8,::1";

/// Where requests go first.
#[derive(Clone, Default)]
pub struct Proxies {
    /// For registries without TLS.
    pub http: Option<Url>,
    /// For registries with TLS.
    pub https: Option<Url>,
    /// Hosts, domains and networks that are reached directly, separated by commas.
    pub none: String,
}

impl Proxies {
    pub(super) fn from_environment(
        variable: &impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, ConfigError> {
        let text = |name: &str| {
            let value = variable(&name.to_lowercase()).or_else(|| variable(name))?;
            let value = value.to_string_lossy().trim().to_owned();
            (!value.is_empty()).then_some(value)
        };
        let all = proxy("ALL_PROXY", text("ALL_PROXY"))?;
        Ok(Self {
            http: proxy("HTTP_PROXY", text("HTTP_PROXY"))?.or_else(|| all.clone()),
            https: proxy("HTTPS_PROXY", text("HTTPS_PROXY"))?.or(all),
            none: text("NO_PROXY").unwrap_or_default(),
        })
    }

    pub(crate) fn apply(&self, builder: ClientBuilder) -> reqwest::Result<ClientBuilder> {
        let none = || NoProxy::from_string(&format!("{OWN},{}", self.none));
        // Nothing but what is said here: reqwest would look at the environment itself.
        let mut builder = builder.no_proxy();
        if let Some(url) = &self.http {
            builder = builder.proxy(Proxy::http(url.clone())?.no_proxy(none()));
        }
        if let Some(url) = &self.https {
            builder = builder.proxy(Proxy::https(url.clone())?.no_proxy(none()));
        }
        Ok(builder)
    }
}

/// A proxy's address may carry a password.
impl std::fmt::Debug for Proxies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let host = |url: &Option<Url>| url.as_ref().and_then(|url| url.host_str().map(str::to_owned));
        f.debug_struct("Proxies")
            .field("http", &host(&self.http))
            .field("https", &host(&self.https))
            .field("none", &self.none)
            .finish()
    }
}

fn proxy(name: &'static str, value: Option<String>) -> Result<Option<Url>, ConfigError> {
    let Some(value) = value else { return Ok(None) };
    // As curl has it: an address without a scheme is an HTTP proxy's.
    let full = if value.contains("://") {
        value.clone()
    } else {
        format!("http://{value}")
    };
    match Url::parse(&full) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(Some(url)),
        _ => Err(ConfigError::Proxy {
            name,
            value: value
                .rsplit_once('@')
                .map_or(value.as_str(), |(_, host)| host)
                .to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(values: &[(&str, &str)]) -> Result<Proxies, ConfigError> {
        Proxies::from_environment(&|name: &str| {
            let found = values.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| value.into())
        })
    }

    #[test]
    fn both_cases_and_all() {
        let proxies = from(&[
            ("HTTPS_PROXY", "http://big.lan:1"),
            ("https_proxy", "small.lan:2"),
            ("ALL_PROXY", "http://all.lan:3"),
            ("no_proxy", ".lan, 10.0.0.0/8"),
        ])
        .unwrap();
        assert_eq!(proxies.https.unwrap().as_str(), "http://small.lan:2/");
        assert_eq!(proxies.http.unwrap().as_str(), "http://all.lan:3/");
        assert_eq!(proxies.none, ".lan, 10.0.0.0/8");
        assert!(from(&[("HTTP_PROXY", "")]).unwrap().http.is_none());
    }

    #[test]
    fn a_wrong_one_is_named_without_its_password() {
        let error = from(&[("HTTPS_PROXY", "socks5://me:hunter2@proxy.lan:1")])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("HTTPS_PROXY") && error.contains("proxy.lan"),
            "{error}"
        );
        assert!(!error.contains("hunter2"));
        let shown = format!(
            "{:?}",
            from(&[("HTTP_PROXY", "http://me:hunter2@proxy.lan")]).unwrap()
        );
        assert!(
            !shown.contains("hunter2") && shown.contains("proxy.lan"),
            "{shown}"
        );
    }
}

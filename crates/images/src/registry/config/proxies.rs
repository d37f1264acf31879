//! The proxies of the environment.
//!
//! The invariant: `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` mean what they mean to curl and Docker; the
//! lower-case form wins. This machine itself is never asked for through a proxy.

use std::ffi::OsString;

use hyper::Uri;
use hyper_util::client::proxy::matcher::Matcher;
use reqwest::{ClientBuilder, Proxy, Url};

use super::ConfigError;

/// Never reached through a proxy.
const OWN: &str = "localhost,127.0.0.0/8,::1";

/// How a proxy is spoken to. With `socks5` names are looked up here, with `socks5h` by the proxy.
const SCHEMES: [&str; 4] = ["http", "https", "socks5", "socks5h"];

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

    /// Where a request to `url` goes first: `None`, to `url` itself.
    pub(crate) fn of(&self, url: &Url) -> Option<&Url> {
        let proxy = match url.scheme() {
            "http" => self.http.as_ref(),
            _ => self.https.as_ref(),
        }?;
        let uri: Uri = url.as_str().parse().ok()?;
        // What it would intercept is of no account, only whether.
        let matcher = Matcher::builder().all("http://proxy").no(self.exceptions(url));
        matcher.build().intercept(&uri).map(|_| proxy)
    }

    /// What is reached directly, for who asks for `url`: of `HOST:PORT` the host alone, and that only if the port is right.
    fn exceptions(&self, url: &Url) -> String {
        let mut exceptions = OWN.to_owned();
        for entry in self.none.split(',').map(str::trim) {
            let entry = entry
                .strip_prefix('*')
                .filter(|rest| rest.starts_with('.'))
                .unwrap_or(entry);
            let host = match entry.rsplit_once(':') {
                Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
                    if port.parse().ok() != url.port_or_known_default() {
                        continue;
                    }
                    host
                }
                _ => entry,
            };
            exceptions.push(',');
            exceptions.push_str(host.trim_start_matches('[').trim_end_matches(']'));
        }
        exceptions
    }

    pub(crate) fn apply(&self, builder: ClientBuilder) -> ClientBuilder {
        let proxies = self.clone();
        // Nothing but what is said here: reqwest would look at the environment itself.
        builder
            .no_proxy()
            .proxy(Proxy::custom(move |url| proxies.of(url).cloned()))
    }
}

/// A proxy's address without what its user proves himself with.
pub(crate) fn shown(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
    format!("{}://{host}{port}", url.scheme())
}

/// A proxy's address may carry a password.
impl std::fmt::Debug for Proxies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let host = |url: &Option<Url>| url.as_ref().map(shown);
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
        Ok(url) if SCHEMES.contains(&url.scheme()) && url.has_host() => Ok(Some(url)),
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
    fn exceptions() {
        let proxies =
            |none: &str| from(&[("ALL_PROXY", "socks5h://proxy.lan:1080"), ("NO_PROXY", none)]).unwrap();
        for (none, url, direct) in [
            ("", "https://a.org/", false),
            ("a.org", "https://a.org/", true),
            ("a.org", "https://A.org/", true),
            ("a.org", "https://b.a.org/", true),
            ("a.org", "https://ba.org/", false),
            (".a.org", "https://b.a.org/", true),
            (".a.org", "https://a.org/", true),
            ("b.org, a.org ,c.org", "https://a.org/", true),
            ("*", "https://a.org/", true),
            ("*.a.org", "https://b.a.org/", true),
            ("*.a.org", "https://c.org/", false),
            ("10.0.0.0/8", "http://10.1.2.3:5000/", true),
            ("10.0.0.0/8", "http://11.1.2.3:5000/", false),
            ("10.1.2.3", "http://10.1.2.3:5000/", true),
            ("fd00::/8", "https://[fd00::1]/", true),
            ("[fd00::1]", "https://[fd00::1]/", true),
            ("[fd00::1]:443", "https://[fd00::1]/", true),
            ("[fd00::1]:444", "https://[fd00::1]/", false),
            ("a.org:5000", "https://a.org:5000/", true),
            ("a.org:5000", "https://a.org:5001/", false),
            ("a.org:443", "https://a.org/", true),
            ("a.org:", "https://a.org/", false),
            // This machine, whatever is said.
            ("", "http://localhost:5000/", true),
            ("", "http://127.1.2.3/", true),
            ("", "https://[::1]/", true),
            ("", "https://localhost.org/", false),
        ] {
            let proxies = proxies(none);
            let url = Url::parse(url).unwrap();
            assert_eq!(proxies.of(&url).is_none(), direct, "{none:?} and {url}");
        }
    }

    #[test]
    fn a_wrong_one_is_named_without_its_password() {
        let error = from(&[("HTTPS_PROXY", "ftp://me:hunter2@proxy.lan:1")])
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

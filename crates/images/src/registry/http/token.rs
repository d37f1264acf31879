//! Tokens: what a token server gives to who proves himself. Protocol: distribution's `spec/auth/token.md` and `oauth.md`.

use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;

use super::answer::{expect, read_body};
use super::retry::Trouble;
use super::session::{Session, basic};
use super::transport::{Content, Request, check_downgrade};
use crate::registry::credentials::Credential;
use crate::registry::error::RegistryError;
use crate::registry::secret::Secret;

const LIMIT: u64 = 256 * 1024;
/// What holds for a server that does not say (token.md, "Token Response Fields").
const LIFETIME: u64 = 60;
/// How long before its end a token is not used any more: requests take time, and clocks differ.
const MARGIN: Duration = Duration::from_secs(5);
const CLIENT: &str = "knaller";

#[derive(Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

/// A token, and until when it serves.
pub(super) struct Token {
    pub(super) secret: Secret,
    pub(super) until: Option<Instant>,
}

/// Who asks for what.
pub(super) struct Question<'a> {
    pub(super) service: Option<&'a str>,
    pub(super) scopes: &'a [String],
    pub(super) credential: Option<&'a Credential>,
}

/// Asks the server `realm` for a token.
pub(super) async fn fetch(session: &Session, realm: &str, question: &Question<'_>) -> Result<Token, Trouble> {
    let protocol = |text: &str| RegistryError::Protocol {
        host: session.host(),
        text: text.to_owned(),
    };
    let url = Url::parse(realm).ok();
    let url = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let url = url.ok_or_else(|| protocol("the token server it names has no address"))?;
    check_downgrade(session.base(), &url)?;

    let asked = Instant::now();
    let after = session.patience().answer;
    let (request, authorization) = match question.credential {
        Some(Credential::Identity(token)) => (refresh(url, question, token, after), None),
        credential => (ask(url, question, after), login(credential)?),
    };
    let work = async {
        let sent = session.transport().send(&request, authorization.as_ref()).await?;
        let response = expect(session, sent, &[StatusCode::OK], "a token").await?;
        read_body(response, LIMIT).await
    };
    let host = session.host();
    let body = tokio::time::timeout(after, work)
        .await
        .map_err(|_| Trouble::passing(RegistryError::Silent { host, after }))??;

    let wrong = || protocol("its token server gave no token");
    let answer: Answer = serde_json::from_slice(&body.ok_or_else(wrong)?).map_err(|_| wrong())?;
    let mut given = [answer.token, answer.access_token].into_iter().flatten();
    let secret = given.find(|token| !token.is_empty()).ok_or_else(wrong)?;
    let seconds = answer.expires_in.filter(|&seconds| seconds > 0);
    let lifetime = Duration::from_secs(seconds.unwrap_or(LIFETIME));
    Ok(Token {
        secret: Secret::new(secret),
        until: asked.checked_add(lifetime.saturating_sub(MARGIN)),
    })
}

/// Name and password go in a header, where no server keeps them in its log.
fn login(credential: Option<&Credential>) -> Result<Option<HeaderValue>, RegistryError> {
    match credential {
        Some(Credential::Password { username, password }) => basic(username, password).map(Some),
        _ => Ok(None),
    }
}

fn ask(mut url: Url, question: &Question<'_>, limit: Duration) -> Request {
    {
        let mut query = url.query_pairs_mut();
        query.append_pair("client_id", CLIENT);
        if let Some(service) = question.service {
            query.append_pair("service", service);
        }
        for scope in question.scopes {
            query.append_pair("scope", scope);
        }
        if let Some(Credential::Password { username, .. }) = question.credential {
            query.append_pair("account", username);
        }
    }
    Request {
        method: Method::GET,
        url,
        headers: HeaderMap::new(),
        content: Content::Nothing,
        limit: Some(limit),
    }
}

fn refresh(url: Url, question: &Question<'_>, token: &Secret, limit: Duration) -> Request {
    // A form is encoded as a query is.
    let mut form = url.clone();
    form.set_query(None);
    form.query_pairs_mut()
        .append_pair("grant_type", "refresh_token")
        .append_pair("refresh_token", token.expose())
        .append_pair("client_id", CLIENT)
        .append_pair("service", question.service.unwrap_or_default())
        .append_pair("scope", &question.scopes.join(" "));
    let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
    Request {
        method: Method::POST,
        url,
        headers: HeaderMap::from_iter([(CONTENT_TYPE, kind)]),
        content: Content::Bytes(Bytes::from(form.query().unwrap_or_default().to_owned())),
        limit: Some(limit),
    }
}

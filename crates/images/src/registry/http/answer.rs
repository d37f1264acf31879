//! What a registry answered: the status it should have, or an error with what it said; bodies with a limit.

use std::time::{Duration, SystemTime};

use reqwest::header::{CONTENT_RANGE, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use serde::Deserialize;

use super::retry::{Again, Trouble, retry_after};
use super::session::Session;
use super::transport::{broken, host_of};
use crate::registry::error::RegistryError;
use crate::registry::text::shown;

/// Of an error's body that is read.
const MAX_ERROR: u64 = 64 * 1024;
/// How long an error's body may take.
const ERROR_PATIENCE: Duration = Duration::from_secs(10);

/// How the specification has errors (distribution specification, "Error Codes").
#[derive(Deserialize)]
struct Errors {
    errors: Vec<Said>,
}

#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// The body, if it has at most `limit` bytes; `None`: it has more.
pub(crate) async fn read_body(mut response: Response, limit: u64) -> Result<Option<Vec<u8>>, Trouble> {
    let host = host_of(response.url());
    let mut body = Vec::new();
    loop {
        let chunk = response.chunk().await;
        let Some(chunk) = chunk.map_err(|error| broken(host.clone(), &error))? else {
            return Ok(Some(body));
        };
        if body.len() as u64 + chunk.len() as u64 > limit {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
}

/// The answer, if its status is one of `wanted`. `what` was asked for.
pub(crate) async fn expect(
    session: &Session,
    response: Response,
    wanted: &[StatusCode],
    what: &str,
) -> Result<Response, Trouble> {
    let status = response.status();
    if wanted.contains(&status) {
        return Ok(response);
    }
    let host = host_of(response.url());
    let asked = response.headers().get(RETRY_AFTER);
    let asked = asked.and_then(|value| value.to_str().ok());
    let wait = asked.and_then(|value| retry_after(value, SystemTime::now()));
    let said = said(response).await;
    let (what, registry) = (what.to_owned(), session.registry().to_owned());
    let passing = status.is_server_error()
        || [StatusCode::TOO_MANY_REQUESTS, StatusCode::REQUEST_TIMEOUT].contains(&status);
    let error = match (status, session.is_anonymous()) {
        (StatusCode::UNAUTHORIZED, true) => RegistryError::Login {
            host,
            registry,
            what,
            said,
        },
        (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) => RegistryError::Denied {
            host,
            registry,
            what,
            said,
        },
        (StatusCode::NOT_FOUND, _) => RegistryError::NotFound { host, what, said },
        (StatusCode::TOO_MANY_REQUESTS, true) => RegistryError::AnonymousRateLimited {
            host,
            registry,
            wait,
            said,
        },
        (StatusCode::TOO_MANY_REQUESTS, false) => RegistryError::RateLimited { host, wait, said },
        _ => RegistryError::Status {
            host,
            what,
            status: status.as_u16(),
            said,
        },
    };
    let again = match wait {
        Some(wait) if passing => Again::After(wait),
        None if passing => Again::Later,
        _ => Again::Never,
    };
    Err(Trouble { error, again })
}

/// What a registry says of its refusal.
async fn said(response: Response) -> String {
    let body = tokio::time::timeout(ERROR_PATIENCE, read_body(response, MAX_ERROR)).await;
    let Ok(Ok(Some(body))) = body else {
        return String::new();
    };
    match serde_json::from_slice::<Errors>(&body) {
        Ok(Errors { errors }) => {
            let texts = errors.into_iter().take(3).map(|said| {
                if said.message.is_empty() {
                    said.code
                } else {
                    said.message
                }
            });
            shown(texts.collect::<Vec<_>>().join("; ").as_bytes())
        }
        // A page of some machine between here and the registry says nothing that a person wants to read.
        Err(_) if body.trim_ascii_start().starts_with(b"<") => String::new(),
        Err(_) => shown(&body),
    }
}

/// `Content-Range: bytes FIRST-LAST/SIZE`: the first byte's number, and the size where it is said (RFC 9110, 14.4).
pub(crate) fn content_range(response: &Response) -> Option<(u64, Option<u64>)> {
    parse_range(response.headers().get(CONTENT_RANGE)?.to_str().ok()?)
}

fn parse_range(value: &str) -> Option<(u64, Option<u64>)> {
    let (range, size) = value.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, _last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    let size = match size {
        "*" => None,
        size => Some(size.parse().ok()?),
    };
    Some((first, size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        assert_eq!(parse_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(parse_range("bytes 5-9/*"), Some((5, None)));
        for wrong in [
            "",
            "bytes */10",
            "bytes 5/10",
            "octets 5-9/10",
            "bytes 5-9",
            "bytes -1-9/10",
            "bytes 5-9/x",
        ] {
            assert_eq!(parse_range(wrong), None, "{wrong}");
        }
    }
}

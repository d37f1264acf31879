//! HTTP requests to API requests and answers to HTTP answers, with the limits and the headers of Firecracker's
//! `micro-http`.

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue, SERVER};
use hyper::{Request, Response, StatusCode};

use super::{Answer, Method};

/// A body that is refused before anybody looks at what it asks for.
#[derive(Debug)]
pub(super) enum Unreadable {
    /// It is larger than the limit.
    TooLarge { size: u64, limit: usize },
    /// The connection broke while it came.
    Broken,
}

/// Reads a whole body. One that announces to be too large is not even begun.
pub(super) async fn read(mut body: Incoming, limit: usize) -> Result<Bytes, Unreadable> {
    let too_large = |size| Unreadable::TooLarge { size, limit };
    let announced = body.size_hint().lower();
    if usize::try_from(announced).is_ok_and(|size| size > limit) {
        return Err(too_large(announced));
    }
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(|_| Unreadable::Broken)?.into_data() {
            bytes.extend_from_slice(&data);
        }
        if bytes.len() > limit {
            return Err(too_large(bytes.len() as u64));
        }
    }
    Ok(bytes.freeze())
}

/// The method, if the API has it at all.
pub(super) fn method<B>(request: &Request<B>) -> Option<Method> {
    match request.method().as_str() {
        "GET" => Some(Method::Get),
        "PUT" => Some(Method::Put),
        "PATCH" => Some(Method::Patch),
        "DELETE" => Some(Method::Delete),
        _ => None,
    }
}

/// Path and query as they stand in the request line.
pub(super) fn path<B>(request: &Request<B>) -> &str {
    request.uri().path_and_query().map_or("", |path| path.as_str())
}

/// What the log says of a request. Metadata may be secret and are left out; a CPU template is long and is left out unless
/// the log tells everything.
pub(super) fn describe(method: Method, path: &str, body: &[u8]) -> String {
    let method = match method {
        Method::Get => "Get",
        Method::Put => "Put",
        Method::Patch => "Patch",
        Method::Delete => "Delete",
    };
    let is_mmds = path.trim_start_matches('/').split('/').next() == Some("mmds");
    if body.is_empty() || is_mmds {
        format!("{method} request on {path:?}")
    } else if path == "/cpu-config" && !tracing::enabled!(tracing::Level::DEBUG) {
        format!(
            "{method} request on {path:?}. To view the CPU template received by the API, configure log-level to DEBUG"
        )
    } else {
        let text = std::str::from_utf8(body).unwrap_or("inconvertible to UTF-8");
        format!("{method} request on {path:?} with body {text:?}")
    }
}

/// Whether the client leaves it open that more requests follow.
pub(super) fn keeps_connection<B>(request: &Request<B>) -> bool {
    request
        .headers()
        .get(CONNECTION)
        .is_none_or(|value| !value.as_bytes().eq_ignore_ascii_case(b"close"))
}

/// Says so, as Firecracker always does.
pub(super) fn keep_connection<B>(response: &mut Response<B>) {
    response
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("keep-alive"));
}

/// An answer with Firecracker's headers.
pub(super) fn respond(answer: &Answer, is_deprecated: bool) -> Response<Full<Bytes>> {
    let (status, body) = answer.render();
    let mut response = response(status, body);
    if is_deprecated {
        response
            .headers_mut()
            .insert("deprecation", HeaderValue::from_static("true"));
    }
    response
}

/// The answer to what fails below the API, in the words (and with the line break inside of JSON) of `micro-http`.
pub(super) fn refuse(why: &str) -> Response<Full<Bytes>> {
    let body = format!("{{ \"error\": \"{why}\nAll previous unanswered requests will be dropped.\" }}");
    response(StatusCode::BAD_REQUEST, Some(body.into_bytes()))
}

fn response(status: StatusCode, body: Option<Vec<u8>>) -> Response<Full<Bytes>> {
    let has_body = body.is_some();
    let mut response = Response::new(Full::new(body.unwrap_or_default().into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(SERVER, HeaderValue::from_static("Firecracker API"));
    if has_body {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    response
}

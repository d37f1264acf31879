//! Which response a request of the guest gets: Firecracker's rules and words (`mmds/mod.rs`), without I/O.

use std::time::Instant;

use firecracker_api::models::MmdsVersion;

use super::document::{self, Format, Unavailable};
use super::http::{Method, Request, Response, invalid_value};
use super::{Metrics, State};

const TOKEN_PATH: &str = "/latest/api/token";
const TOKEN: [&str; 2] = ["x-metadata-token", "x-aws-ec2-metadata-token"];
const TTL: [&str; 2] = [
    "x-metadata-token-ttl-seconds",
    "x-aws-ec2-metadata-token-ttl-seconds",
];
const FORWARDED: [&str; 1] = ["x-forwarded-for"];

const NO_TOKEN: &str = "No MMDS token provided. Use `X-metadata-token` or `X-aws-ec2-metadata-token` header to specify \
                        the session token.";
const NO_TTL: &str = "Token time to live value not found. Use `X-metadata-token-ttl-seconds` or \
                      `X-aws-ec2-metadata-token-ttl-seconds` header to specify the token's lifetime.";

/// Answers a request.
pub(super) fn answer(state: &State, metrics: &Metrics, request: &Request<'_>, now: Instant) -> Response {
    if request.path().is_empty() {
        return request.respond(400, "Invalid URI.");
    }
    match request.method {
        Method::Get => get(state, metrics, request, now),
        Method::Put => give_token(state, request, now),
        Method::Other => {
            let mut response = request.respond(405, "Not allowed HTTP method.");
            response.header = Some(("Allow".into(), "GET, PUT".into()));
            response
        }
    }
}

fn get(state: &State, metrics: &Metrics, request: &Request<'_>, now: Instant) -> Response {
    let refusal = match request.header(&TOKEN) {
        None => {
            metrics.rx_no_token.add(1);
            Some(NO_TOKEN)
        }
        Some((_, token)) if state.tokens.accepts(token, now) => None,
        Some(_) => {
            metrics.rx_invalid_token.add(1);
            Some("MMDS token not valid.")
        }
    };
    // Version 1 counts those who are not ready for version 2, and serves them.
    if let (Some(text), MmdsVersion::V2) = (refusal, state.version) {
        return request.respond(401, text);
    }
    let format = if state.imds_compat {
        Format::Imds
    } else {
        request.accept
    };
    let contents = state.contents.as_ref().unwrap_or(&serde_json::Value::Null);
    match document::read(contents, &one_slash(request.path()), format) {
        Ok(text) => {
            let mut response = request.respond(200, text);
            if request.accept == Format::Json {
                response.content_type = "application/json";
            }
            response
        }
        Err(Unavailable::NotFound) => not_found(request),
        Err(error @ Unavailable::UnsupportedType) => request.respond(501, error.to_string()),
    }
}

fn give_token(state: &State, request: &Request<'_>, now: Instant) -> Response {
    // A request that came through a proxy is not the guest's own.
    if let Some((name, _)) = request.header(&FORWARDED) {
        return request.respond(
            400,
            format!("Invalid header. Reason: Unsupported header name. Key: {name}"),
        );
    }
    if one_slash(request.path()) != TOKEN_PATH {
        return not_found(request);
    }
    let Some((name, value)) = request.header(&TTL) else {
        return request.respond(400, NO_TTL);
    };
    let Ok(ttl) = value.parse() else {
        return request.respond(
            400,
            format!("Invalid header. Reason: {}", invalid_value(name, value)),
        );
    };
    match state.tokens.give(ttl, now) {
        Ok(token) => {
            let mut response = request.respond(200, token);
            response.header = Some((name.to_owned(), ttl.to_string()));
            response
        }
        Err(error) => request.respond(400, error.to_string()),
    }
}

fn not_found(request: &Request<'_>) -> Response {
    request.respond(404, format!("Resource not found: {}.", request.path()))
}

/// Several slashes in a row count as one.
fn one_slash(path: &str) -> String {
    let mut clean = String::with_capacity(path.len());
    for letter in path.chars() {
        if letter != '/' || !clean.ends_with('/') {
            clean.push(letter);
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use firecracker_api::models::MmdsConfig;
    use serde_json::json;

    use super::*;
    use crate::mmds::Mmds;

    fn service(version: MmdsVersion, imds_compat: bool) -> Mmds {
        let mmds = Mmds::new("vm", 51_200).unwrap();
        mmds.configure(&MmdsConfig {
            version,
            imds_compat,
            ..MmdsConfig::default()
        });
        mmds.put(json!({
            "name": {"first": "John", "second": "Doe"},
            "age": 43,
            "phones": {"home": {"RO": "+401234567"}, "mobile": "+442345678"},
        }))
        .unwrap();
        mmds
    }

    /// Status, content type and body.
    fn ask(mmds: &Mmds, now: Instant, line: &str, headers: &[&str]) -> (u16, String, String) {
        let headers: String = headers.iter().flat_map(|header| [*header, "\r\n"]).collect();
        let bytes = mmds.respond(format!("{line} HTTP/1.1\r\n{headers}\r\n").as_bytes(), now);
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let kind = head
            .lines()
            .find_map(|line| line.strip_prefix("Content-Type: "))
            .unwrap();
        assert!(head.contains(&format!("Content-Length: {}", body.len())));
        (status, kind.to_owned(), body.to_owned())
    }

    fn text(status: u16, body: &str) -> (u16, String, String) {
        (status, "text/plain".into(), body.into())
    }

    #[test]
    fn version_1_answers_everybody_and_counts_who_has_no_token() {
        let (mmds, now) = (service(MmdsVersion::V1, false), Instant::now());
        assert_eq!(ask(&mmds, now, "GET /", &[]), text(200, "age\nname/\nphones/"));
        assert_eq!(
            ask(&mmds, now, "GET http://169.254.169.254//name///first", &[]),
            text(200, "John")
        );
        assert_eq!(
            ask(&mmds, now, "GET /name", &["X-metadata-token: nonsense"]).0,
            200
        );
        assert_eq!(
            (
                mmds.metrics().rx_no_token.get(),
                mmds.metrics().rx_invalid_token.get()
            ),
            (2, 1)
        );
        let json = (
            200,
            "application/json".to_owned(),
            r#"{"first":"John","second":"Doe"}"#.to_owned(),
        );
        assert_eq!(ask(&mmds, now, "GET /name/", &["Accept: application/json"]), json);
        assert_eq!(
            ask(&mmds, now, "GET /name/first", &["Accept: */*"]),
            text(200, "John")
        );
    }

    #[test]
    fn version_2_wants_a_token_that_lives() {
        let (mmds, now) = (service(MmdsVersion::V2, false), Instant::now());
        assert_eq!(ask(&mmds, now, "GET /name/first", &[]), text(401, NO_TOKEN));
        assert_eq!(
            ask(&mmds, now, "GET /name/first", &["x-METADATA-token: x"]),
            text(401, "MMDS token not valid.")
        );
        for (ttl, token) in [
            ("X-metadata-token-ttl-seconds", "X-metadata-token"),
            ("X-aws-ec2-metadata-token-ttl-seconds", "X-aws-ec2-metadata-token"),
        ] {
            let (status, _, value) = ask(&mmds, now, "PUT //latest/api//token", &[&format!("{ttl}: 60")]);
            assert_eq!(status, 200);
            let header = format!("{token}: {value}");
            assert_eq!(ask(&mmds, now, "GET /name/first", &[&header]), text(200, "John"));
            let expired = now + Duration::from_secs(60);
            assert_eq!(ask(&mmds, expired, "GET /name/first", &[&header]).0, 401);
        }
    }

    #[test]
    fn a_token_is_only_given_by_the_rules() {
        let now = Instant::now();
        for version in [MmdsVersion::V1, MmdsVersion::V2] {
            let mmds = service(version, false);
            let put = |path: &str, headers: &[&str]| ask(&mmds, now, &format!("PUT {path}"), headers);
            let ttl = "X-metadata-token-ttl-seconds: 60";
            assert_eq!(put(TOKEN_PATH, &[]), text(400, NO_TTL));
            assert_eq!(put("/token", &[ttl]), text(404, "Resource not found: /token."));
            assert_eq!(
                put(TOKEN_PATH, &[ttl, "X-fOrwarded-For: 203.0.113.195"]),
                text(
                    400,
                    "Invalid header. Reason: Unsupported header name. Key: X-fOrwarded-For"
                )
            );
            assert_eq!(
                put(TOKEN_PATH, &["X-metadata-token-ttl-seconds: application/json"]),
                text(
                    400,
                    "Invalid header. Reason: Invalid value. Key:X-metadata-token-ttl-seconds; Value:application/json"
                )
            );
            assert_eq!(
                put(TOKEN_PATH, &["X-metadata-token-ttl-seconds: 0"]),
                text(
                    400,
                    "Invalid time to live value provided for token: 0. Please provide a value between 1 and 21600."
                )
            );
            let answer = mmds.respond(
                format!("PUT {TOKEN_PATH} HTTP/1.0\r\n{ttl}\r\n\r\n").as_bytes(),
                now,
            );
            let answer = String::from_utf8(answer).unwrap();
            assert!(
                answer.starts_with("HTTP/1.0 200 \r\n")
                    && answer.contains("\r\nX-metadata-token-ttl-seconds: 60\r\n")
            );
        }
    }

    #[test]
    fn what_cannot_be_had_is_refused() {
        let (mmds, now) = (service(MmdsVersion::V1, false), Instant::now());
        assert_eq!(
            ask(&mmds, now, "GET //invalid", &[]),
            text(404, "Resource not found: //invalid.")
        );
        let unsupported = "Cannot retrieve value. The value has an unsupported type.";
        assert_eq!(ask(&mmds, now, "GET /age", &[]), text(501, unsupported));
        assert_eq!(ask(&mmds, now, "GET http://", &[]), text(400, "Invalid URI."));
        assert_eq!(
            ask(&mmds, now, "PATCH /name", &[]),
            text(405, "Not allowed HTTP method.")
        );
        let empty = Mmds::new("vm", 100).unwrap();
        assert_eq!(ask(&empty, now, "GET /name", &[]).0, 404);
    }

    #[test]
    fn compatibility_with_ec2_ignores_what_is_accepted() {
        let (mmds, now) = (service(MmdsVersion::V1, true), Instant::now());
        let (status, _, body) = ask(&mmds, now, "GET /name", &["Accept: application/json"]);
        assert_eq!((status, body.as_str()), (200, "first\nsecond"));
    }
}

//! HTTP as Firecracker's `micro-http` speaks it towards the guest: which requests it understands, how it words what it
//! does not, and how its responses look byte for byte.

use std::fmt::Write as _;

use super::document::Format;

/// The largest request, from its first line to the empty one (Firecracker: 2,500 bytes and a byte less).
pub(super) const MAX_REQUEST: usize = 2499;
/// `GET / HTTP/1.0`
const MIN_REQUEST_LINE: usize = 14;

/// Methods that are understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    Put,
    /// Understood and not allowed.
    Other,
}

/// A request of the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request<'a> {
    pub(super) method: Method,
    uri: &'a str,
    version: &'static str,
    /// What the `Accept` header asks for; text if it asks for nothing that is known.
    pub(super) accept: Format,
    headers: Vec<(&'a str, &'a str)>,
}

/// Finds the end of the first request in what has come so far: an empty line.
pub(super) fn find_end(bytes: &[u8]) -> Option<usize> {
    (0..bytes.len())
        .filter(|&at| bytes[at] == b'\n')
        .find_map(|at| match &bytes[at + 1..] {
            [b'\n', ..] => Some(at + 2),
            [b'\r', b'\n', ..] => Some(at + 3),
            _ => None,
        })
}

impl<'a> Request<'a> {
    /// Reads a request, from its first line to its empty one.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, Response> {
        let invalid = || Response::refusal(400, "Invalid request.");
        let (line, rest) = split_once(bytes, b"\r\n").ok_or_else(invalid)?;
        if line.len() < MIN_REQUEST_LINE {
            return Err(invalid());
        }
        let (method, line) = split_once(line, b" ").ok_or_else(invalid)?;
        let (uri, version) = split_once(line, b" ").ok_or_else(invalid)?;
        let method = match method {
            b"GET" => Method::Get,
            b"PUT" => Method::Put,
            b"PATCH" | b"DELETE" => Method::Other,
            _ => return Err(Response::refusal(501, "Unsupported HTTP method.")),
        };
        if uri.is_empty() {
            return Err(Response::refusal(400, "Empty URI not allowed."));
        }
        let uri = str::from_utf8(uri).map_err(|_| Response::refusal(400, "Cannot parse URI as UTF-8."))?;
        let version = match version {
            b"HTTP/1.0" => "HTTP/1.0",
            b"HTTP/1.1" => "HTTP/1.1",
            _ => return Err(Response::refusal(501, "Unsupported HTTP version.")),
        };
        let mut request = Self {
            method,
            uri,
            version,
            accept: Format::Imds,
            headers: Vec::new(),
        };
        if !rest.starts_with(b"\r\n") {
            let (headers, _) = split_once(rest, b"\r\n\r\n").ok_or_else(invalid)?;
            for line in str::from_utf8(headers).map_err(|_| invalid())?.split("\r\n") {
                request.read_header(line)?;
            }
        }
        Ok(request)
    }

    fn read_header(&mut self, line: &'a str) -> Result<(), Response> {
        let invalid = || Response::refusal(400, "Invalid request.");
        let Some((name, value)) = line.split_once(':') else {
            return Err(Response::refusal(
                400,
                &format!("Header is incorrectly formatted. Key: {line}"),
            ));
        };
        match (name.trim().to_ascii_lowercase().as_str(), value.trim()) {
            ("content-length", length) => match length.parse::<u32>() {
                Ok(0) => {}
                // The service takes no bodies.
                Ok(_) => return Err(invalid()),
                Err(_) => return Err(Response::refusal(400, &invalid_value(name, value))),
            },
            ("accept", "application/json") => self.accept = Format::Json,
            ("accept", "text/plain") => self.accept = Format::Imds,
            ("accept-encoding", "") => return Err(invalid()),
            ("accept-encoding", encodings) => {
                for encoding in encodings.split(',') {
                    let refuses_plain = match encoding.trim() {
                        "identity;q=0" => true,
                        "*;q=0" => !encodings.contains("identity"),
                        _ => false,
                    };
                    if refuses_plain {
                        return Err(Response::refusal(
                            400,
                            &invalid_value("Accept-Encoding", encoding),
                        ));
                    }
                }
            }
            ("accept" | "content-type" | "transfer-encoding" | "expect" | "server", _) => {}
            (_, value) => self.headers.push((name.trim(), value)),
        }
        Ok(())
    }

    /// The first header with one of these names (lower case), as the guest spelt it, and its value.
    pub(super) fn header(&self, names: &[&str]) -> Option<(&'a str, &'a str)> {
        self.headers
            .iter()
            .copied()
            .find(|(name, _)| names.iter().any(|wanted| name.eq_ignore_ascii_case(wanted)))
    }

    /// The path, with a host before it or not; empty if there is none.
    pub(super) fn path(&self) -> &'a str {
        let path = match self.uri.strip_prefix("http://") {
            Some(rest) => rest.find('/').and_then(|at| rest.get(at..)).unwrap_or_default(),
            None => self.uri,
        };
        if path.starts_with('/') { path } else { "" }
    }

    /// A response of text in this request's version.
    pub(super) fn respond(&self, status: u16, body: impl Into<String>) -> Response {
        Response {
            version: self.version,
            status,
            content_type: "text/plain",
            header: None,
            body: body.into(),
        }
    }
}

/// What a header's value is called that makes no sense.
pub(super) fn invalid_value(name: &str, value: &str) -> String {
    format!("Invalid value. Key:{name}; Value:{value}")
}

fn split_once<'a>(bytes: &'a [u8], separator: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = bytes
        .windows(separator.len())
        .position(|window| window == separator)?;
    Some((&bytes[..at], &bytes[at + separator.len()..]))
}

/// A response to the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Response {
    version: &'static str,
    pub(super) status: u16,
    pub(super) content_type: &'static str,
    /// One more header.
    pub(super) header: Option<(String, String)>,
    pub(super) body: String,
}

impl Response {
    /// The answer to what is no request: its type is JSON, which it is not, as in Firecracker.
    fn refusal(status: u16, body: &str) -> Self {
        Self {
            version: "HTTP/1.1",
            status,
            content_type: "application/json",
            header: None,
            body: body.to_owned(),
        }
    }

    /// As bytes of HTTP.
    pub(super) fn encode(&self) -> Vec<u8> {
        let Self {
            version,
            status,
            content_type,
            header,
            body,
        } = self;
        let mut text =
            format!("{version} {status} \r\nServer: Firecracker API\r\nConnection: keep-alive\r\n");
        if let Some((name, value)) = header {
            let _ = write!(text, "{name}: {value}\r\n");
        }
        let _ = write!(
            text,
            "Content-Type: {content_type}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        text.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refused(request: &str) -> (u16, String) {
        let response = Request::parse(request.as_bytes()).unwrap_err();
        (response.status, response.body)
    }

    #[test]
    fn requests_are_read() {
        let request = Request::parse(
            b"PUT http://169.254.169.254/latest HTTP/1.0\r\nX-Thing:  a: b \r\naccept: application/json\r\n\r\n",
        )
        .unwrap();
        assert_eq!(
            (request.method, request.path(), request.accept),
            (Method::Put, "/latest", Format::Json)
        );
        assert_eq!(request.header(&["other", "x-thing"]), Some(("X-Thing", "a: b")));
        assert_eq!(request.header(&["other"]), None);
        let path = |uri: &str| {
            Request::parse(format!("GET {uri} HTTP/1.1\r\n\r\n").as_bytes())
                .unwrap()
                .path()
                .to_owned()
        };
        assert_eq!(path("/a//b?c"), "/a//b?c");
        assert_eq!(path("http://host:80/a"), "/a");
        assert_eq!(path("http://host"), "");
        assert_eq!(path("nowhere"), "");
    }

    #[test]
    fn what_is_no_request_is_refused_in_firecrackers_words() {
        let invalid = (400, "Invalid request.".to_owned());
        assert_eq!(refused("GET /\r\n\r\n"), invalid);
        assert_eq!(refused("GET / HTTP/1.1\n\n"), invalid);
        assert_eq!(refused("GET / HTTP/1.1\r\nContent-Length: 5\r\n\r\n"), invalid);
        assert_eq!(
            refused("POST / HTTP/1.1\r\n\r\n"),
            (501, "Unsupported HTTP method.".into())
        );
        assert_eq!(
            refused("GET / HTTP/2.00\r\n\r\n"),
            (501, "Unsupported HTTP version.".into())
        );
        assert_eq!(
            refused("DELETE  HTTP/1.1\r\n\r\n"),
            (400, "Empty URI not allowed.".into())
        );
        assert_eq!(
            refused("GET / HTTP/1.1\r\nnonsense\r\n\r\n"),
            (400, "Header is incorrectly formatted. Key: nonsense".into())
        );
        assert_eq!(
            refused("GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n"),
            (400, "Invalid value. Key:Content-Length; Value: x".into())
        );
        assert_eq!(
            refused("GET / HTTP/1.1\r\nAccept-Encoding: gzip, identity;q=0\r\n\r\n"),
            (
                400,
                "Invalid value. Key:Accept-Encoding; Value: identity;q=0".into()
            )
        );
        assert!(Request::parse(b"GET / HTTP/1.1\r\nAccept-Encoding: identity, *;q=0\r\n\r\n").is_ok());
    }

    #[test]
    fn the_end_of_a_request_is_its_empty_line() {
        assert_eq!(find_end(b"GET / HTTP/1.1\r\n\r\nrest"), Some(18));
        assert_eq!(find_end(b"a\n\nrest"), Some(3));
        assert_eq!(find_end(b"a\r\n\r"), None);
        assert_eq!(find_end(b"a\n"), None);
        assert_eq!(find_end(b""), None);
    }

    #[test]
    fn a_response_looks_as_firecrackers() {
        let request = Request::parse(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        let mut response = request.respond(405, "no");
        response.header = Some(("Allow".into(), "GET, PUT".into()));
        assert_eq!(
            String::from_utf8(response.encode()).unwrap(),
            "HTTP/1.0 405 \r\nServer: Firecracker API\r\nConnection: keep-alive\r\nAllow: GET, PUT\r\n\
             Content-Type: text/plain\r\nContent-Length: 2\r\n\r\nno"
        );
    }

    proptest! {
        #[test]
        fn any_bytes_get_a_request_or_a_refusal(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Request::parse(&bytes);
            if let Some(end) = find_end(&bytes) {
                prop_assert!(end <= bytes.len());
            }
        }

        #[test]
        fn any_header_gets_a_request_or_a_refusal(name in "[a-zA-Z -]{0,20}", value in ".{0,40}") {
            let _ = Request::parse(format!("GET / HTTP/1.1\r\n{name}:{value}\r\n\r\n").as_bytes());
        }
    }
}

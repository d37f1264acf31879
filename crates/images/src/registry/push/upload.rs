//! An upload as the registry sees it: where it goes on, and how far it is (distribution specification, "Pushing blobs").

use bytes::Bytes;
use reqwest::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RANGE};
use reqwest::{Method, Response, Url};

use crate::oci::Digest;
use crate::registry::error::RegistryError;
use crate::registry::http::{Content, Request, Session, check_downgrade, location};

/// The least that a registry takes at once, the end of a blob excepted.
const MIN_LENGTH: HeaderName = HeaderName::from_static("oci-chunk-min-length");

/// A blob that is on its way.
#[derive(Clone, Debug)]
pub(super) struct Upload {
    /// Possibly at another host, which then gets nothing of the user's.
    location: Url,
    /// Bytes that the registry has.
    pub(super) offset: u64,
    /// Bytes, or 0.
    pub(super) least: u64,
    /// Whether some of it is of an attempt that broke off.
    pub(super) resumed: bool,
}

impl Upload {
    /// From the answer to its beginning.
    pub(super) fn begun(session: &Session, response: &Response) -> Result<Self, RegistryError> {
        let location = location(response).ok_or_else(|| RegistryError::Protocol {
            host: session.host(),
            text: "it does not say where to send a blob".to_owned(),
        })?;
        check_downgrade(session.base(), &location)?;
        let least = response.headers().get(MIN_LENGTH);
        let least = least.and_then(|value| value.to_str().ok()?.parse().ok());
        Ok(Self {
            location,
            offset: 0,
            least: least.unwrap_or(0),
            resumed: false,
        })
    }

    /// As the registry says it stands now, that of all bytes before `sent` has had each at least once. `None`: it
    /// cannot be gone on with.
    pub(super) fn after(&self, session: &Session, response: &Response, sent: u64) -> Option<Self> {
        let location = location(response).unwrap_or_else(|| self.location.clone());
        check_downgrade(session.base(), &location).ok()?;
        let range = response.headers().get(RANGE);
        let offset = match range {
            Some(range) => end(range.to_str().ok()?)?,
            None => sent,
        };
        (offset <= sent).then(|| Self {
            location,
            offset,
            ..self.clone()
        })
    }

    /// Asks how far it is.
    pub(super) fn status(&self, session: &Session) -> Request {
        let mut request = self.request(Method::GET, self.location.clone());
        request.limit = Some(session.patience().answer);
        request
    }

    /// Brings the bytes from its offset to before `end`.
    pub(super) fn part(&self, end: u64) -> Request {
        let mut request = self.request(Method::PATCH, self.location.clone());
        // Digits alone.
        let range = Bytes::from(format!("{}-{}", self.offset, end.saturating_sub(1)));
        let range = HeaderValue::from_maybe_shared(range).ok();
        let kind = HeaderValue::from_static("application/octet-stream");
        request.headers.insert(CONTENT_TYPE, kind);
        request.headers.extend(range.map(|range| (CONTENT_RANGE, range)));
        request
    }

    /// Ends it, with whatever of it is not sent yet.
    pub(super) fn end(&self, digest: &Digest) -> Request {
        let mut url = self.location.clone();
        url.query_pairs_mut().append_pair("digest", &digest.to_string());
        let mut request = self.request(Method::PUT, url);
        let kind = HeaderValue::from_static("application/octet-stream");
        request.headers.insert(CONTENT_TYPE, kind);
        request
    }

    fn request(&self, method: Method, url: Url) -> Request {
        Request {
            method,
            url,
            headers: HeaderMap::new(),
            content: Content::Nothing,
            limit: None,
        }
    }
}

/// How many bytes `Range: 0-LAST` means. `0-0` is what registries say of none.
fn end(range: &str) -> Option<u64> {
    let range = range.strip_prefix("bytes=").unwrap_or(range);
    match range.strip_prefix("0-")?.parse().ok()? {
        0 => Some(0),
        last => u64::checked_add(last, 1),
    }
}

#[cfg(test)]
mod tests {
    use super::end;

    #[test]
    fn how_far_it_is() {
        for (range, bytes) in [
            ("0-0", Some(0)),
            ("0-9", Some(10)),
            ("bytes=0-9", Some(10)),
            ("1-9", None),
            ("0-", None),
            ("0--1", None),
            ("", None),
            ("0-18446744073709551615", None),
        ] {
            assert_eq!(end(range), bytes, "{range}");
        }
    }
}

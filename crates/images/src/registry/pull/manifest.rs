//! Manifests and indexes.

use std::str::FromStr as _;

use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, StatusCode};

use crate::oci::media_type::ACCEPTED;
use crate::oci::{Algorithm, Descriptor, Digest, Document, Hasher, MAX_MANIFEST};
use crate::registry::error::RegistryError;
use crate::registry::event::Event;
use crate::registry::http::{Session, Trouble, expect, persistently, read_body};

/// Says by which digest a registry knows what it sent.
const CONTENT_DIGEST: &str = "docker-content-digest";

/// What a place answered: a document that describes an image or several.
pub(super) struct Answered {
    pub(super) descriptor: Descriptor,
    pub(super) bytes: Vec<u8>,
}

/// The manifest or index `wanted` (a tag or a digest) of `size` bytes, where that is known, from the first place that
/// serves it; and which one that was.
pub(super) async fn from_any(
    places: &[Session],
    wanted: &str,
    size: Option<u64>,
    tell: &(dyn Fn(Event) + Send + Sync),
) -> Result<(usize, Answered), RegistryError> {
    let mut last = RegistryError::NoPlace;
    for (number, place) in places.iter().enumerate() {
        let wait = |error: &RegistryError, pause| {
            let why = error.to_string();
            tell(Event::Waiting { why, pause });
        };
        let fetched = persistently(place.patience(), wait, async || {
            let after = place.patience().answer;
            let host = place.host();
            let work = fetch(place, wanted, size);
            let done = tokio::time::timeout(after, work).await;
            done.unwrap_or_else(|_| Err(Trouble::passing(RegistryError::Silent { host, after })))
        });
        match Box::pin(fetched).await {
            Ok(answered) => return Ok((number, answered)),
            Err(error) => {
                if number + 1 < places.len() {
                    let (host, why) = (place.host(), error.to_string());
                    tracing::debug!(host, why, "a mirror does not serve the image");
                    tell(Event::Mirror { host, why });
                }
                last = error;
            }
        }
    }
    Err(last)
}

async fn fetch(place: &Session, wanted: &str, size: Option<u64>) -> Result<Answered, Trouble> {
    let host = place.host();
    let mut request = place.within(Method::GET, &format!("manifests/{wanted}"))?;
    for accepted in ACCEPTED {
        request.headers.append(ACCEPT, HeaderValue::from_static(accepted));
    }
    let mark = if wanted.contains(':') { '@' } else { ':' };
    let what = format!("the image {}{mark}{wanted}", place.repository());
    let response = expect(place, place.send(&request).await?, &[StatusCode::OK], &what).await?;
    let header = |name: &str| {
        let value = response.headers().get(name)?.to_str().ok()?;
        Some(value.to_owned())
    };
    let kind = header(CONTENT_TYPE.as_str()).unwrap_or_default();
    // A tag's content is what the registry says, if it says it in a way that is known; a digest's is what was asked for.
    let by_digest = Digest::from_str(wanted).ok();
    let stated = header(CONTENT_DIGEST).and_then(|digest| Digest::from_str(&digest).ok());
    let limit = size.map_or(MAX_MANIFEST, |size| size.min(MAX_MANIFEST));
    let bytes = read_body(response, limit).await?;
    let bytes = bytes.ok_or_else(|| RegistryError::Protocol {
        host: host.clone(),
        text: format!("its manifest has more than {limit} bytes"),
    })?;
    let expected = by_digest.or(stated);
    let algorithm = expected.as_ref().map_or(Algorithm::Sha256, Digest::algorithm);
    let mut hasher = Hasher::new(algorithm);
    hasher.update(&bytes);
    let found = hasher.finish();
    if let Some(expected) = expected.filter(|expected| *expected != found) {
        return Err(RegistryError::Mismatch {
            host,
            expected,
            found,
        }
        .into());
    }
    // A place that sends something else is passed over; what it means is read later.
    let document = Document::parse(&bytes, &kind);
    let document = document.map_err(|source| RegistryError::Manifest { host, source })?;
    let media_type = match document {
        Document::Manifest(manifest) => manifest.media_type,
        Document::Index(index) => index.media_type,
    };
    Ok(Answered {
        descriptor: Descriptor::new(&media_type, found, bytes.len() as u64),
        bytes,
    })
}

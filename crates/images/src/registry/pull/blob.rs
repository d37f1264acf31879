//! One blob from one place after the other, until it is whole.
//!
//! The invariant: never more bytes are taken than the descriptor says, and a place that sent wrong ones is not asked again.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{CONTENT_LENGTH, HeaderValue, RANGE};
use reqwest::{Method, Response, StatusCode};
use tokio::time::Instant;

use super::sink::{BlobSink, CommitError, SinkError};
use super::writer::Writer;
use crate::oci::Descriptor;
use crate::registry::error::RegistryError;
use crate::registry::event::{BlobState, Progress, Watcher};
use crate::registry::http::{Failures, Session, Trouble, broken, content_range, expect};

/// Fetches a blob into `sink` from the first of `places` that serves it right.
pub(super) async fn fetch<S: BlobSink>(
    places: &[Session],
    blob: &Descriptor,
    sink: &Arc<S>,
    watcher: &Watcher<'_>,
) -> Result<(), RegistryError> {
    let progress = watcher.blob(blob);
    let mut last = None;
    for place in places {
        match from_place(place, blob, sink, &progress).await {
            Ok(state) => {
                progress.end(state);
                return Ok(());
            }
            // Another place cannot help where this machine is at fault.
            Err(error @ RegistryError::Keep { .. }) => return Err(error),
            Err(error) => {
                tracing::debug!(host = place.host(), digest = %blob.digest, %error, "this place did not serve the blob");
                last = Some(error);
            }
        }
    }
    Err(last.unwrap_or(RegistryError::NoPlace))
}

async fn from_place<S: BlobSink>(
    place: &Session,
    blob: &Descriptor,
    sink: &Arc<S>,
    progress: &Progress<'_>,
) -> Result<BlobState, RegistryError> {
    let keep = |source| RegistryError::Keep {
        digest: blob.digest.clone(),
        source,
    };
    loop {
        let Some(writer) = Writer::open(sink, blob).await.map_err(keep)? else {
            return Ok(BlobState::There);
        };
        // What is there may be of another place, and that one may have sent nonsense.
        let inherited = writer.position() > 0;
        progress.from(writer.position());
        let mut fetching = Fetching {
            place,
            blob,
            writer,
            progress,
            ranges: true,
        };
        fetching.all_bytes().await?;
        match fetching.writer.commit().await {
            Ok(()) => return Ok(BlobState::Done),
            Err(CommitError::Failed(error)) => return Err(keep(error)),
            Err(CommitError::Mismatch(_)) if inherited => progress.at(0),
            Err(CommitError::Mismatch(found)) => {
                progress.at(0);
                return Err(RegistryError::Mismatch {
                    host: place.host(),
                    expected: blob.digest.clone(),
                    found,
                });
            }
        }
    }
}

struct Fetching<'a> {
    place: &'a Session,
    blob: &'a Descriptor,
    writer: Writer,
    progress: &'a Progress<'a>,
    /// Whether to ask for the rest alone.
    ranges: bool,
}

impl Fetching<'_> {
    /// Attempts until all bytes are there.
    async fn all_bytes(&mut self) -> Result<(), RegistryError> {
        let mut failures = Failures::from(self.writer.position());
        while self.writer.position() < self.blob.size {
            let Err(trouble) = Box::pin(self.attempt()).await else {
                continue;
            };
            let count = failures.count(self.writer.position());
            let Some(pause) = trouble.pause(count, self.place.patience()) else {
                return Err(trouble.error);
            };
            self.progress.waiting(trouble.error.to_string(), pause);
            tokio::time::sleep(pause).await;
        }
        Ok(())
    }

    async fn attempt(&mut self) -> Result<(), Trouble> {
        let mut request = self
            .place
            .within(Method::GET, &format!("blobs/{}", self.blob.digest))?;
        let from = self.writer.position();
        if from > 0 && self.ranges {
            // Digits alone.
            let range = HeaderValue::from_maybe_shared(Bytes::from(format!("bytes={from}-")));
            request.headers.extend(range.ok().map(|range| (RANGE, range)));
        }
        let response = self.place.send(&request).await?;
        if response.status() == StatusCode::RANGE_NOT_SATISFIABLE && self.ranges {
            self.begin_anew().await?;
            return Err(Trouble::passing(self.protocol("it has no such part of the blob")));
        }
        let wanted = [StatusCode::OK, StatusCode::PARTIAL_CONTENT];
        let what = format!("the blob {}", self.blob.digest);
        let response = expect(self.place, response, &wanted, &what).await?;
        if response.status() == StatusCode::PARTIAL_CONTENT {
            let fits = |(first, size): (u64, Option<u64>)| {
                from > 0 && first == from && size.is_none_or(|size| size == self.blob.size)
            };
            if !content_range(&response).is_some_and(fits) {
                self.begin_anew().await?;
                return Err(Trouble::passing(
                    self.protocol("it sent another part of the blob than asked for"),
                ));
            }
        } else if from > 0 {
            // It knows no parts: all of it comes.
            self.writer.restart().await.map_err(|source| self.keep(source))?;
            self.progress.at(0);
        }
        self.check_length(&response)?;
        self.receive(response).await
    }

    /// A wrong length is told before it is fetched.
    fn check_length(&self, response: &Response) -> Result<(), RegistryError> {
        let length = response.headers().get(CONTENT_LENGTH);
        let length = length.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        match length {
            Some(length) if length != self.blob.size - self.writer.position() => Err(self.size()),
            _ => Ok(()),
        }
    }

    async fn receive(&mut self, mut response: Response) -> Result<(), Trouble> {
        let (after, floor) = (self.place.patience().stall, self.place.patience().floor);
        let mut window = Window::new(after);
        loop {
            let chunk = match tokio::time::timeout_at(window.end, response.chunk()).await {
                Ok(chunk) => chunk.map_err(|error| broken(self.place.host(), &error))?,
                Err(_) if window.got >= floor => {
                    window = Window::new(after);
                    continue;
                }
                Err(_) => {
                    return Err(Trouble::passing(RegistryError::Slow {
                        host: self.place.host(),
                        got: window.got,
                        after,
                    }));
                }
            };
            let Some(chunk) = chunk else { break };
            window.got += chunk.len() as u64;
            if self.writer.position() + chunk.len() as u64 > self.blob.size {
                self.writer.restart().await.map_err(|source| self.keep(source))?;
                return Err(self.size().into());
            }
            let began = Instant::now();
            let written = self.writer.write(chunk).await;
            written.map_err(|source| self.keep(source))?;
            // The registry is not to blame for a slow disk.
            window.end += began.elapsed();
            self.progress.at(self.writer.position());
        }
        if self.writer.position() < self.blob.size {
            return Err(Trouble::passing(self.protocol("the blob ended before its time")));
        }
        Ok(())
    }

    /// From the first byte on, and without asking for parts any more.
    async fn begin_anew(&mut self) -> Result<(), RegistryError> {
        self.ranges = false;
        self.writer.restart().await.map_err(|source| self.keep(source))?;
        self.progress.at(0);
        Ok(())
    }

    fn keep(&self, source: SinkError) -> RegistryError {
        RegistryError::Keep {
            digest: self.blob.digest.clone(),
            source,
        }
    }

    fn size(&self) -> RegistryError {
        RegistryError::Size {
            host: self.place.host(),
            digest: self.blob.digest.clone(),
            expected: self.blob.size,
        }
    }

    fn protocol(&self, text: &str) -> RegistryError {
        RegistryError::Protocol {
            host: self.place.host(),
            text: text.to_owned(),
        }
    }
}

/// A span of time in which a transfer must get on. A byte now and then is no progress.
struct Window {
    end: Instant,
    got: u64,
}

impl Window {
    fn new(span: Duration) -> Self {
        Self {
            end: Instant::now() + span,
            got: 0,
        }
    }
}

//! One blob on its way out.
//!
//! The invariant: what the registry says it has is not sent again, neither the blob nor, after a break, the beginning of it.

use std::sync::Arc;

use reqwest::{Method, StatusCode};

use super::BlobSource;
use super::outflow::Part;
use super::pieces::Pieces;
use super::upload::Upload;
use crate::oci::Descriptor;
use crate::registry::error::RegistryError;
use crate::registry::event::{BlobState, Progress};
use crate::registry::http::{Failures, Session, Trouble, expect};

pub(super) struct Sending<'a, S> {
    pub(super) session: &'a Session,
    pub(super) blob: &'a Descriptor,
    pub(super) source: &'a Arc<S>,
    pub(super) origin: Option<&'a str>,
    pub(super) pieces: &'a Pieces,
    pub(super) progress: Progress<'a>,
}

/// How an upload began.
enum Begun {
    /// And ended at once.
    Over(BlobState),
    Upload(Upload),
}

impl<S: BlobSource> Sending<'_, S> {
    pub(super) async fn whole(self) -> Result<(), RegistryError> {
        // What an attempt left at the registry.
        let mut left = None;
        let mut failures = Failures::from(0);
        loop {
            let trouble = match Box::pin(self.attempt(&mut left)).await {
                Ok(state) => {
                    self.progress.end(state);
                    return Ok(());
                }
                Err(trouble) => trouble,
            };
            let count = failures.count(left.as_ref().map_or(0, |upload| upload.offset));
            let Some(pause) = trouble.pause(count, self.session.patience()) else {
                return Err(trouble.error);
            };
            self.progress.waiting(trouble.error.to_string(), pause);
            tokio::time::sleep(pause).await;
        }
    }

    async fn attempt(&self, left: &mut Option<Upload>) -> Result<BlobState, Trouble> {
        let mut upload = match self.resume(left).await? {
            Some(upload) => upload,
            None => match self.begin().await? {
                Begun::Over(state) => return Ok(state),
                Begun::Upload(upload) => upload,
            },
        };
        self.progress.from(upload.offset);
        loop {
            *left = Some(upload.clone());
            let size = self.pieces.next(self.blob.size - upload.offset, upload.least);
            match self.step(&upload, size).await {
                Ok(None) => return Ok(BlobState::Done),
                Ok(Some(farther)) => upload = farther,
                // The registry may have taken some of it.
                Err(trouble) if self.is_too_much(&trouble, &upload, size) => match self.resume(left).await? {
                    Some(resumed) => upload = resumed,
                    None => return Err(Trouble::passing(trouble.error)),
                },
                // What it kept of a broken attempt may be of no use.
                Err(trouble) if upload.resumed && trouble.is_final() => {
                    *left = None;
                    return Err(Trouble::passing(trouble.error));
                }
                Err(trouble) => {
                    if !matches!(trouble.error, RegistryError::Status { .. }) {
                        self.pieces.broken(size);
                    }
                    return Err(trouble);
                }
            }
        }
    }

    /// Sends the next `size` bytes, and with the last of a blob its end: `None`, where it is over.
    async fn step(&self, upload: &Upload, size: u64) -> Result<Option<Upload>, Trouble> {
        let end = upload.offset + size;
        let last = size == 0 || (upload.offset == 0 && end == self.blob.size);
        let request = if last {
            upload.end(&self.blob.digest)
        } else {
            upload.part(end)
        };
        let part = Part {
            session: self.session,
            blob: self.blob,
            source: self.source,
            range: upload.offset..end,
            progress: &self.progress,
        };
        let response = part.send(request).await?;
        let what = format!("sending the blob {}", self.blob.digest);
        let taken = [StatusCode::CREATED, StatusCode::ACCEPTED, StatusCode::NO_CONTENT];
        let taken = expect(self.session, response, &taken, &what).await?;
        if last {
            return Ok(None);
        }
        let farther = upload.after(self.session, &taken, end);
        let farther = farther.filter(|farther| farther.offset > upload.offset);
        let farther = farther.ok_or_else(|| {
            Trouble::passing(RegistryError::Protocol {
                host: self.session.host(),
                text: "it took a part of a blob, and has no more of it than before".to_owned(),
            })
        })?;
        self.progress.at(farther.offset);
        Ok(Some(farther))
    }

    /// Whether the registry refuses so much at once, and takes less perhaps.
    fn is_too_much(&self, trouble: &Trouble, upload: &Upload, size: u64) -> bool {
        let RegistryError::Status { status, .. } = trouble.error else {
            return false;
        };
        let all = upload.offset == 0 && size == self.blob.size;
        let too_much = status == StatusCode::PAYLOAD_TOO_LARGE.as_u16()
            || (all && status == StatusCode::RANGE_NOT_SATISFIABLE.as_u16());
        too_much && self.pieces.refused(size, upload.least)
    }

    /// What is left of an attempt that broke off, as far as the registry kept it.
    async fn resume(&self, left: &mut Option<Upload>) -> Result<Option<Upload>, Trouble> {
        let Some(upload) = left else { return Ok(None) };
        let response = self.session.send(&upload.status(self.session)).await?;
        let kept = response
            .status()
            .is_success()
            .then(|| upload.after(self.session, &response, self.blob.size))
            .flatten();
        *left = kept.map(|mut upload| {
            upload.resumed = upload.offset > 0;
            upload
        });
        Ok(left.clone())
    }

    async fn begin(&self) -> Result<Begun, Trouble> {
        let digest = &self.blob.digest;
        let there = self.session.within(Method::HEAD, &format!("blobs/{digest}"))?;
        if self.session.send(&there).await?.status() == StatusCode::OK {
            return Ok(Begun::Over(BlobState::There));
        }
        let mut begin = self.session.within(Method::POST, "blobs/uploads/")?;
        if let Some(origin) = self.origin {
            let mut query = begin.url.query_pairs_mut();
            query.append_pair("mount", &digest.to_string());
            query.append_pair("from", origin);
        }
        let answered = [StatusCode::CREATED, StatusCode::ACCEPTED];
        let what = format!("sending the blob {digest}");
        let begun = expect(self.session, self.session.send(&begin).await?, &answered, &what).await?;
        if begun.status() == StatusCode::CREATED {
            return Ok(Begun::Over(BlobState::Mounted));
        }
        Ok(Begun::Upload(Upload::begun(self.session, &begun)?))
    }
}

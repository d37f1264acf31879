//! One blob on its way out.

use std::io::Read;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use http_body_util::StreamBody;
use hyper::body::Frame;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Body, Method, Response, StatusCode, Url};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

use super::BlobSource;
use crate::oci::Descriptor;
use crate::registry::error::RegistryError;
use crate::registry::event::{BlobState, Progress};
use crate::registry::http::{
    Content, Request, Session, Trouble, check_downgrade, expect, location, persistently,
};
use crate::registry::pull::SinkError;

/// Of a blob that is read at once.
const PIECE: usize = 64 * 1024;
/// Pieces that may wait to be sent.
const QUEUE: usize = 8;

pub(super) struct Sending<'a, S> {
    pub(super) session: &'a Session,
    pub(super) blob: &'a Descriptor,
    pub(super) source: &'a Arc<S>,
    pub(super) origin: Option<&'a str>,
    pub(super) progress: Progress<'a>,
}

impl<S: BlobSource> Sending<'_, S> {
    pub(super) async fn whole(self) -> Result<(), RegistryError> {
        let wait = |error: &RegistryError, pause| self.progress.waiting(error.to_string(), pause);
        let state = persistently(self.session.patience(), wait, async || {
            Box::pin(self.attempt()).await
        })
        .await?;
        self.progress.end(state);
        Ok(())
    }

    async fn attempt(&self) -> Result<BlobState, Trouble> {
        self.progress.from(0);
        let digest = &self.blob.digest;
        let there = self.session.within(Method::HEAD, &format!("blobs/{digest}"))?;
        if self.session.send(&there).await?.status() == StatusCode::OK {
            return Ok(BlobState::There);
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
            return Ok(BlobState::Mounted);
        }
        let response = self.put(self.target(&begun)?).await?;
        expect(
            self.session,
            response,
            &[StatusCode::CREATED, StatusCode::NO_CONTENT],
            &what,
        )
        .await?;
        Ok(BlobState::Done)
    }

    /// Where the registry wants the bytes: possibly at another host, which then gets nothing of the user's.
    fn target(&self, begun: &Response) -> Result<Url, RegistryError> {
        let mut target = location(begun).ok_or_else(|| RegistryError::Protocol {
            host: self.session.host(),
            text: "it does not say where to send a blob".to_owned(),
        })?;
        check_downgrade(self.session.base(), &target)?;
        let digest = self.blob.digest.to_string();
        target.query_pairs_mut().append_pair("digest", &digest);
        Ok(target)
    }

    /// Sends the bytes, as long as they move.
    async fn put(&self, url: Url) -> Result<Response, Trouble> {
        let outflow = Arc::new(Flow::default());
        let kind = HeaderValue::from_static("application/octet-stream");
        let request = Request {
            method: Method::PUT,
            url,
            headers: HeaderMap::from_iter([(CONTENT_TYPE, kind)]),
            content: Content::Stream(self.blob.size, self.body(&outflow)),
            limit: None,
        };
        let answered = tokio::select! {
            answered = Box::pin(self.session.send(&request)) => answered,
            error = self.watch(&outflow) => Err(Trouble::passing(error)),
        };
        match lock(&outflow.failure).take() {
            Some(source) if answered.is_err() => Err(RegistryError::Read {
                digest: self.blob.digest.clone(),
                source,
            }
            .into()),
            _ => answered,
        }
    }

    /// Makes the body, which a thread of its own reads.
    fn body(&self, flow: &Arc<Flow>) -> Box<dyn Fn() -> Body + Send + Sync> {
        let (source, blob, flow) = (Arc::clone(self.source), self.blob.clone(), Arc::clone(flow));
        Box::new(move || {
            flow.sent.store(0, Ordering::Relaxed);
            let (sender, receiver) = mpsc::channel(QUEUE);
            let (source, blob, told) = (Arc::clone(&source), blob.clone(), Arc::clone(&flow));
            tokio::task::spawn_blocking(move || {
                if let Err(error) = read(&*source, &blob, &sender) {
                    *lock(&told.failure) = Some(error);
                    // Breaks the request off.
                    let _ = sender.blocking_send(Err(std::io::ErrorKind::UnexpectedEof.into()));
                }
            });
            let flow = Arc::clone(&flow);
            Body::wrap(StreamBody::new(Outflow { receiver, flow }))
        })
    }

    /// Ends when the bytes do not move any more, or nothing comes back after the last of them.
    async fn watch(&self, flow: &Flow) -> RegistryError {
        let (patience, host) = (self.session.patience(), self.session.host());
        let mut ticks = tokio::time::interval(patience.stall);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        let mut before = 0;
        let mut all_sent = None;
        loop {
            ticks.tick().await;
            let sent = flow.sent.load(Ordering::Relaxed);
            self.progress.at(sent);
            if sent >= self.blob.size {
                let since = *all_sent.get_or_insert_with(Instant::now);
                if since.elapsed() >= patience.answer {
                    let after = patience.answer;
                    return RegistryError::Silent { host, after };
                }
            } else if sent.saturating_sub(before) < patience.floor {
                return RegistryError::Slow {
                    host,
                    got: sent.saturating_sub(before),
                    after: patience.stall,
                };
            }
            before = sent;
        }
    }
}

/// What the reading thread and the connection say of one upload.
#[derive(Default)]
struct Flow {
    /// Bytes that the connection has taken.
    sent: AtomicU64,
    failure: Mutex<Option<SinkError>>,
}

fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

type Piece = Result<Bytes, std::io::Error>;

/// Reads a blob piece by piece until it ends or nobody wants more.
fn read(source: &dyn BlobSource, blob: &Descriptor, to: &mpsc::Sender<Piece>) -> Result<(), SinkError> {
    let mut reader = source.open(blob)?;
    loop {
        let mut piece = vec![0; PIECE];
        let count = reader.read(&mut piece)?;
        piece.truncate(count);
        if count == 0 || to.blocking_send(Ok(Bytes::from(piece))).is_err() {
            return Ok(());
        }
    }
}

/// A body as it is read.
struct Outflow {
    receiver: mpsc::Receiver<Piece>,
    flow: Arc<Flow>,
}

impl Stream for Outflow {
    type Item = Result<Frame<Bytes>, std::io::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let piece = std::task::ready!(self.receiver.poll_recv(context));
        if let Some(Ok(bytes)) = &piece {
            self.flow.sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
        Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
    }
}

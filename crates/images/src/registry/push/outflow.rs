//! Bytes of a blob on their way through a connection.
//!
//! The invariant: a transfer that does not get on ends, and what could not be read is told as that, not as the
//! connection's failure.

use std::io::{self, Read};
use std::ops::Range;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use http_body_util::StreamBody;
use hyper::body::Frame;
use reqwest::{Body, Response};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

use super::BlobSource;
use crate::oci::Descriptor;
use crate::registry::error::RegistryError;
use crate::registry::event::Progress;
use crate::registry::http::{Content, Request, Session, Trouble};
use crate::registry::pull::SinkError;

/// Of a blob that is read at once.
const PIECE: usize = 64 * 1024;
/// Pieces that may wait to be sent.
const QUEUE: usize = 8;

/// A part of a blob, and who hears of its progress.
pub(super) struct Part<'a, S> {
    pub(super) session: &'a Session,
    pub(super) blob: &'a Descriptor,
    pub(super) source: &'a Arc<S>,
    pub(super) range: Range<u64>,
    pub(super) progress: &'a Progress<'a>,
}

impl<S: BlobSource> Part<'_, S> {
    /// Sends the bytes as the body of `request`, as long as they move.
    pub(super) async fn send(&self, mut request: Request) -> Result<Response, Trouble> {
        let flow = Arc::new(Flow::default());
        request.content = Content::Stream(self.size(), self.body(&flow));
        request.limit = None;
        let answered = tokio::select! {
            answered = Box::pin(self.session.send(&request)) => answered,
            error = self.watch(&flow) => Err(Trouble::passing(error)),
        };
        match lock(&flow.failure).take() {
            Some(source) if answered.is_err() => Err(RegistryError::Read {
                digest: self.blob.digest.clone(),
                source,
            }
            .into()),
            _ => answered,
        }
    }

    fn size(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// Makes the body, which a thread of its own reads.
    fn body(&self, flow: &Arc<Flow>) -> Box<dyn Fn() -> Body + Send + Sync> {
        let (source, blob, flow) = (Arc::clone(self.source), self.blob.clone(), Arc::clone(flow));
        let range = self.range.clone();
        Box::new(move || {
            flow.sent.store(0, Ordering::Relaxed);
            let (sender, receiver) = mpsc::channel(QUEUE);
            let (source, blob, told) = (Arc::clone(&source), blob.clone(), Arc::clone(&flow));
            let range = range.clone();
            tokio::task::spawn_blocking(move || {
                if let Err(error) = read(&*source, &blob, range, &sender) {
                    *lock(&told.failure) = Some(error);
                    // Breaks the request off.
                    let _ = sender.blocking_send(Err(io::ErrorKind::UnexpectedEof.into()));
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
            self.progress.at(self.range.start + sent);
            if sent >= self.size() {
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

/// What the reading thread and the connection say of one request.
#[derive(Default)]
struct Flow {
    /// Bytes that the connection has taken.
    sent: AtomicU64,
    failure: Mutex<Option<SinkError>>,
}

fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

type Piece = Result<Bytes, io::Error>;

/// Reads a part of a blob piece by piece until it ends or nobody wants more.
fn read(
    source: &dyn BlobSource,
    blob: &Descriptor,
    range: Range<u64>,
    to: &mpsc::Sender<Piece>,
) -> Result<(), SinkError> {
    let mut reader = source.open(blob, range.start)?.take(range.end - range.start);
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
    type Item = Result<Frame<Bytes>, io::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let piece = std::task::ready!(self.receiver.poll_recv(context));
        if let Some(Ok(bytes)) = &piece {
            self.flow.sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
        Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
    }
}

//! The thread that writes and digests one blob while the next bytes come in.
//!
//! The invariant: orders are carried out one after the other. A writer that is dropped before its end leaves its part for a
//! resume.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinHandle, spawn_blocking};

use super::sink::{BlobPart, BlobSink, CommitError, SinkError};
use crate::oci::Descriptor;

/// Chunks that may wait to be written; each is at most what one read from the network gave.
const QUEUE: usize = 16;

enum Order {
    Bytes(Bytes),
    /// Tells when it is done.
    Restart(oneshot::Sender<()>),
    Commit,
}

pub(super) struct Writer {
    orders: mpsc::Sender<Order>,
    /// How much is there.
    position: u64,
    ended: JoinHandle<Result<(), CommitError>>,
}

impl Writer {
    /// `None`: the blob is there already.
    pub(super) async fn open<S: BlobSink>(
        sink: &Arc<S>,
        blob: &Descriptor,
    ) -> Result<Option<Self>, SinkError> {
        let (sink, blob) = (Arc::clone(sink), blob.clone());
        let opened = spawn_blocking(move || {
            let mut part = sink.open(&blob)?;
            if let Some(part) = part.as_mut().filter(|part| part.offset() > blob.size) {
                part.restart()?;
            }
            Ok::<_, SinkError>(part)
        });
        let Some(part) = joined(opened.await)? else {
            return Ok(None);
        };
        let (orders, receiver) = mpsc::channel(QUEUE);
        Ok(Some(Self {
            orders,
            position: part.offset(),
            ended: spawn_blocking(move || obey(receiver, part)),
        }))
    }

    pub(super) fn position(&self) -> u64 {
        self.position
    }

    pub(super) async fn write(&mut self, bytes: Bytes) -> Result<(), SinkError> {
        let length = bytes.len() as u64;
        self.order(Order::Bytes(bytes)).await?;
        self.position += length;
        Ok(())
    }

    /// Returns when nothing is left of what was there: an error that follows may say so.
    pub(super) async fn restart(&mut self) -> Result<(), SinkError> {
        let (done, told) = oneshot::channel();
        self.order(Order::Restart(done)).await?;
        if told.await.is_err() {
            return Err(self.failure().await);
        }
        self.position = 0;
        Ok(())
    }

    pub(super) async fn commit(self) -> Result<(), CommitError> {
        // Where nobody takes the order any more, the end says why.
        let _ = self.orders.send(Order::Commit).await;
        joined(self.ended.await)
    }

    async fn order(&mut self, order: Order) -> Result<(), SinkError> {
        if self.orders.send(order).await.is_ok() {
            return Ok(());
        }
        Err(self.failure().await)
    }

    /// Why the thread takes no orders any more.
    async fn failure(&mut self) -> SinkError {
        match joined((&mut self.ended).await) {
            Err(CommitError::Failed(error)) => error,
            _ => "the writer has ended".into(),
        }
    }
}

/// A panic of the thread is this one's.
fn joined<T>(ended: Result<T, JoinError>) -> T {
    ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

fn obey<P: BlobPart>(mut orders: mpsc::Receiver<Order>, mut part: P) -> Result<(), CommitError> {
    while let Some(order) = orders.blocking_recv() {
        let done = match order {
            Order::Bytes(bytes) => part.write(&bytes),
            Order::Restart(told) => part.restart().map(|()| {
                // Who asked may have gone.
                let _ = told.send(());
            }),
            Order::Commit => return part.commit(),
        };
        done.map_err(CommitError::Failed)?;
    }
    Ok(())
}

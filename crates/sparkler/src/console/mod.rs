//! The guest's serial console: out to a file or standard output, in from standard input.
//!
//! Invariant: the guest never waits for whoever reads its console. What it writes is taken at once; what the reader
//! does not take in time is dropped and counted, as Firecracker drops what a non-blocking write refuses.

mod input;
mod panic;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::task::JoinHandle;

pub use self::input::RawTerminal;
use self::panic::PanicFinder;
use crate::rate::TokenBucket;
use crate::sink::Sink;

/// What went over the console; only ever grows.
#[derive(Debug, Default)]
pub struct Counters {
    /// Bytes the guest wrote that were taken.
    pub written: AtomicU64,
    /// Bytes the guest wrote that the reader did not take in time.
    pub missed: AtomicU64,
    /// Bytes the guest wrote that the rate limiter dropped.
    pub limited: AtomicU64,
    /// Bytes given to the guest.
    pub read: AtomicU64,
}

/// Where the console goes.
#[derive(Debug)]
pub enum Output {
    /// Standard output, with standard input as the other direction.
    Stdio(Sink),
    /// A file or named pipe; no input.
    File(File),
}

impl Output {
    /// Opens a file or named pipe so that neither the opening nor a write waits for a reader.
    pub fn open(path: &Path) -> io::Result<Self> {
        open_nonblock(path).map(Self::File)
    }
}

/// Opens a file or named pipe for writing, made if absent; a named pipe without a reader does not block
/// (`open_file_nonblock` in Firecracker).
pub fn open_nonblock(path: &Path) -> io::Result<File> {
    let nonblock = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .custom_flags(nonblock)
        .open(path)
}

/// A console being served.
#[derive(Debug)]
pub struct Console {
    output: JoinHandle<(Sink, Option<String>)>,
}

impl Console {
    /// Serves a console over the socket to QEMU's serial device.
    pub fn start(
        socket: UnixStream,
        output: Output,
        limiter: Option<TokenBucket>,
        counters: Arc<Counters>,
    ) -> io::Result<Self> {
        let (from_guest, mut to_guest) = socket.into_split();
        let sink = match output {
            Output::Stdio(sink) => {
                let counters = Arc::clone(&counters);
                let mut typed = input::start()?;
                tokio::spawn(async move {
                    while let Some(bytes) = typed.recv().await {
                        if to_guest.write_all(&bytes).await.is_err() {
                            break;
                        }
                        counters.read.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                    }
                    // Nothing more is typed, but dropping the half would hang up on QEMU's serial device.
                    to_guest.forget();
                });
                sink
            }
            Output::File(file) => {
                to_guest.forget();
                Sink::start(OwnedFd::from(file))?
            }
        };
        Ok(Self {
            output: tokio::spawn(pump(from_guest, sink, limiter, counters)),
        })
    }

    /// Waits until everything the guest wrote is out, once QEMU has ended; gives up on a reader that takes nothing.
    /// Returns the line of a kernel panic, if there was one.
    pub async fn drain(self) -> Option<String> {
        let (sink, panic) = self.output.await.ok()?;
        // Waits for a thread, so not on the event loop; it waits for a second without progress at the most.
        let _ = tokio::task::spawn_blocking(move || sink.flush()).await;
        panic
    }
}

async fn pump(
    mut guest: OwnedReadHalf,
    sink: Sink,
    mut limiter: Option<TokenBucket>,
    counters: Arc<Counters>,
) -> (Sink, Option<String>) {
    let mut panics = PanicFinder::default();
    let mut bytes = vec![0; 16 << 10];
    while let Ok(count @ 1..) = guest.read(&mut bytes).await {
        let all = &bytes[..count];
        panics.see(all);
        let allowed = match &mut limiter {
            Some(bucket) => usize::try_from(bucket.take(count as u64, Instant::now())).unwrap_or(count),
            None => count,
        };
        let taken = sink.push(&all[..allowed]);
        counters
            .limited
            .fetch_add((count - allowed) as u64, Ordering::Relaxed);
        counters.written.fetch_add(taken as u64, Ordering::Relaxed);
        counters
            .missed
            .fetch_add((allowed - taken) as u64, Ordering::Relaxed);
    }
    (sink, panics.found())
}

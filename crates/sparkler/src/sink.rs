//! Bytes on their way to a reader that may be slow, or gone.
//!
//! Invariant: [`Sink::push`] never waits. A thread of its own writes, and alone waits; at most `CAPACITY` bytes wait
//! with it. The descriptor's flags are left as they are, since standard output is often shared with others: the guest's
//! console and the log go through one sink there, so neither can be held up by whoever reads them.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use crate::keep::Keep;

/// Most bytes that wait for the reader.
const CAPACITY: usize = 1 << 20;
/// How long a reader may take nothing at the end before the rest is given up.
const PATIENCE: Duration = Duration::from_secs(1);

/// The end bytes are given to; clones share one queue, so what they push stays in order.
#[derive(Debug, Clone)]
pub struct Sink {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<u8>,
    /// Bytes handed to the system so far: shows whether the reader still takes anything.
    written: u64,
    /// The other end is gone: nothing will ever be written again.
    gone: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink {
    /// Starts the thread that writes.
    ///
    /// # Errors
    /// If the system has no thread to give.
    pub fn start(to: OwnedFd) -> io::Result<Self> {
        Self::start_keeping(to, None)
    }

    /// As [`Self::start`], for a file of which only the end is kept.
    ///
    /// # Errors
    /// If the system has no thread to give.
    pub fn start_keeping(to: OwnedFd, keep: Option<Keep>) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("console".to_owned())
            .spawn(move || {
                write_all(&theirs, &to, keep);
                theirs.lock().gone = true;
                theirs.changed.notify_all();
            })?;
        Ok(Self { shared })
    }

    /// Takes as many of the bytes as there is room for; returns how many.
    pub fn push(&self, bytes: &[u8]) -> usize {
        let mut state = self.shared.lock();
        if state.gone {
            return 0;
        }
        let taken = bytes.len().min(CAPACITY - state.waiting.len());
        state.waiting.extend(&bytes[..taken]);
        self.shared.changed.notify_all();
        taken
    }

    /// Waits until all is written, the reader is gone, or it has taken nothing for `PATIENCE`.
    pub fn flush(&self) {
        let mut state = self.shared.lock();
        while !state.waiting.is_empty() && !state.gone {
            let before = state.written;
            let (next, wait) = self
                .shared
                .changed
                .wait_timeout_while(state, PATIENCE, |state| !state.gone && state.written == before)
                .unwrap_or_else(PoisonError::into_inner);
            state = next;
            if wait.timed_out() {
                return;
            }
        }
    }
}

/// Writes whatever comes until the other end is gone.
fn write_all(shared: &Shared, to: &OwnedFd, mut keep: Option<Keep>) {
    loop {
        let idle = |state: &mut State| state.waiting.is_empty();
        let mut state = shared
            .changed
            .wait_while(shared.lock(), idle)
            .unwrap_or_else(PoisonError::into_inner);
        let bytes = state.waiting.make_contiguous().to_vec();
        drop(state);
        let count = match write_some(to, &bytes) {
            Ok(count) => count,
            // What comes until somebody makes room is lost, and not what comes after it.
            Err(Errno::FBIG | Errno::NOSPC | Errno::DQUOT) => bytes.len(),
            Err(_) => return,
        };
        if let Some(keep) = &mut keep {
            keep.written(to, count);
        }
        let mut state = shared.lock();
        state.waiting.drain(..count);
        state.written += count as u64;
        shared.changed.notify_all();
    }
}

fn write_some(to: &OwnedFd, bytes: &[u8]) -> rustix::io::Result<usize> {
    loop {
        match rustix::io::write(to, bytes) {
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                poll(&mut [PollFd::new(to, PollFlags::OUT)], None)?;
            }
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn everything_arrives_in_order() {
        let (read, write) = rustix::pipe::pipe().unwrap();
        let sink = Sink::start(write).unwrap();
        let reader = std::thread::spawn(move || {
            let mut all = vec![0; CAPACITY];
            std::fs::File::from(read).read_exact(&mut all).unwrap();
            all
        });
        let sent: Vec<u8> = (0..300_000u32)
            .flat_map(u32::to_le_bytes)
            .take(CAPACITY)
            .collect();
        assert_eq!(sink.push(&sent), CAPACITY);
        sink.flush();
        assert_eq!(reader.join().unwrap(), sent);
    }

    #[test]
    fn a_reader_that_takes_nothing_costs_its_own_bytes_only() {
        let (_read, write) = rustix::pipe::pipe().unwrap();
        let sink = Sink::start(write).unwrap();
        let mut taken = 0;
        for _ in 0..64 {
            taken += sink.push(&[b'x'; CAPACITY / 16]);
        }
        assert!(taken < 4 * CAPACITY, "the pipe and the queue are full");
        sink.flush();
    }

    #[test]
    fn a_reader_that_is_gone_is_noticed() {
        let (read, write) = rustix::pipe::pipe().unwrap();
        drop(read);
        let sink = Sink::start(write).unwrap();
        assert_eq!(sink.push(b"x"), 1);
        sink.flush();
    }
}

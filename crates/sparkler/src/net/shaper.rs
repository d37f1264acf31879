//! A limit put on a direction of an interface whose guest already runs.
//!
//! Such an interface's TAP is QEMU's own, so its frames are led through this process by a `filter-redirector`: out by one
//! socket, back by another.
//!
//! Invariants:
//! - what QEMU sends is read at once, always: QEMU's whole main loop waits for whoever does not read a redirector;
//! - frames keep their order; at most [`MAX_WAITING`] bytes wait, and what comes while so many wait is dropped, as a
//!   network does that is too slow. (A limit that was there from the start holds the guest back instead: `pump`.)
//!
//! Source of the format: `net/filter-mirror.c` of QEMU 7.2: the frame's length, the length of the virtio-net header in
//! it, both big-endian, then the frame.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use firecracker_api::models;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;

use crate::rate_limiter::RateLimiter;

/// Bytes before each frame.
const HEAD: usize = 8;
/// Longest frame: 64 KiB of a segmentation offload and its headers.
const MAX_FRAME: usize = 1 << 17;
/// Most bytes that wait for tokens.
const MAX_WAITING: usize = 1 << 18;

/// A limit at work on one direction. Dropping it ends its thread; QEMU then lets the frames pass unlimited.
#[derive(Debug)]
pub struct Shaper {
    updates: Option<Sender<models::RateLimiter>>,
    wake: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Shaper {
    /// Starts limiting what comes from one socket before it goes to the other.
    pub fn start(from: UnixStream, to: UnixStream, limiter: &models::RateLimiter) -> io::Result<Self> {
        from.set_nonblocking(true)?;
        to.set_nonblocking(true)?;
        let wake = Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?);
        let (updates, receiver) = channel();
        let worker = Worker {
            from,
            to,
            wake: Arc::clone(&wake),
            updates: receiver,
            limiter: RateLimiter::new(Some(limiter), Instant::now()),
            flow: Flow::default(),
        };
        let thread = Builder::new().name("net".into()).spawn(move || worker.run())?;
        Ok(Self {
            updates: Some(updates),
            wake,
            thread: Some(thread),
        })
    }

    /// Changes the limit, bucket by bucket.
    pub fn update(&self, limiter: models::RateLimiter) {
        if let Some(updates) = &self.updates {
            // Once QEMU is gone there is nothing left to limit.
            let _ = updates.send(limiter);
            self.wake();
        }
    }

    fn wake(&self) {
        let _ = rustix::io::write(&*self.wake, &1u64.to_ne_bytes());
    }
}

impl Drop for Shaper {
    fn drop(&mut self) {
        self.updates = None;
        self.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Bytes on their way: what has arrived, whole frames that wait, what is being sent.
#[derive(Debug, Default)]
struct Flow {
    arrived: Vec<u8>,
    waiting: VecDeque<Vec<u8>>,
    waiting_bytes: usize,
    leaving: Vec<u8>,
}

/// The stream from QEMU is not frames.
#[derive(Debug, PartialEq, Eq)]
struct NotFrames;

impl Flow {
    /// Takes what has arrived; frames that find no room are dropped.
    fn push(&mut self, bytes: &[u8]) -> Result<(), NotFrames> {
        self.arrived.extend_from_slice(bytes);
        let mut used = 0;
        while let Some(length) = self.arrived[used..].first_chunk::<4>() {
            let length = u32::from_be_bytes(*length) as usize;
            if length > MAX_FRAME {
                return Err(NotFrames);
            }
            let end = used + HEAD + length;
            let Some(frame) = self.arrived.get(used..end) else {
                break;
            };
            if self.waiting_bytes + frame.len() <= MAX_WAITING {
                self.waiting_bytes += frame.len();
                self.waiting.push_back(frame.to_vec());
            }
            used = end;
        }
        self.arrived.drain(..used);
        Ok(())
    }

    /// Lets the next frames leave as far as the limit allows; says how long the first that may not has to wait.
    fn release(&mut self, limiter: &mut RateLimiter, now: Instant) -> Option<Duration> {
        while self.leaving.is_empty() {
            let frame = self.waiting.front()?;
            if let Err(wait) = limiter.pass((frame.len() - HEAD) as u64, now) {
                return Some(wait);
            }
            self.leaving = self.waiting.pop_front()?;
            self.waiting_bytes -= self.leaving.len();
        }
        None
    }
}

struct Worker {
    from: UnixStream,
    to: UnixStream,
    wake: Arc<OwnedFd>,
    updates: Receiver<models::RateLimiter>,
    limiter: RateLimiter,
    flow: Flow,
}

impl Worker {
    fn run(mut self) {
        while self.turn().is_ok() {}
    }

    /// One turn; an error ends the thread: QEMU is gone, or the limit was taken back.
    fn turn(&mut self) -> Result<(), Errno> {
        let wait = self.flow.release(&mut self.limiter, Instant::now());
        let to = if self.flow.leaving.is_empty() {
            PollFlags::empty()
        } else {
            PollFlags::OUT
        };
        let timeout = wait.and_then(|wait| Timespec::try_from(wait).ok());
        let mut polled = [
            PollFd::new(&self.from, PollFlags::IN),
            PollFd::new(&self.to, to),
            PollFd::new(&*self.wake, PollFlags::IN),
        ];
        match poll(&mut polled, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
        let ready = polled.map(|fd| !fd.revents().is_empty());
        if ready[2] {
            self.take_updates()?;
        }
        if ready[0] {
            self.receive()?;
        }
        if ready[1] {
            self.send()?;
        }
        Ok(())
    }

    fn take_updates(&mut self) -> Result<(), Errno> {
        let _ = rustix::io::read(&*self.wake, &mut [0; 8]);
        loop {
            match self.updates.try_recv() {
                Ok(limiter) => self.limiter.update(&limiter, Instant::now()),
                Err(TryRecvError::Empty) => return Ok(()),
                Err(TryRecvError::Disconnected) => return Err(Errno::CANCELED),
            }
        }
    }

    fn receive(&mut self) -> Result<(), Errno> {
        let mut bytes = [0; 1 << 16];
        match rustix::io::read(&self.from, &mut bytes) {
            Ok(0) => Err(Errno::PIPE),
            Ok(count) => self.flow.push(&bytes[..count]).map_err(|NotFrames| {
                tracing::error!("A network interface's limit ends: QEMU sent what is no frame");
                Errno::PROTO
            }),
            Err(Errno::AGAIN | Errno::INTR) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn send(&mut self) -> Result<(), Errno> {
        match rustix::io::write(&self.to, &self.flow.leaving) {
            Ok(count) => {
                self.flow.leaving.drain(..count);
                Ok(())
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use firecracker_api::models::TokenBucket;
    use proptest::prelude::*;

    use super::*;

    fn frame(length: usize, byte: u8) -> Vec<u8> {
        let mut frame = u32::try_from(length).unwrap().to_be_bytes().to_vec();
        frame.extend(12u32.to_be_bytes());
        frame.resize(HEAD + length, byte);
        frame
    }

    fn limiter(size: u64, refill_time: u64) -> models::RateLimiter {
        let bucket = TokenBucket {
            size,
            one_time_burst: None,
            refill_time,
        };
        models::RateLimiter {
            bandwidth: Some(bucket),
            ops: None,
        }
    }

    proptest! {
        #[test]
        fn frames_pass_whole_and_in_order(lengths in prop::collection::vec(0usize..2000, 0..40), cut in 1usize..5000) {
            let frames: Vec<_> = (0u8..).zip(&lengths).map(|(byte, length)| frame(*length, byte)).collect();
            let mut flow = Flow::default();
            let mut none = RateLimiter::default();
            let mut seen = Vec::new();
            for part in frames.concat().chunks(cut) {
                flow.push(part).unwrap();
                while flow.release(&mut none, Instant::now()).is_none() && !flow.leaving.is_empty() {
                    seen.push(std::mem::take(&mut flow.leaving));
                }
            }
            prop_assert_eq!(seen, frames);
        }

        #[test]
        fn any_bytes_are_taken_or_refused_and_the_rest_is_bounded(bytes in prop::collection::vec(any::<u8>(), 0..4000)) {
            let mut flow = Flow::default();
            let _ = flow.push(&bytes);
            prop_assert!(flow.waiting_bytes <= MAX_WAITING);
        }
    }

    #[test]
    fn what_finds_no_room_is_dropped() {
        let mut flow = Flow::default();
        for byte in 0..200 {
            flow.push(&frame(4000, byte)).unwrap();
        }
        assert_eq!(flow.waiting.len(), MAX_WAITING / 4008);
        assert_eq!(flow.push(&u32::MAX.to_be_bytes()), Err(NotFrames));
    }

    #[test]
    fn a_limit_holds_and_can_be_changed() {
        let (mut qemu_out, from) = UnixStream::pair().unwrap();
        let (mut qemu_in, to) = UnixStream::pair().unwrap();
        qemu_in.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let shaper = Shaper::start(from, to, &limiter(1000, 3_600_000)).unwrap();
        qemu_out
            .write_all(&[frame(900, 1), frame(900, 2)].concat())
            .unwrap();
        let mut first = vec![0; HEAD + 900];
        qemu_in.read_exact(&mut first).unwrap();
        assert_eq!(first, frame(900, 1));
        qemu_in.set_nonblocking(true).unwrap();
        assert!(
            qemu_in.read(&mut [0]).is_err(),
            "the second has to wait for an hour"
        );
        qemu_in.set_nonblocking(false).unwrap();
        shaper.update(limiter(0, 0));
        let mut second = vec![0; HEAD + 900];
        qemu_in.read_exact(&mut second).unwrap();
        assert_eq!(second, frame(900, 2));
        drop(shaper);
        assert_eq!(qemu_in.read(&mut [0]).unwrap(), 0, "its sockets are closed");
    }
}

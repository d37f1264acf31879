//! The thread that moves an interface's frames between QEMU and the TAP, through limits and past the metadata service.
//!
//! Invariants:
//! - a frame for the metadata service never reaches the TAP, and costs no tokens;
//! - frames keep their order; one that has to wait, for tokens or for room, makes all behind it wait, and its source is
//!   not read meanwhile: nothing is dropped that the other side would have waited for;
//! - the thread sleeps unless a descriptor it can act on is ready or a deadline has come.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tracing::{debug, warn};

use super::frames::{MAX_FRAME, Reader, Writer};
use super::metrics::Metrics;
use super::tap::{MAX_HEADER, Moved, Tap};
use super::{Limits, Update};
use crate::mmds::Stack;
use crate::rate_limiter::RateLimiter;

/// Frames from the TAP before the other direction has its turn.
const TURN: usize = 64;
/// Bytes a frame counts for beyond its own: Firecracker counts its virtio-net header too.
const OVERHEAD: u64 = 12;
const ETHERNET_HEADER: usize = 14;

/// Why the front frame of a direction waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// It does not.
    No,
    /// For tokens.
    Tokens(Instant),
    /// For room at the TAP; its tokens are paid.
    Room,
}

enum End {
    /// QEMU is gone, or the pump was told to stop.
    Quiet,
    Broken(String),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Broken(error.to_string())
    }
}

/// What a pump is made of.
pub(super) struct Parts {
    pub(super) id: String,
    pub(super) tap: Tap,
    pub(super) qemu: UnixStream,
    /// Readable when there is an update, or when [`Parts::updates`] has been closed.
    pub(super) wake: Arc<OwnedFd>,
    pub(super) updates: Receiver<Update>,
    pub(super) stack: Option<Stack>,
    /// The guest's address, if it is known.
    pub(super) mac: Option<[u8; 6]>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) limits: Limits,
}

/// What the thread owns.
pub(super) struct Pump {
    parts: Parts,
    rx: RateLimiter,
    tx: RateLimiter,
    from_qemu: Reader,
    to_qemu: Writer,
    from_tap: Box<[u8; MAX_HEADER + MAX_FRAME]>,
    /// Bytes of the frame in `from_tap` that waits for tokens.
    held: Option<usize>,
    rx_wait: Wait,
    tx_wait: Wait,
    tap_is_gone: bool,
    stack_due: Option<Instant>,
}

/// What is ready.
#[derive(Clone, Copy, Debug)]
struct Ready {
    wake: bool,
    qemu: PollFlags,
    tap: PollFlags,
}

impl Pump {
    pub(super) fn new(parts: Parts, now: Instant) -> Self {
        Self {
            rx: RateLimiter::new(parts.limits.rx.as_ref(), now),
            tx: RateLimiter::new(parts.limits.tx.as_ref(), now),
            from_qemu: Reader::new(),
            to_qemu: Writer::default(),
            from_tap: Box::new([0; MAX_HEADER + MAX_FRAME]),
            held: None,
            rx_wait: Wait::No,
            tx_wait: Wait::No,
            tap_is_gone: false,
            stack_due: None,
            parts,
        }
    }

    /// Serves until QEMU closes its end or the updates' sender is gone.
    pub(super) fn run(mut self) {
        loop {
            match self.turn() {
                Ok(()) => {}
                Err(End::Quiet) => return,
                Err(End::Broken(why)) => {
                    warn!("the network interface {} stops: {why}", self.parts.id);
                    return;
                }
            }
        }
    }

    fn turn(&mut self) -> Result<(), End> {
        let ready = self.wait()?;
        let now = Instant::now();
        if ready.wake {
            self.take_updates(now)?;
        }
        for wait in [&mut self.rx_wait, &mut self.tx_wait] {
            if matches!(*wait, Wait::Tokens(at) if at <= now) {
                *wait = Wait::No;
            }
        }
        if ready.tap.contains(PollFlags::OUT) && self.tx_wait == Wait::Room {
            self.write_tap_again()?;
        }
        if ready.qemu.contains(PollFlags::IN) && !self.from_qemu.fill(&self.parts.qemu)? {
            return Err(End::Quiet);
        }
        if ready.qemu.intersects(PollFlags::HUP | PollFlags::ERR) {
            return Err(End::Quiet);
        }
        self.move_guests_frames(now)?;
        self.move_services_frames(now);
        self.move_taps_frames(now);
        match self.to_qemu.flush(&self.parts.qemu) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(End::Quiet),
            Err(error) => Err(error.into()),
        }
    }

    fn wait(&self) -> Result<Ready, End> {
        let mut qemu = PollFlags::empty();
        let mut tap = PollFlags::empty();
        if self.tx_wait == Wait::No {
            qemu |= PollFlags::IN;
        }
        if !self.to_qemu.is_empty() {
            qemu |= PollFlags::OUT;
        }
        if self.rx_wait == Wait::No && self.to_qemu.has_room() {
            tap |= PollFlags::IN;
        }
        if self.tx_wait == Wait::Room {
            tap |= PollFlags::OUT;
        }
        let mut fds = [
            PollFd::new(&*self.parts.wake, PollFlags::IN),
            PollFd::new(&self.parts.qemu, qemu),
            PollFd::new(&self.parts.tap, tap),
        ];
        // A TAP nobody waits for may still report an error, over and over.
        let watched = if self.tap_is_gone || tap.is_empty() { 2 } else { 3 };
        let deadline = [self.rx_wait, self.tx_wait]
            .into_iter()
            .filter_map(|wait| match wait {
                Wait::Tokens(at) => Some(at),
                Wait::No | Wait::Room => None,
            })
            .chain(self.stack_due)
            .min();
        let timeout = deadline
            .map(|at| at.saturating_duration_since(Instant::now()))
            .and_then(|timeout| Timespec::try_from(timeout).ok());
        match poll(fds.get_mut(..watched).unwrap_or_default(), timeout.as_ref()) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(io::Error::from(error).into()),
        }
        let [wake, qemu, tap] = &fds;
        Ok(Ready {
            wake: !wake.revents().is_empty(),
            qemu: qemu.revents(),
            tap: tap.revents(),
        })
    }

    fn take_updates(&mut self, now: Instant) -> Result<(), End> {
        let mut counter = [0; 8];
        let _ = rustix::io::read(&*self.parts.wake, &mut counter);
        loop {
            match self.parts.updates.try_recv() {
                Ok(Update { rx, tx }) => {
                    // What waits for the old buckets asks the new ones.
                    if let Some(rx) = rx {
                        self.rx.update(&rx, now);
                        self.rx_wait = Wait::No;
                    }
                    if let Some(tx) = tx {
                        self.tx.update(&tx, now);
                        if matches!(self.tx_wait, Wait::Tokens(_)) {
                            self.tx_wait = Wait::No;
                        }
                    }
                }
                Err(TryRecvError::Empty) => return Ok(()),
                Err(TryRecvError::Disconnected) => return Err(End::Quiet),
            }
        }
    }

    /// From QEMU to the service or the TAP.
    fn move_guests_frames(&mut self, now: Instant) -> Result<(), End> {
        while self.tx_wait == Wait::No {
            let frame = self
                .from_qemu
                .frame()
                .map_err(|error| End::Broken(error.to_string()))?;
            let Some(frame) = frame else { return Ok(()) };
            let len = frame.len();
            match &mut self.parts.stack {
                Some(stack) if stack.claims(frame) => stack.receive(frame, now),
                _ if len < ETHERNET_HEADER => self.parts.metrics.tx_malformed_frames.add(1),
                _ => {
                    if let Err(wait) = self.tx.pass(len as u64 + OVERHEAD, now) {
                        self.parts.metrics.tx_rate_limiter_throttled.add(1);
                        self.tx_wait = Wait::Tokens(now + wait);
                        return Ok(());
                    }
                    if self.parts.mac.is_some_and(|mac| frame.get(6..12) != Some(&mac)) {
                        self.parts.metrics.tx_spoofed_mac_count.add(1);
                    }
                    let moved = self.parts.tap.write(frame);
                    if moved == Moved::Later {
                        self.tx_wait = Wait::Room;
                        return Ok(());
                    }
                    self.count_written(&moved);
                }
            }
            self.from_qemu.consume(len);
        }
        Ok(())
    }

    /// The front frame has its tokens; only the TAP had no room.
    fn write_tap_again(&mut self) -> Result<(), End> {
        let frame = self
            .from_qemu
            .frame()
            .map_err(|error| End::Broken(error.to_string()))?;
        let Some(frame) = frame else { return Ok(()) };
        let len = frame.len();
        let moved = self.parts.tap.write(frame);
        if moved != Moved::Later {
            self.tx_wait = Wait::No;
            self.count_written(&moved);
            self.from_qemu.consume(len);
        }
        Ok(())
    }

    fn count_written(&mut self, moved: &Moved) {
        let metrics = &self.parts.metrics;
        match moved {
            Moved::Frame(len) => {
                metrics.tx_packets_count.add(1);
                metrics.tx_bytes_count.add(*len as u64);
            }
            Moved::Dropped | Moved::Later => metrics.tap_write_fails.add(1),
            Moved::Gone => {
                metrics.tap_write_fails.add(1);
                self.lose_tap();
            }
        }
    }

    /// The guest keeps its interface, and the service: only nothing comes from or goes to the host any more.
    fn lose_tap(&mut self) {
        if !self.tap_is_gone {
            debug!("the TAP of the network interface {} is gone", self.parts.id);
            self.tap_is_gone = true;
        }
    }

    /// From the service to QEMU.
    fn move_services_frames(&mut self, now: Instant) {
        let Some(stack) = &mut self.parts.stack else {
            return;
        };
        self.stack_due = stack.poll(now);
        while self.to_qemu.has_room() {
            let Some(frame) = stack.next_frame() else { return };
            self.to_qemu.push(&frame);
            // Room for a frame may be all that one more was waiting for.
            self.stack_due = stack.poll(now);
        }
    }

    /// From the TAP to QEMU.
    fn move_taps_frames(&mut self, now: Instant) {
        for _ in 0..TURN {
            if self.rx_wait != Wait::No || !self.to_qemu.has_room() || self.tap_is_gone {
                return;
            }
            let len = match self.held.take() {
                Some(len) => len,
                None => match self.parts.tap.read(&mut self.from_tap) {
                    Moved::Frame(len) => len,
                    Moved::Later => return,
                    Moved::Dropped => continue,
                    Moved::Gone => return self.lose_tap(),
                },
            };
            if let Err(wait) = self.rx.pass(len as u64 + OVERHEAD, now) {
                self.parts.metrics.rx_rate_limiter_throttled.add(1);
                self.rx_wait = Wait::Tokens(now + wait);
                self.held = Some(len);
                return;
            }
            self.parts.metrics.rx_packets_count.add(1);
            self.parts.metrics.rx_bytes_count.add(len as u64);
            self.to_qemu.push(self.from_tap.get(..len).unwrap_or_default());
        }
    }
}

//! A network interface whose frames pass through this process: where a limit or the metadata service asks for it. Any
//! other interface's TAP is given to QEMU as it is, which is faster.
//!
//! Invariants: frames move between one TAP and one QEMU, in order and unchanged; limits hold from the first frame on
//! and may be changed at any time; what is for the metadata service is answered here and never leaves.
//!
//! | module | what it does |
//! |---|---|
//! | `frames` | frames on QEMU's stream |
//! | `tap` | frames at the TAP |
//! | `pump` | the thread between |
//! | `shaper` | a limit put on an interface without a pump |

mod frames;
mod metrics;
mod pump;
mod shaper;
mod tap;

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::{Builder, JoinHandle};
use std::time::Instant;

use firecracker_api::models::{MacAddress, RateLimiter};
use rustix::event::{EventfdFlags, eventfd};

pub use metrics::Metrics;
pub use shaper::Shaper;

use crate::mmds::{Mmds, Stack};

/// The guest's default, where no other MTU is configured.
pub const DEFAULT_MTU: u16 = 1500;

/// Why an interface cannot be pumped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The TAP cannot be told to give plain frames.
    #[error("cannot set up the TAP of the network interface {0}")]
    Tap(String, #[source] io::Error),
    /// Its thread or a descriptor of it cannot be had.
    #[error("cannot start the network interface {0}")]
    Start(String, #[source] io::Error),
}

/// Limits of both directions, seen from the guest.
#[derive(Debug, Clone, Default)]
pub struct Limits {
    /// On what the guest receives.
    pub rx: Option<RateLimiter>,
    /// On what the guest sends.
    pub tx: Option<RateLimiter>,
}

/// New limits for a running interface: what is not named stays.
type Update = Limits;

/// What an interface is made of.
#[derive(Debug)]
pub struct Config {
    /// Its id, for the log.
    pub id: String,
    /// The host's end: an open TAP, or anything that gives and takes a frame at a time.
    pub tap: OwnedFd,
    /// Bytes of virtio-net header before each of the TAP's frames: 12, or 0 for none.
    pub tap_header: usize,
    /// QEMU's end: the other side is its `-netdev stream,addr.type=fd`.
    pub qemu: UnixStream,
    /// The guest's address, if it is configured.
    pub mac: Option<MacAddress>,
    /// The interface's MTU.
    pub mtu: u16,
    /// Its limits.
    pub limits: Limits,
    /// The metadata service and its address, where the interface reaches it.
    pub mmds: Option<(Mmds, Ipv4Addr)>,
}

/// An interface at work. Dropping it ends its thread; the guest's interface then has no link to anything.
#[derive(Debug)]
pub struct Pump {
    updates: Option<Sender<Update>>,
    wake: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
    metrics: Arc<Metrics>,
}

impl Pump {
    /// Starts moving frames.
    pub fn start(config: Config) -> Result<Self, Error> {
        let Config {
            id,
            tap,
            tap_header,
            qemu,
            mac,
            mtu,
            limits,
            mmds,
        } = config;
        let failed = |error: io::Error| Error::Start(id.clone(), error);
        let tap = tap::Tap::new(tap, tap_header).map_err(|error| Error::Tap(id.clone(), error))?;
        qemu.set_nonblocking(true).map_err(failed)?;
        let wake = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC);
        let wake = Arc::new(wake.map_err(|error| failed(error.into()))?);
        let (updates, receiver) = channel();
        let metrics = Arc::<Metrics>::default();
        let now = Instant::now();
        let parts = pump::Parts {
            id: id.clone(),
            tap,
            qemu,
            wake: Arc::clone(&wake),
            updates: receiver,
            stack: mmds.map(|(mmds, address)| Stack::new(mmds, address, mtu, now)),
            mac: mac.map(|mac| mac.0),
            metrics: Arc::clone(&metrics),
            limits,
        };
        let thread = Builder::new()
            .name("net".into())
            .spawn(move || pump::Pump::new(parts, now).run())
            .map_err(failed)?;
        Ok(Self {
            updates: Some(updates),
            wake,
            thread: Some(thread),
            metrics,
        })
    }

    /// Changes limits: bucket by bucket, what is not named stays (`PATCH /network-interfaces`).
    pub fn update(&self, limits: Limits) {
        if let Some(updates) = &self.updates {
            // Once QEMU is gone there is nothing left to limit.
            let _ = updates.send(limits);
            self.wake();
        }
    }

    fn wake(&self) {
        let _ = rustix::io::write(&*self.wake, &1u64.to_ne_bytes());
    }

    /// What it has counted so far.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.updates = None;
        self.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

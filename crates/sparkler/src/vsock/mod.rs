//! The vsock device: a vhost-user back-end in this process that joins the guest's AF_VSOCK sockets to Unix sockets of
//! the host, by the rules of Firecracker's hybrid vsock (its docs/vsock.md):
//!
//! - a client of the host connects to `uds_path`, sends `CONNECT PORT\n` and reads `OK HOST_PORT\n` once a socket of the
//!   guest has accepted; where nobody listens the stream just ends;
//! - a socket of the guest that connects to port P of CID 2 reaches whoever listens at `uds_path_P`, or is refused.
//!
//! Invariants: one thread, no lock ever waited for; memory and descriptors per guest are bounded whatever guest and
//! clients do; no socket file is removed but by [`Backend::remove_socket`], as Firecracker leaves them too.
//!
//! | module | what it does |
//! |---|---|
//! | `packet` | the header on the wire |
//! | `connection` | one connection, as a state machine without I/O |
//! | `mux` | all of them: routing, turns, time |
//! | `memory` | the guest's memory: mapped, or reached through QEMU's process |
//! | `queue` | a virtqueue |
//! | `rings` | packets in the guest's virtqueues |
//! | `control` | what QEMU says: memory, rings, features |
//! | `host` | the host's sockets |
//! | `worker` | the thread that owns all these |

mod connection;
mod control;
mod host;
mod memory;
mod metrics;
mod mux;
mod packet;
#[cfg(test)]
mod protocol_tests;
mod queue;
mod rings;
mod worker;

use std::io;
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::{Builder, JoinHandle};

pub use control::Hold;
pub use memory::Access;
pub use metrics::Metrics;

/// Why there is no vsock device.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// CIDs 0 to 2 have other meanings, 2^32 - 1 means "any".
    #[error("a guest's CID lies between 3 and 4294967294, not at {0}")]
    Cid(u64),
    /// `uds_path` cannot be listened on.
    #[error("cannot bind to the host-side Unix socket {}", path.display())]
    Bind {
        /// `uds_path`
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The event loop or its thread cannot be had.
    #[error("cannot set up the vsock device's event loop")]
    EventLoop(#[source] io::Error),
}

impl Error {
    fn event_loop(error: impl Into<io::Error>) -> Self {
        Self::EventLoop(error.into())
    }
}

/// A vsock device whose socket is there and whose guest is not: clients that connect wait until it is.
#[derive(Debug)]
pub struct Backend {
    guest_cid: u64,
    uds_path: PathBuf,
    listener: UnixListener,
    metrics: Arc<Metrics>,
}

impl Backend {
    /// Listens at `uds_path` (mode 0600) for a guest with this CID (3 to 2^32 - 2). A path that exists is an error.
    pub fn bind(guest_cid: u64, uds_path: impl Into<PathBuf>) -> Result<Self, Error> {
        let uds_path = uds_path.into();
        if !(3..u64::from(u32::MAX)).contains(&guest_cid) {
            return Err(Error::Cid(guest_cid));
        }
        let listener = host::listen_at(&uds_path).map_err(|source| Error::Bind {
            path: uds_path.clone(),
            source,
        })?;
        Ok(Self {
            guest_cid,
            uds_path,
            listener,
            metrics: Arc::default(),
        })
    }

    /// Where clients connect.
    pub fn uds_path(&self) -> &Path {
        &self.uds_path
    }

    /// Gives the device up and removes its socket: for a configuration that is replaced before the guest starts.
    pub fn remove_socket(self) -> io::Result<()> {
        std::fs::remove_file(&self.uds_path)
    }

    /// Serves the QEMU at the other end of `qemu` (its `-chardev socket,fd=…` for `vhost-user-vsock-device`) until that
    /// end closes or the [`Device`] is dropped. `access` says how that QEMU has mapped the guest's memory.
    pub fn serve(self, qemu: UnixStream, access: Access) -> Result<Device, Error> {
        let control = qemu.try_clone().map_err(Error::EventLoop)?;
        let metrics = Arc::clone(&self.metrics);
        let worker = worker::Worker::new(
            self.guest_cid,
            self.listener,
            self.uds_path,
            qemu,
            access,
            self.metrics,
        )?;
        let state = worker.control();
        let thread = Builder::new()
            .name("vsock".into())
            .spawn(|| worker.run())
            .map_err(Error::EventLoop)?;
        Ok(Device {
            control,
            state,
            thread: Some(thread),
            metrics,
        })
    }
}

/// A vsock device at work. Dropping it ends all its connections and waits for its thread.
#[derive(Debug)]
pub struct Device {
    control: UnixStream,
    state: Arc<Mutex<control::Control>>,
    thread: Option<JoinHandle<()>>,
    metrics: Arc<Metrics>,
}

impl Device {
    /// Lets no packet move before the guest has heard that it was loaded from a snapshot. To be called before it runs.
    pub fn hold(&self, hold: Hold) {
        worker::lock(&self.state).hold = Some(hold);
    }

    /// What it has counted so far.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // Wakes the thread even in the middle of a message.
        let _ = self.control.shutdown(Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

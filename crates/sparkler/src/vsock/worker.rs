//! The one thread of the device: waits for QEMU, the guest and the host's sockets, and moves packets between them.
//!
//! Invariants: the thread sleeps when there is nothing to do and wakes only for an event or a deadline (all descriptors
//! of streams and kicks are edge-triggered, so a condition that cannot be acted on costs nothing).

mod transfer;

use std::collections::HashMap;
use std::io::ErrorKind;
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};
use tracing::{debug, warn};
use vhost::vhost_user::BackendReqHandler;

use super::control::Control;
use super::host::{Dialled, Greeting, HostStream, Written, dial, read_greeting};
use super::memory::Access;
use super::metrics::Metrics;
use super::mux::{Id, MAX_CONNECTIONS, Mux};
use super::packet::{Halves, MAX_PAYLOAD};
use super::rings::Ring;

/// Event data below this number are the device's own; streams come after.
const CONTROL: u64 = 2;
const LISTENER: u64 = 3;
const FIRST_STREAM: u64 = 16;

/// How long a busy listener on the host may keep a guest's connection waiting, and how often it is tried.
const DIAL_TIMEOUT: Duration = Duration::from_secs(2);
const DIAL_PAUSE: Duration = Duration::from_millis(10);
/// How long to leave the listening socket alone when the process has no descriptor left for a new client.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How often a guest that was loaded from a snapshot is looked at, until it has heard of it.
const HOLD_PAUSE: Duration = Duration::from_millis(1);

/// What a host's stream is for at the moment.
#[derive(Debug, PartialEq, Eq)]
enum Role {
    /// A client that has not said which port it wants.
    Greeting,
    /// One end of a connection of the [`Mux`]; `shut` once the guest has announced it sends no more.
    Connected { shut: bool },
    /// The guest has closed; what it sent last is still being taken.
    Leaving,
}

#[derive(Debug)]
struct Peer {
    stream: HostStream,
    role: Role,
}

/// A connection of the guest whose host socket is busy.
#[derive(Clone, Copy, Debug)]
struct Dial {
    id: Id,
    port: u32,
    retry: Instant,
    give_up: Instant,
}

/// Everything the thread owns.
pub(super) struct Worker {
    epoll: Arc<OwnedFd>,
    requests: BackendReqHandler<Mutex<Control>>,
    control: Arc<Mutex<Control>>,
    listener: UnixListener,
    listening: Listening,
    /// The guest has yet to hear that it was loaded from a snapshot.
    held: bool,
    uds_path: PathBuf,
    mux: Mux,
    peers: HashMap<Id, Peer>,
    dials: Vec<Dial>,
    metrics: Arc<Metrics>,
}

/// Whether clients are being accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listening {
    /// Not before the guest's driver is there: they wait in the socket's queue.
    NotYet,
    Yes,
    PausedUntil(Instant),
}

enum Flow {
    Continue,
    /// QEMU is gone, or the device was told to stop.
    Stop,
}

impl Worker {
    pub(super) fn new(
        guest_cid: u64,
        listener: UnixListener,
        uds_path: PathBuf,
        qemu: UnixStream,
        access: Access,
        metrics: Arc<Metrics>,
    ) -> Result<Self, super::Error> {
        let epoll = Arc::new(epoll::create(epoll::CreateFlags::CLOEXEC).map_err(super::Error::event_loop)?);
        epoll::add(
            &*epoll,
            &qemu,
            epoll::EventData::new_u64(CONTROL),
            epoll::EventFlags::IN,
        )
        .map_err(super::Error::event_loop)?;
        let control = Control::new(guest_cid, Arc::clone(&epoll), access);
        let control = Arc::new(Mutex::new(control));
        Ok(Self {
            requests: BackendReqHandler::from_stream(qemu, Arc::clone(&control)),
            epoll,
            control,
            listener,
            listening: Listening::NotYet,
            held: false,
            uds_path,
            mux: Mux::new(guest_cid, FIRST_STREAM),
            peers: HashMap::new(),
            dials: Vec::new(),
            metrics,
        })
    }

    /// What QEMU has told, shared with the thread.
    pub(super) fn control(&self) -> Arc<Mutex<Control>> {
        Arc::clone(&self.control)
    }

    /// Serves until QEMU closes its end.
    pub(super) fn run(mut self) {
        let mut space = [MaybeUninit::<epoll::Event>::uninit(); 64];
        let mut payload = Box::new([0; MAX_PAYLOAD]);
        let mut more_to_do = false;
        loop {
            let timeout = if more_to_do {
                Some(Duration::ZERO)
            } else {
                self.time_to_wait()
            };
            let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
            let events = match epoll::wait(&*self.epoll, &mut space, timeout.as_ref()) {
                Ok((events, _)) => &*events,
                Err(rustix::io::Errno::INTR) => &[],
                Err(error) => {
                    warn!("the vsock device stops: waiting for events failed: {error}");
                    return;
                }
            };
            for event in events {
                if let Flow::Stop = self.handle(event.data.u64(), event.flags) {
                    return;
                }
            }
            let now = Instant::now();
            self.keep_time(now);
            if !self.begin(now) {
                more_to_do = false;
                continue;
            }
            more_to_do = self.move_packets(&mut payload, now);
        }
    }

    fn time_to_wait(&self) -> Option<Duration> {
        let resume = match self.listening {
            Listening::PausedUntil(at) => Some(at),
            _ => None,
        };
        let retry = self.dials.iter().map(|dial| dial.retry).min();
        let look = self.held.then(|| Instant::now() + HOLD_PAUSE);
        let next = [self.mux.next_deadline(), resume, retry, look]
            .into_iter()
            .flatten()
            .min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    fn handle(&mut self, data: u64, flags: epoll::EventFlags) -> Flow {
        match data {
            CONTROL => return self.handle_request(),
            LISTENER => self.accept(),
            // A kick: the packets are moved after all events are looked at.
            0..FIRST_STREAM => {}
            id => self.handle_stream(Id(id), flags),
        }
        Flow::Continue
    }

    fn handle_request(&mut self) -> Flow {
        if let Err(error) = self.requests.handle_request() {
            // QEMU's end is closed at its exit and ours at a stop: the common way for this to end.
            debug!("the vsock device stops: {error}");
            return Flow::Stop;
        }
        let mut control = lock(&self.control);
        let new_driver = std::mem::take(&mut control.new_driver);
        drop(control);
        if new_driver {
            for id in self.mux.forget_all() {
                self.close(id);
            }
            self.dials.clear();
        }
        Flow::Continue
    }

    /// Whether packets may move; from the first time on clients are let in.
    fn begin(&mut self, now: Instant) -> bool {
        let mut control = lock(&self.control);
        let running = control.is_running(now);
        self.held = control.hold.is_some() && control.rings.iter().all(Ring::is_running);
        drop(control);
        if running && self.listening == Listening::NotYet {
            self.listen();
        }
        running
    }

    fn listen(&mut self) {
        let added = epoll::add(
            &*self.epoll,
            &self.listener,
            epoll::EventData::new_u64(LISTENER),
            epoll::EventFlags::IN | epoll::EventFlags::ET,
        );
        match added {
            Ok(()) => self.listening = Listening::Yes,
            Err(error) => warn!("clients cannot reach the guest's vsock: {error}"),
        }
        self.accept();
    }

    fn accept(&mut self) {
        loop {
            match self.listener.accept() {
                // As Firecracker does: a client too many is turned away, not kept waiting.
                Ok(_) if self.peers.len() >= MAX_CONNECTIONS => {
                    warn!("{MAX_CONNECTIONS} vsock connections are open: a new client was turned away");
                }
                Ok((socket, _)) => {
                    if socket.set_nonblocking(true).is_ok() {
                        let id = self.mux.new_id();
                        self.add_peer(id, socket, Role::Greeting);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    // Out of descriptors or memory. The client stays in the queue; some stream will end in time.
                    warn!("a client of the guest's vsock has to wait: {error}");
                    self.listening = Listening::PausedUntil(Instant::now() + ACCEPT_PAUSE);
                    return;
                }
            }
        }
    }

    fn add_peer(&mut self, id: Id, socket: UnixStream, role: Role) -> bool {
        use epoll::EventFlags as Events;
        let events = Events::IN | Events::OUT | Events::RDHUP | Events::ET;
        if let Err(error) = epoll::add(&*self.epoll, &socket, epoll::EventData::new_u64(id.0), events) {
            warn!("a vsock connection is dropped: its stream cannot be waited for: {error}");
            return false;
        }
        self.peers.insert(
            id,
            Peer {
                stream: HostStream::new(socket),
                role,
            },
        );
        true
    }

    fn handle_stream(&mut self, id: Id, flags: epoll::EventFlags) {
        use epoll::EventFlags as Events;
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        if peer.role == Role::Greeting {
            match read_greeting(&mut peer.stream.socket) {
                Greeting::Partial if !flags.intersects(Events::RDHUP | Events::HUP) => return,
                Greeting::Connect(port) if self.mux.connect(id, port).is_ok() => {
                    peer.role = Role::Connected { shut: false };
                    self.metrics.conns_added.add(1);
                }
                Greeting::Partial | Greeting::Connect(_) | Greeting::Bad => return self.close(id),
            }
        }
        if flags.intersects(Events::OUT | Events::HUP | Events::ERR) {
            self.flush(id);
        }
        if flags.intersects(Events::HUP | Events::ERR) {
            self.mux.host_gives_up(
                id,
                Halves {
                    receiving: true,
                    sending: false,
                },
            );
        }
        if flags.intersects(Events::IN | Events::RDHUP | Events::HUP | Events::ERR) {
            self.mux.host_readable(id);
        }
    }

    fn flush(&mut self, id: Id) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        if peer.stream.is_flushed() {
            return;
        }
        let written = peer.stream.flush();
        self.after_write(id, &written);
    }

    fn after_write(&mut self, id: Id, written: &Written) {
        match *written {
            Written::Bytes(count) => {
                self.metrics.tx_bytes_count.add(count as u64);
                self.mux.handed_on(id, u32::try_from(count).unwrap_or(u32::MAX));
            }
            Written::Deaf => {
                self.metrics.tx_write_fails.add(1);
                self.mux.host_gives_up(
                    id,
                    Halves {
                        receiving: true,
                        sending: false,
                    },
                );
            }
        }
        let Some(peer) = self.peers.get(&id) else { return };
        if !peer.stream.is_flushed() {
            return;
        }
        match peer.role {
            Role::Leaving => self.close(id),
            Role::Connected { shut: true } => {
                let _ = peer.stream.socket.shutdown(Shutdown::Write);
            }
            Role::Connected { shut: false } | Role::Greeting => {}
        }
    }

    fn close(&mut self, id: Id) {
        if self
            .peers
            .remove(&id)
            .is_some_and(|peer| peer.role != Role::Greeting)
        {
            self.metrics.conns_removed.add(1);
        }
    }

    fn keep_time(&mut self, now: Instant) {
        while let Some(id) = self.mux.expire(now) {
            debug!("a vsock connection ran out of time");
            self.metrics.conns_killed.add(1);
            self.close(id);
        }
        if matches!(self.listening, Listening::PausedUntil(at) if at <= now) {
            self.listening = Listening::Yes;
            self.accept();
        }
        let due: Vec<Dial> = self.dials.extract_if(.., |dial| dial.retry <= now).collect();
        for dial in due {
            self.dial(dial, now);
        }
    }

    fn dial(&mut self, attempt: Dial, now: Instant) {
        match dial(&self.uds_path, attempt.port) {
            Dialled::Connected(socket) => {
                if self.add_peer(attempt.id, socket, Role::Connected { shut: false }) {
                    self.metrics.conns_added.add(1);
                    self.mux.dialled(attempt.id);
                } else {
                    self.mux.reset(attempt.id);
                }
            }
            Dialled::Busy if now < attempt.give_up => {
                self.dials.push(Dial {
                    retry: now + DIAL_PAUSE,
                    ..attempt
                });
            }
            Dialled::Busy => self.mux.reset(attempt.id),
            Dialled::Refused(error) => {
                debug!(
                    "the guest cannot connect to port {} of the host: {error}",
                    attempt.port
                );
                self.mux.reset(attempt.id);
            }
        }
    }
}

pub(super) fn lock(control: &Mutex<Control>) -> MutexGuard<'_, Control> {
    control.lock().unwrap_or_else(PoisonError::into_inner)
}

//! All connections of one guest: who gets a packet, who speaks next, whose time is up. No I/O.
//!
//! Invariants:
//! - a pair of ports names at most one connection, and an [`Id`] is never used twice;
//! - at most [`MAX_CONNECTIONS`] connections, at most [`MAX_RESETS`] resets wait beyond one per connection: while the guest
//!   gives no buffers for replies, [`Mux::accepts_packets`] says to leave its packets in the ring;
//! - connections that have something to say take turns, one packet each;
//! - once a reset was sent or received nothing more is said on that connection, and a reset is never answered.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::connection::{BUFFER, Connection, Reaction, Say};
use super::packet::{HOST_CID, Halves, Header, Op, TYPE_STREAM};

/// Connections at once, as in Firecracker.
pub(super) const MAX_CONNECTIONS: usize = 1023;
/// Replies to packets without a connection that may wait for a buffer of the guest.
pub(super) const MAX_RESETS: usize = 256;
/// How long the guest may take to answer a request. (Firecracker: 2 s; an emulated guest on a busy host is slower. A
/// guest where nobody listens refuses at once, this is for one that hangs.)
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the guest may take to reset a connection the host has closed.
pub(super) const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Ports of the host's side for connections asked for by the host: [2^30, 2^31), as in Firecracker.
const FIRST_PORT: u32 = 1 << 30;

/// Names a connection for as long as the device lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Id(pub u64);

/// The ports of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ports {
    /// On the host's side.
    pub host: u32,
    /// On the guest's side.
    pub guest: u32,
}

/// What to do with the host's streams after a packet of the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing.
    None,
    /// The guest dials this port of the host.
    Dial(Id, u32),
    /// The guest accepted: say `OK` with this port.
    Accepted(Id, u32),
    /// The payload goes to the stream.
    Deliver(Id),
    /// The guest gave up these directions.
    Half(Id, Halves),
    /// Flush what is held, then close.
    Finish(Id),
    /// Close now.
    Close(Id),
}

/// What to put into the guest's next buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Output {
    /// This header alone.
    Packet(Header),
    /// Up to so many bytes of this connection's stream; ask [`Mux::sent`] for the header.
    Data(Id, u32),
}

/// No more than [`MAX_CONNECTIONS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{MAX_CONNECTIONS} vsock connections are open already")]
pub(super) struct Full;

#[derive(Debug)]
struct Entry {
    ports: Ports,
    connection: Connection,
    queued: bool,
    deadline: Option<Instant>,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Mux {
    guest_cid: u64,
    entries: HashMap<Id, Entry>,
    ids: HashMap<Ports, Id>,
    speakers: VecDeque<Id>,
    resets: VecDeque<(Ports, u16)>,
    deadlines: BTreeSet<(Instant, Id)>,
    next_id: u64,
    next_port: u32,
}

impl Mux {
    /// No connections; [`Id`]s start at `first_id`.
    pub(super) fn new(guest_cid: u64, first_id: u64) -> Self {
        Self {
            guest_cid,
            entries: HashMap::new(),
            ids: HashMap::new(),
            speakers: VecDeque::new(),
            resets: VecDeque::new(),
            deadlines: BTreeSet::new(),
            next_id: first_id,
            next_port: FIRST_PORT,
        }
    }

    /// An [`Id`] for a host's stream that has not said yet which port it wants.
    pub(super) fn new_id(&mut self) -> Id {
        let id = Id(self.next_id);
        self.next_id += 1;
        id
    }

    /// A new driver in the guest knows none of the old connections: forget them without a word.
    pub(super) fn forget_all(&mut self) -> Vec<Id> {
        self.ids.clear();
        self.speakers.clear();
        self.resets.clear();
        self.deadlines.clear();
        self.entries.drain().map(|(id, _)| id).collect()
    }

    /// Whether there is room for the replies a packet may cause.
    pub(super) fn accepts_packets(&self) -> bool {
        self.resets.len() < MAX_RESETS
    }

    /// Whether [`Mux::next`] may have something.
    pub(super) fn has_output(&self) -> bool {
        !self.resets.is_empty() || !self.speakers.is_empty()
    }

    /// The stream `id` asks for `guest_port`.
    pub(super) fn connect(&mut self, id: Id, guest_port: u32) -> Result<(), Full> {
        if self.entries.len() >= MAX_CONNECTIONS {
            return Err(Full);
        }
        let ports = Ports {
            host: self.free_port(guest_port),
            guest: guest_port,
        };
        self.insert(id, ports, Connection::asked_by_host());
        Ok(())
    }

    /// There is a free one: connections are fewer than ports.
    fn free_port(&mut self, guest: u32) -> u32 {
        loop {
            let host = self.next_port;
            self.next_port = FIRST_PORT | (self.next_port + 1) & (FIRST_PORT - 1);
            if !self.ids.contains_key(&Ports { host, guest }) {
                return host;
            }
        }
    }

    fn insert(&mut self, id: Id, ports: Ports, connection: Connection) {
        self.ids.insert(ports, id);
        self.entries.insert(
            id,
            Entry {
                ports,
                connection,
                queued: false,
                deadline: None,
            },
        );
        self.settle(id);
    }

    /// Takes a packet of the guest.
    pub(super) fn receive(&mut self, header: &Header) -> Effect {
        // Another address is nobody here; a false sender is told nothing.
        if header.dst_cid != HOST_CID || header.src_cid != self.guest_cid {
            return Effect::None;
        }
        let ports = Ports {
            host: header.dst_port,
            guest: header.src_port,
        };
        if header.kind != TYPE_STREAM {
            if header.op != Op::Reset {
                self.resets.push_back((ports, header.kind));
            }
            return Effect::None;
        }
        let Some(&id) = self.ids.get(&ports) else {
            return self.receive_unknown(ports, header);
        };
        if header.op == Op::Reset {
            self.remove(id);
            return Effect::Close(id);
        }
        let Some(entry) = self.entries.get_mut(&id) else {
            return Effect::None;
        };
        let reaction = entry.connection.receive(
            header.op,
            header.flags,
            header.len,
            header.buf_alloc,
            header.fwd_cnt,
        );
        if reaction == Reaction::Accepted {
            self.set_deadline(id, None);
        }
        match reaction {
            Reaction::Finish | Reaction::Violation => self.reset(id),
            _ => self.settle(id),
        }
        match reaction {
            Reaction::Nothing => Effect::None,
            Reaction::Accepted => Effect::Accepted(id, ports.host),
            Reaction::Deliver => Effect::Deliver(id),
            Reaction::Half(halves) => Effect::Half(id, halves),
            Reaction::Finish => Effect::Finish(id),
            Reaction::Violation => Effect::Close(id),
        }
    }

    fn receive_unknown(&mut self, ports: Ports, header: &Header) -> Effect {
        match header.op {
            Op::Request if self.entries.len() < MAX_CONNECTIONS => {
                // The guest took these ports anew: a reset still waiting was meant for their former owner.
                self.resets.retain(|(waiting, _)| *waiting != ports);
                let id = self.new_id();
                self.insert(id, ports, Connection::asked_by_guest(header.buf_alloc));
                Effect::Dial(id, ports.host)
            }
            Op::Reset => Effect::None,
            _ => {
                self.resets.push_back((ports, TYPE_STREAM));
                Effect::None
            }
        }
    }

    /// Does something to a connection, then lets it speak if it has reason to. Unknown ids are left alone: the stream's
    /// event may come after the connection's end.
    fn with(&mut self, id: Id, change: impl FnOnce(&mut Connection)) {
        if let Some(entry) = self.entries.get_mut(&id) {
            change(&mut entry.connection);
            self.settle(id);
        }
    }

    fn settle(&mut self, id: Id) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        if !entry.queued && entry.connection.wants() {
            entry.queued = true;
            self.speakers.push_back(id);
        }
    }

    /// The host's socket the guest asked for is connected.
    pub(super) fn dialled(&mut self, id: Id) {
        self.with(id, Connection::dialled);
    }

    /// `count` bytes of the guest went into the stream.
    pub(super) fn handed_on(&mut self, id: Id, count: u32) {
        self.with(id, |connection| connection.handed_on(count));
    }

    /// The stream has something to read.
    pub(super) fn host_readable(&mut self, id: Id) {
        self.with(id, Connection::host_readable);
    }

    /// The stream has nothing to read for now.
    pub(super) fn host_drained(&mut self, id: Id) {
        self.with(id, Connection::host_drained);
    }

    /// The stream gave up directions.
    pub(super) fn host_gives_up(&mut self, id: Id, halves: Halves) {
        self.with(id, |connection| connection.host_gives_up(halves));
    }

    /// Ends a connection from the host's side: the guest gets a reset, if it knows of the connection.
    pub(super) fn reset(&mut self, id: Id) {
        if let Some(entry) = self.remove(id)
            && entry.connection.is_known_to_guest()
        {
            self.resets.push_back((entry.ports, TYPE_STREAM));
        }
    }

    fn remove(&mut self, id: Id) -> Option<Entry> {
        self.set_deadline(id, None);
        let entry = self.entries.remove(&id)?;
        self.ids.remove(&entry.ports);
        // Ids of the dead would pile up while the guest gives no buffers and connections come and go.
        if entry.queued {
            self.speakers.retain(|speaker| *speaker != id);
        }
        Some(entry)
    }

    /// What to tell the guest next. Ask again until `None` or the guest has no more buffers.
    pub(super) fn next(&mut self, now: Instant) -> Option<Output> {
        if let Some((ports, kind)) = self.resets.pop_front() {
            return Some(Output::Packet(Header {
                kind,
                ..self.header(ports, Op::Reset)
            }));
        }
        loop {
            let id = self.speakers.pop_front()?;
            let Some(entry) = self.entries.get_mut(&id) else {
                continue;
            };
            entry.queued = false;
            let Some(say) = entry.connection.say() else {
                continue;
            };
            match say {
                Say::Data(limit) => return Some(Output::Data(id, limit)),
                Say::Control(op, halves) => {
                    let ports = entry.ports;
                    let deadline = match op {
                        Op::Request => Some(ANSWER_TIMEOUT),
                        Op::Shutdown if entry.connection.is_closing() => Some(CLOSE_TIMEOUT),
                        _ => None,
                    };
                    let fwd_cnt = entry.connection.fwd_cnt();
                    if let Some(timeout) = deadline {
                        self.set_deadline(id, Some(now + timeout));
                    }
                    self.settle(id);
                    let header = self.header(ports, op);
                    return Some(Output::Packet(Header {
                        flags: halves.to_flags(),
                        buf_alloc: BUFFER,
                        fwd_cnt,
                        ..header
                    }));
                }
            }
        }
    }

    /// `count` bytes of the stream go to the guest under the returned header. `None` if the connection is gone.
    pub(super) fn sent(&mut self, id: Id, count: u32) -> Option<Header> {
        let entry = self.entries.get_mut(&id)?;
        entry.connection.sent(count);
        let (ports, fwd_cnt) = (entry.ports, entry.connection.fwd_cnt());
        self.settle(id);
        Some(Header {
            len: count,
            buf_alloc: BUFFER,
            fwd_cnt,
            ..self.header(ports, Op::Data)
        })
    }

    fn header(&self, ports: Ports, op: Op) -> Header {
        Header {
            src_cid: HOST_CID,
            dst_cid: self.guest_cid,
            src_port: ports.host,
            dst_port: ports.guest,
            len: 0,
            kind: TYPE_STREAM,
            op,
            flags: 0,
            buf_alloc: 0,
            fwd_cnt: 0,
        }
    }

    fn set_deadline(&mut self, id: Id, deadline: Option<Instant>) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        if let Some(old) = entry.deadline.take() {
            self.deadlines.remove(&(old, id));
        }
        if let Some(new) = deadline {
            self.deadlines.insert((new, id));
        }
        entry.deadline = deadline;
    }

    /// When [`Mux::expire`] is next worth calling.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Resets connections whose time is up and names one of them; ask again until `None`.
    pub(super) fn expire(&mut self, now: Instant) -> Option<Id> {
        let &(at, id) = self.deadlines.first()?;
        if at > now {
            return None;
        }
        self.reset(id);
        Some(id)
    }
}

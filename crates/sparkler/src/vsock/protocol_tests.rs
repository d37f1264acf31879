//! The protocol's core under a hostile guest, and under an honest one in any order of events.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::connection::BUFFER;
use super::mux::{Effect, Id, MAX_CONNECTIONS, MAX_RESETS, Mux, Output, Ports};
use super::packet::{HOST_CID, Halves, Header, Op, TYPE_STREAM};

const CID: u64 = 3;

fn packet(ports: Ports, op: Op) -> Header {
    Header {
        src_cid: CID,
        dst_cid: HOST_CID,
        src_port: ports.guest,
        dst_port: ports.host,
        len: 0,
        kind: TYPE_STREAM,
        op,
        flags: 0,
        buf_alloc: BUFFER,
        fwd_cnt: 0,
    }
}

/// What an outsider knows of a connection.
#[derive(Default)]
struct Seen {
    held: u32,
    sent: u32,
    forwarded: u32,
    guest_buffer: u32,
    open: bool,
}

/// The device's surroundings, checking each answer of the core.
struct World {
    mux: Mux,
    now: Instant,
    seen: HashMap<Id, Seen>,
    ports: HashMap<Ports, Id>,
}

#[derive(Clone, Debug)]
enum Event {
    Packet { header: Header, plausible: bool },
    Connect(u32),
    Dialled(usize),
    Readable(usize),
    GivesUp(usize, bool, bool),
    HandedOn(usize, u32),
    Reset(usize),
    Output { count: usize, take: u32 },
    Wait(u64),
}

impl World {
    fn new() -> Self {
        Self {
            mux: Mux::new(CID, 1),
            now: Instant::now(),
            seen: HashMap::new(),
            ports: HashMap::new(),
        }
    }

    fn pick(&self, index: usize) -> Option<Id> {
        let mut ids: Vec<_> = self.seen.keys().copied().collect();
        ids.sort();
        (!ids.is_empty()).then(|| ids[index % ids.len()])
    }

    fn gone(&mut self, id: Id) {
        self.seen.remove(&id);
        self.ports.retain(|_, known| *known != id);
    }

    fn receive(&mut self, mut header: Header, plausible: bool) {
        if !self.mux.accepts_packets() {
            return;
        }
        let ports = Ports {
            host: header.dst_port,
            guest: header.src_port,
        };
        let id = self.ports.get(&ports).copied();
        if let Some(seen) = id.and_then(|id| self.seen.get_mut(&id)) {
            if plausible {
                header.fwd_cnt = seen.sent;
                header.buf_alloc = header.buf_alloc.max(1);
            }
            if header.dst_cid == HOST_CID && header.src_cid == CID && header.kind == TYPE_STREAM {
                seen.guest_buffer = header.buf_alloc;
                if header.fwd_cnt.wrapping_sub(seen.forwarded) <= seen.sent.wrapping_sub(seen.forwarded) {
                    seen.forwarded = header.fwd_cnt;
                }
            }
        }
        match self.mux.receive(&header) {
            Effect::None => {}
            Effect::Dial(id, port) => {
                assert_eq!(port, header.dst_port);
                assert!(
                    self.ports.insert(ports, id).is_none(),
                    "two connections of the same ports"
                );
                self.seen.insert(
                    id,
                    Seen {
                        guest_buffer: header.buf_alloc,
                        ..Seen::default()
                    },
                );
            }
            Effect::Accepted(id, port) => {
                assert_eq!(port, header.dst_port);
                self.seen.get_mut(&id).unwrap().open = true;
            }
            Effect::Deliver(id) => {
                let seen = self.seen.get_mut(&id).unwrap();
                assert!(seen.open);
                seen.held += header.len;
                assert!(seen.held <= BUFFER, "the guest filled more than its buffer");
            }
            Effect::Half(id, halves) => {
                assert!(self.seen[&id].open);
                assert_ne!(halves, Halves::BOTH);
            }
            Effect::Finish(id) | Effect::Close(id) => self.gone(id),
        }
        assert!(self.seen.len() <= MAX_CONNECTIONS);
    }

    /// One packet to the guest, if there is one; `take` bytes if it is data.
    fn output(&mut self, take: u32) -> bool {
        match self.mux.next(self.now) {
            None => return false,
            Some(Output::Packet(header)) => {
                assert_eq!((header.src_cid, header.dst_cid, header.len), (HOST_CID, CID, 0));
                let ports = Ports {
                    host: header.src_port,
                    guest: header.dst_port,
                };
                match header.op {
                    Op::Reset if header.kind != TYPE_STREAM => {}
                    Op::Reset => assert!(!self.ports.contains_key(&ports), "a reset on a living connection"),
                    Op::Response => self.seen.get_mut(&self.ports[&ports]).unwrap().open = true,
                    // The host's port of a connection asked for by the host shows here for the first time.
                    Op::Request => {
                        let id = *self
                            .seen
                            .keys()
                            .find(|id| !self.ports.values().any(|known| known == *id))
                            .unwrap();
                        self.ports.insert(ports, id);
                    }
                    Op::Shutdown => assert_ne!(header.flags & 3, 0),
                    Op::CreditUpdate | Op::CreditRequest => assert!(self.seen[&self.ports[&ports]].open),
                    Op::Data | Op::Unknown(_) => panic!("{header:?}"),
                }
            }
            Some(Output::Data(id, limit)) => {
                let seen = self.seen.get_mut(&id).unwrap();
                assert!(seen.open, "data before the connection is");
                let credit = seen
                    .guest_buffer
                    .saturating_sub(seen.sent.wrapping_sub(seen.forwarded));
                assert!(limit <= credit, "more than the guest can take");
                match take.min(limit) {
                    0 => self.mux.host_drained(id),
                    count => {
                        let header = self.mux.sent(id, count).unwrap();
                        assert_eq!((header.op, header.len), (Op::Data, count));
                        seen.sent = seen.sent.wrapping_add(count);
                    }
                }
            }
        }
        true
    }

    fn step(&mut self, event: &Event) {
        match *event {
            Event::Packet { header, plausible } => self.receive(header, plausible),
            Event::Connect(port) => {
                // One at a time is nameless: see `output`.
                if self.seen.len() == self.ports.len() {
                    let id = self.mux.new_id();
                    if self.mux.connect(id, port).is_ok() {
                        self.seen.insert(id, Seen::default());
                    }
                }
            }
            Event::Dialled(index) => self.with(index, |mux, id, _| mux.dialled(id)),
            Event::Readable(index) => self.with(index, |mux, id, _| mux.host_readable(id)),
            Event::GivesUp(index, receiving, sending) => self.with(index, |mux, id, seen| {
                mux.host_gives_up(id, Halves { receiving, sending });
                if receiving {
                    seen.held = 0;
                }
            }),
            Event::HandedOn(index, count) => self.with(index, |mux, id, seen| {
                let count = count.min(seen.held);
                mux.handed_on(id, count);
                seen.held -= count;
            }),
            Event::Reset(index) => {
                if let Some(id) = self.pick(index) {
                    self.mux.reset(id);
                    self.gone(id);
                }
            }
            Event::Output { count, take } => {
                let _ = (0..count).take_while(|_| self.output(take)).count();
            }
            Event::Wait(millis) => {
                self.now += Duration::from_millis(millis);
                while let Some(id) = self.mux.expire(self.now) {
                    assert!(self.seen.contains_key(&id));
                    self.gone(id);
                }
                assert!(self.mux.next_deadline().is_none_or(|at| at > self.now));
            }
        }
    }

    fn with(&mut self, index: usize, act: impl FnOnce(&mut Mux, Id, &mut Seen)) {
        if let Some(id) = self.pick(index) {
            act(&mut self.mux, id, self.seen.get_mut(&id).unwrap());
        }
    }
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        Just(Op::Request),
        Just(Op::Response),
        Just(Op::Reset),
        Just(Op::Shutdown),
        Just(Op::Data),
        Just(Op::CreditUpdate),
        Just(Op::CreditRequest),
        (0u16..20).prop_filter_map("known", |op| (op == 0 || op > 7).then_some(Op::Unknown(op))),
    ]
}

prop_compose! {
    fn header()(
        op in op(),
        guest in 1u32..4,
        host in prop_oneof![5u32..8, (1u32 << 30)..(1 << 30) + 6],
        len in prop_oneof![Just(0u32), 1u32..65536, any::<u32>()],
        kind in prop_oneof![9 => Just(TYPE_STREAM), 1 => any::<u16>()],
        flags in any::<u32>(),
        buf_alloc in prop_oneof![Just(0u32), Just(4096), Just(BUFFER), any::<u32>()],
        fwd_cnt in prop_oneof![Just(0u32), any::<u32>()],
        src_cid in prop_oneof![9 => Just(CID), 1 => any::<u64>()],
        dst_cid in prop_oneof![9 => Just(HOST_CID), 1 => any::<u64>()],
    ) -> Header {
        Header { src_cid, dst_cid, src_port: guest, dst_port: host, len, kind, op, flags, buf_alloc, fwd_cnt }
    }
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (header(), any::<bool>()).prop_map(|(header, plausible)| Event::Packet { header, plausible }),
        2 => (1u32..4).prop_map(Event::Connect),
        2 => any::<usize>().prop_map(Event::Dialled),
        2 => any::<usize>().prop_map(Event::Readable),
        1 => (any::<usize>(), any::<bool>(), any::<bool>()).prop_map(|(index, r, s)| Event::GivesUp(index, r, s)),
        2 => (any::<usize>(), any::<u32>()).prop_map(|(index, count)| Event::HandedOn(index, count)),
        1 => any::<usize>().prop_map(Event::Reset),
        4 => (0usize..20, prop_oneof![Just(0u32), 1u32..5000, any::<u32>()])
            .prop_map(|(count, take)| Event::Output { count, take }),
        1 => (0u64..20_000).prop_map(Event::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn no_guest_gets_more_than_the_protocol_gives(events in prop::collection::vec(event(), 1..200)) {
        let mut world = World::new();
        for event in &events {
            world.step(event);
        }
        // With the streams drained there is an end to what the device says, and then it is silent.
        let bound = MAX_RESETS + 8 * (world.seen.len() + 1) + events.len();
        prop_assert!((0..bound).any(|_| !world.output(0)), "the device goes on talking");
        prop_assert!(!world.mux.has_output());
    }
}

/// A guest that keeps to the rules, with a buffer of its own.
struct Honest {
    ports: Ports,
    to_send: u32,
    received: u32,
    unread: u32,
    buffer: u32,
    device_buffer: u32,
    device_forwarded: u32,
    sent: u32,
    shut: Halves,
    peer_shut: Halves,
    told: u32,
    reset: bool,
    inbox: Vec<Header>,
}

impl Honest {
    fn header(&self, op: Op) -> Header {
        Header {
            buf_alloc: self.buffer,
            fwd_cnt: self.received - self.unread,
            ..packet(self.ports, op)
        }
    }

    /// The guest's next packet, if it has one to send.
    fn next(&mut self) -> Option<Header> {
        if self.reset {
            return None;
        }
        let credit = self.device_buffer - (self.sent - self.device_forwarded);
        if self.to_send > 0 && credit > 0 && !self.peer_shut.receiving {
            let len = self.to_send.min(credit).min(5000);
            self.to_send -= len;
            self.sent += len;
            return Some(Header {
                len,
                ..self.header(Op::Data)
            });
        }
        if (self.to_send == 0 || self.peer_shut.receiving) && !self.shut.sending {
            self.shut.sending = true;
            return Some(Header {
                flags: self.shut.to_flags(),
                ..self.header(Op::Shutdown)
            });
        }
        if self.peer_shut.sending && self.unread == 0 && self.shut.sending && !self.shut.receiving {
            self.shut = Halves::BOTH;
            return Some(Header {
                flags: self.shut.to_flags(),
                ..self.header(Op::Shutdown)
            });
        }
        // As Linux: news of the buffer only after a good part of it was read.
        if self.received - self.unread - self.told >= self.buffer / 2 {
            self.told = self.received - self.unread;
            return Some(self.header(Op::CreditUpdate));
        }
        None
    }

    fn take(&mut self, header: &Header) {
        match header.op {
            Op::Data => {
                self.received += header.len;
                self.unread += header.len;
                assert!(self.unread <= self.buffer, "the guest's buffer overflows");
                assert!(!self.peer_shut.sending, "data after the end");
            }
            Op::Shutdown => self.peer_shut = self.peer_shut.union(Halves::from_flags(header.flags)),
            Op::Reset => self.reset = true,
            Op::CreditRequest => {
                let answer = self.header(Op::CreditUpdate);
                self.inbox.push(answer);
            }
            _ => {}
        }
        if header.op != Op::Reset {
            self.device_buffer = header.buf_alloc;
            self.device_forwarded = header.fwd_cnt;
        }
    }
}

proptest! {
    #[test]
    fn an_honest_guest_gets_and_gives_every_byte(
        to_guest in 0u32..600_000,
        to_host in 0u32..600_000,
        buffer in prop_oneof![1u32..300, 4096u32..BUFFER],
        by_host in any::<bool>(),
        order in prop::collection::vec(0u8..5, 1..300),
        chunk in 1u32..70_000,
    ) {
        // Small buffers make for many packets: keep the run short.
        let to_guest = to_guest.min(buffer.saturating_mul(400));
        let now = Instant::now();
        let mut mux = Mux::new(CID, 1);
        let mut guest = Honest {
            ports: Ports { host: 7, guest: 9 }, to_send: to_host, received: 0, unread: 0, buffer, device_buffer: 0,
            device_forwarded: 0, sent: 0, shut: Halves::default(), peer_shut: Halves::default(), told: 0, reset: false,
            inbox: Vec::new(),
        };
        let id = if by_host {
            let id = mux.new_id();
            mux.connect(id, 9).unwrap();
            let Some(Output::Packet(request)) = mux.next(now) else { panic!("no request") };
            guest.ports.host = request.src_port;
            guest.take(&request);
            prop_assert_eq!(mux.receive(&guest.header(Op::Response)), Effect::Accepted(id, request.src_port));
            id
        } else {
            let Effect::Dial(id, 7) = mux.receive(&guest.header(Op::Request)) else { panic!("not dialled") };
            mux.dialled(id);
            let Some(Output::Packet(response)) = mux.next(now) else { panic!("no response") };
            prop_assert_eq!(response.op, Op::Response);
            guest.take(&response);
            id
        };
        let (mut left, mut held, mut arrived, mut ended, mut closed) = (to_guest, 0, 0, false, false);
        mux.host_readable(id);
        let mut idle = 0;
        for (at, turn) in order.iter().copied().chain((0..5).cycle()).enumerate() {
            let progress = match turn {
                0 => match mux.next(now) {
                    Some(Output::Packet(header)) => { guest.take(&header); true }
                    Some(Output::Data(_, limit)) if left > 0 => {
                        let count = limit.min(left).min(chunk);
                        left -= count;
                        let header = mux.sent(id, count).unwrap();
                        guest.take(&header);
                        true
                    }
                    Some(Output::Data(..)) => {
                        mux.host_gives_up(id, Halves { receiving: false, sending: true });
                        true
                    }
                    None => false,
                },
                1 | 2 => match guest.inbox.pop().or_else(|| guest.next()) {
                    Some(header) => {
                        match mux.receive(&header) {
                            Effect::None => {}
                            Effect::Deliver(_) => held += header.len,
                            Effect::Half(_, halves) => ended |= halves.sending,
                            Effect::Finish(_) => { arrived += held; held = 0; closed = true; }
                            other => panic!("{other:?}"),
                        }
                        true
                    }
                    None => false,
                },
                3 => {
                    let count = chunk.min(guest.unread);
                    guest.unread -= count;
                    count > 0
                }
                _ => {
                    let count = chunk.min(held);
                    held -= count;
                    arrived += count;
                    mux.handed_on(id, count);
                    count > 0
                }
            };
            idle = if progress { 0 } else { idle + 1 };
            // Each of the five kinds of turn in a row came to nothing.
            if idle > 5 && at > order.len() + 5 {
                break;
            }
        }
        prop_assert_eq!(guest.received, to_guest, "bytes to the guest");
        prop_assert_eq!(arrived, to_host, "bytes to the host");
        prop_assert!(ended || closed);
        prop_assert!(closed, "the guest could not close");
        prop_assert!(guest.reset, "the guest was not told that the connection is over");
    }
}

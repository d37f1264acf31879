//! One connection between a guest socket and a host stream, as a state machine that does no I/O.
//!
//! Invariants, whatever the guest sends and in whatever order the host's stream becomes readable or writable:
//! - at most [`BUFFER`] bytes from the guest are held at any time; a guest that sends more is cut off;
//! - no more is sent to the guest than its credit allows;
//! - what one side gave up ([`Halves`]) it does not get back, and each loss is told to the guest once;
//! - there is something to say ([`Connection::wants`]) only if saying it changes the state: an idle connection is silent.

use std::num::Wrapping;

use super::packet::{Halves, Op};

/// Bytes from the guest a connection holds while the host's side does not read, told to the guest as `buf_alloc`.
/// (Firecracker: 64 KiB. Four packets of Linux's largest size keep the pipe full under emulation.)
pub(super) const BUFFER: u32 = 256 * 1024;

/// How far the opening has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The host wants it; the request is not with the guest yet.
    Asking,
    /// The host wants it; the guest has the request.
    Asked,
    /// The guest wants it; the host's socket is being connected.
    Dialling,
    /// The guest wants it and the host's socket is connected; the guest is to be told.
    Answering,
    /// Both sides agreed.
    Open,
}

/// What a packet from the guest means for the host's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reaction {
    /// Nothing to do.
    Nothing,
    /// The guest accepted: the host's client hears `OK`.
    Accepted,
    /// The payload goes to the host's stream.
    Deliver,
    /// The guest gave up these directions, and not all of both: pass it on.
    Half(Halves),
    /// The guest is done with the connection: what is held still goes to the host, then the stream is closed.
    Finish,
    /// The packet fits no rule of the protocol: the connection ends with a reset.
    Violation,
}

/// What a connection says next to the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Say {
    /// A packet without payload.
    Control(Op, Halves),
    /// Up to this many bytes, if the host's stream has any.
    Data(u32),
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Connection {
    stage: Stage,
    /// From the guest: taken in, handed on, and handed on as the guest last heard.
    received: Wrapping<u32>,
    forwarded: Wrapping<u32>,
    told_forwarded: Wrapping<u32>,
    credit_asked_by_guest: bool,
    /// To the guest: sent, and what it said of its buffer.
    sent: Wrapping<u32>,
    guest_buffer: u32,
    guest_forwarded: Wrapping<u32>,
    credit_asked_by_us: bool,
    /// What the guest gave up, what the host's stream gave up, and what of that the guest was told.
    guest_gave_up: Halves,
    host_gave_up: Halves,
    told_gave_up: Halves,
    /// The host's stream may have bytes to read.
    readable: bool,
}

impl Connection {
    fn new(stage: Stage, guest_buffer: u32) -> Self {
        Self {
            stage,
            received: Wrapping(0),
            forwarded: Wrapping(0),
            told_forwarded: Wrapping(0),
            credit_asked_by_guest: false,
            sent: Wrapping(0),
            guest_buffer,
            guest_forwarded: Wrapping(0),
            credit_asked_by_us: false,
            guest_gave_up: Halves::default(),
            host_gave_up: Halves::default(),
            told_gave_up: Halves::default(),
            readable: false,
        }
    }

    /// A connection a client on the host asks for.
    pub(super) fn asked_by_host() -> Self {
        Self::new(Stage::Asking, 0)
    }

    /// A connection the guest asks for, with the buffer its request announced.
    pub(super) fn asked_by_guest(guest_buffer: u32) -> Self {
        Self::new(Stage::Dialling, guest_buffer)
    }

    /// The host's socket for a connection the guest asked for is connected.
    pub(super) fn dialled(&mut self) {
        if self.stage == Stage::Dialling {
            self.stage = Stage::Answering;
        }
    }

    /// Takes a packet of the guest. `len` is the payload's size, `flags` those of the header.
    pub(super) fn receive(&mut self, op: Op, flags: u32, len: u32, buf_alloc: u32, fwd_cnt: u32) -> Reaction {
        self.take_credit(buf_alloc, Wrapping(fwd_cnt));
        match (self.stage, op) {
            (Stage::Asked, Op::Response) => {
                self.stage = Stage::Open;
                Reaction::Accepted
            }
            (Stage::Open, Op::Data) => self.receive_data(len),
            (Stage::Open, Op::Shutdown) => {
                self.guest_gave_up = self.guest_gave_up.union(Halves::from_flags(flags));
                if self.guest_gave_up == Halves::BOTH {
                    Reaction::Finish
                } else {
                    Reaction::Half(self.guest_gave_up)
                }
            }
            (Stage::Open, Op::CreditUpdate) => Reaction::Nothing,
            (Stage::Open, Op::CreditRequest) => {
                self.credit_asked_by_guest = true;
                Reaction::Nothing
            }
            _ => Reaction::Violation,
        }
    }

    fn receive_data(&mut self, len: u32) -> Reaction {
        if self.guest_gave_up.sending || len > BUFFER - self.held() {
            return Reaction::Violation;
        }
        self.received += len;
        if self.host_gave_up.receiving {
            self.forwarded += len;
            return Reaction::Nothing;
        }
        if len == 0 {
            Reaction::Nothing
        } else {
            Reaction::Deliver
        }
    }

    /// Packets of several threads of the guest may overtake each other: a count older than the newest is no news,
    /// and one ahead of what was sent cannot be true.
    fn take_credit(&mut self, buf_alloc: u32, forwarded: Wrapping<u32>) {
        let known_in_flight = self.sent - self.guest_forwarded;
        if (forwarded - self.guest_forwarded) <= known_in_flight {
            self.guest_forwarded = forwarded;
        }
        self.guest_buffer = buf_alloc;
        if self.credit() > 0 {
            self.credit_asked_by_us = false;
        }
    }

    /// Bytes of the guest not yet handed on.
    pub(super) fn held(&self) -> u32 {
        (self.received - self.forwarded).0
    }

    /// Bytes the guest can take now.
    fn credit(&self) -> u32 {
        self.guest_buffer
            .saturating_sub((self.sent - self.guest_forwarded).0)
    }

    /// `count` bytes of the guest went into the host's stream.
    pub(super) fn handed_on(&mut self, count: u32) {
        self.forwarded += count.min(self.held());
    }

    /// The host's stream has bytes, or its end, to read.
    pub(super) fn host_readable(&mut self) {
        self.readable = !self.host_gave_up.sending;
    }

    /// The host's stream has nothing to read for now.
    pub(super) fn host_drained(&mut self) {
        self.readable = false;
    }

    /// The host's stream gave up directions. What is held for a host that no longer receives is let go.
    pub(super) fn host_gives_up(&mut self, halves: Halves) {
        self.host_gave_up = self.host_gave_up.union(halves);
        if self.host_gave_up.sending {
            self.readable = false;
        }
        if self.host_gave_up.receiving {
            self.forwarded = self.received;
        }
    }

    /// Whether the guest was told that the host is through in both directions: it should answer with a reset soon.
    pub(super) fn is_closing(&self) -> bool {
        self.told_gave_up == Halves::BOTH
    }

    /// Whether the guest has heard of this connection.
    pub(super) fn is_known_to_guest(&self) -> bool {
        self.stage != Stage::Asking
    }

    /// Whether [`Connection::say`] has something to say.
    pub(super) fn wants(&self) -> bool {
        self.next().is_some()
    }

    /// What to tell the guest now. A control packet counts as told; data only by [`Connection::sent`].
    pub(super) fn say(&mut self) -> Option<Say> {
        let say = self.next()?;
        match say {
            Say::Control(Op::Request, _) => self.stage = Stage::Asked,
            Say::Control(Op::Response, _) => self.stage = Stage::Open,
            Say::Control(Op::Shutdown, halves) => self.told_gave_up = halves,
            Say::Control(Op::CreditRequest, _) => self.credit_asked_by_us = true,
            _ => {}
        }
        if matches!(say, Say::Control(..)) {
            self.told_credit();
        }
        Some(say)
    }

    fn next(&self) -> Option<Say> {
        let control = |op| Some(Say::Control(op, Halves::default()));
        match self.stage {
            Stage::Asking => return control(Op::Request),
            Stage::Answering => return control(Op::Response),
            Stage::Asked | Stage::Dialling => return None,
            Stage::Open => {}
        }
        // Before data: the host gives up sending only when all it sent was read, and a guest that writes to a host that
        // no longer receives should hear so at once.
        if self.host_gave_up != self.told_gave_up {
            return Some(Say::Control(Op::Shutdown, self.host_gave_up));
        }
        if self.readable && !self.guest_gave_up.receiving {
            match self.credit() {
                0 if !self.credit_asked_by_us => return control(Op::CreditRequest),
                0 => {}
                credit => return Some(Say::Data(credit)),
            }
        }
        // Half the buffer is free and the guest does not know: any later and it would stop, any sooner is chatter.
        let unheard = (self.forwarded - self.told_forwarded).0;
        if self.credit_asked_by_guest || unheard >= BUFFER / 2 {
            return control(Op::CreditUpdate);
        }
        None
    }

    /// `count` bytes went to the guest.
    pub(super) fn sent(&mut self, count: u32) {
        self.sent += count;
        self.told_credit();
    }

    /// Every packet carries our counts.
    fn told_credit(&mut self) {
        self.told_forwarded = self.forwarded;
        self.credit_asked_by_guest = false;
    }

    /// The count of handed-on bytes for a header's `fwd_cnt`.
    pub(super) fn fwd_cnt(&self) -> u32 {
        self.forwarded.0
    }
}

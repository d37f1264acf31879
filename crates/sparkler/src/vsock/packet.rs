//! The header before every virtio-vsock packet: 44 bytes, little endian (virtio 1.2, section 5.10.6).
//!
//! Decoding never fails on a value: an operation nobody knows stays a number, so that the state machine and not the
//! parser decides what to do with a packet that makes no sense.

/// Bytes of a header.
pub(super) const HEADER_LEN: usize = 44;
/// The host's context id, fixed by the specification.
pub(super) const HOST_CID: u64 = 2;
/// The largest payload a packet may carry: what Linux allows itself.
pub(super) const MAX_PAYLOAD: usize = 64 * 1024;
/// The type field of stream sockets, the only ones this device offers.
pub(super) const TYPE_STREAM: u16 = 1;

/// What a packet asks for or says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    /// Open a connection.
    Request,
    /// The answer that accepts one.
    Response,
    /// End a connection at once, or refuse one.
    Reset,
    /// No more sending, no more receiving, or both: see [`Halves`].
    Shutdown,
    /// Payload.
    Data,
    /// How much the sender can take; any packet says so, this one says nothing else.
    CreditUpdate,
    /// Asks for a [`Op::CreditUpdate`].
    CreditRequest,
    /// A number the specification gives no meaning to.
    Unknown(u16),
}

impl Op {
    fn from_wire(op: u16) -> Self {
        match op {
            1 => Self::Request,
            2 => Self::Response,
            3 => Self::Reset,
            4 => Self::Shutdown,
            5 => Self::Data,
            6 => Self::CreditUpdate,
            7 => Self::CreditRequest,
            other => Self::Unknown(other),
        }
    }

    fn to_wire(self) -> u16 {
        match self {
            Self::Request => 1,
            Self::Response => 2,
            Self::Reset => 3,
            Self::Shutdown => 4,
            Self::Data => 5,
            Self::CreditUpdate => 6,
            Self::CreditRequest => 7,
            Self::Unknown(op) => op,
        }
    }
}

/// Which directions of a connection one side has given up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Halves {
    /// It will receive nothing more (`VIRTIO_VSOCK_SHUTDOWN_RCV`).
    pub receiving: bool,
    /// It will send nothing more (`VIRTIO_VSOCK_SHUTDOWN_SEND`).
    pub sending: bool,
}

impl Halves {
    /// Both directions.
    pub(super) const BOTH: Self = Self {
        receiving: true,
        sending: true,
    };

    /// From the flags of a [`Op::Shutdown`] packet.
    pub(super) fn from_flags(flags: u32) -> Self {
        Self {
            receiving: flags & 1 != 0,
            sending: flags & 2 != 0,
        }
    }

    /// As the flags of a [`Op::Shutdown`] packet.
    pub(super) fn to_flags(self) -> u32 {
        u32::from(self.receiving) | u32::from(self.sending) << 1
    }

    /// What either of the two gave up: a promise not to send cannot be taken back.
    pub(super) fn union(self, other: Self) -> Self {
        Self {
            receiving: self.receiving || other.receiving,
            sending: self.sending || other.sending,
        }
    }
}

/// A packet's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Context id of the sender.
    pub src_cid: u64,
    /// Context id of the receiver.
    pub dst_cid: u64,
    /// Port of the sender.
    pub src_port: u32,
    /// Port of the receiver.
    pub dst_port: u32,
    /// Bytes of payload that follow.
    pub len: u32,
    /// Socket type, [`TYPE_STREAM`] for all this device understands.
    pub kind: u16,
    /// What the packet is for.
    pub op: Op,
    /// Only [`Op::Shutdown`] gives them a meaning.
    pub flags: u32,
    /// Bytes the sender can hold for this connection in all.
    pub buf_alloc: u32,
    /// Bytes of this connection that have left the sender's buffer, modulo 2^32.
    pub fwd_cnt: u32,
}

impl Header {
    /// Reads a header.
    pub(super) fn decode(bytes: &[u8; HEADER_LEN]) -> Self {
        let mut fields = Fields(bytes);
        Self {
            src_cid: u64::from_le_bytes(fields.take()),
            dst_cid: u64::from_le_bytes(fields.take()),
            src_port: u32::from_le_bytes(fields.take()),
            dst_port: u32::from_le_bytes(fields.take()),
            len: u32::from_le_bytes(fields.take()),
            kind: u16::from_le_bytes(fields.take()),
            op: Op::from_wire(u16::from_le_bytes(fields.take())),
            flags: u32::from_le_bytes(fields.take()),
            buf_alloc: u32::from_le_bytes(fields.take()),
            fwd_cnt: u32::from_le_bytes(fields.take()),
        }
    }

    /// Writes a header.
    pub(super) fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        let mut at = 0;
        for field in [
            &self.src_cid.to_le_bytes()[..],
            &self.dst_cid.to_le_bytes(),
            &self.src_port.to_le_bytes(),
            &self.dst_port.to_le_bytes(),
            &self.len.to_le_bytes(),
            &self.kind.to_le_bytes(),
            &self.op.to_wire().to_le_bytes(),
            &self.flags.to_le_bytes(),
            &self.buf_alloc.to_le_bytes(),
            &self.fwd_cnt.to_le_bytes(),
        ] {
            bytes[at..at + field.len()].copy_from_slice(field);
            at += field.len();
        }
        bytes
    }
}

/// The fields of a header not read yet. They add up to [`HEADER_LEN`]: [`Header::decode`] takes no more than there is.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (field, rest) = self.0.split_at(N);
        self.0 = rest;
        let mut bytes = [0; N];
        bytes.copy_from_slice(field);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_decode_and_encode_to_themselves(bytes in prop::array::uniform32(any::<u8>()), tail in prop::array::uniform12(any::<u8>())) {
            let mut raw = [0; HEADER_LEN];
            raw[..32].copy_from_slice(&bytes);
            raw[32..].copy_from_slice(&tail);
            prop_assert_eq!(Header::decode(&raw).encode(), raw);
        }
    }

    #[test]
    fn fields_lie_where_the_specification_puts_them() {
        let header = Header {
            src_cid: 3,
            dst_cid: HOST_CID,
            src_port: 0x0102_0304,
            dst_port: 1024,
            len: 5,
            kind: TYPE_STREAM,
            op: Op::Shutdown,
            flags: Halves::BOTH.to_flags(),
            buf_alloc: 65536,
            fwd_cnt: 7,
        };
        let raw = header.encode();
        assert_eq!(raw[0], 3);
        assert_eq!(raw[8], 2);
        assert_eq!(raw[16..20], [4, 3, 2, 1]);
        assert_eq!(raw[20..24], [0, 4, 0, 0]);
        assert_eq!(raw[24..28], [5, 0, 0, 0]);
        assert_eq!(raw[28..32], [1, 0, 4, 0]);
        assert_eq!(raw[32..36], [3, 0, 0, 0]);
        assert_eq!(raw[36..40], [0, 0, 1, 0]);
        assert_eq!(raw[40..44], [7, 0, 0, 0]);
    }
}

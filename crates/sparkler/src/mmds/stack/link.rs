//! Frames in memory, as smoltcp's idea of a network card.

use std::collections::VecDeque;

use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;

use super::ETHERNET_HEADER;

/// Frames that may wait to be taken by the guest; the rest waits in the connections.
pub(super) const MAX_FRAMES: usize = 32;

/// The card: what the guest sent, and what it is to get.
#[derive(Default)]
pub(super) struct Link {
    pub(super) received: VecDeque<Vec<u8>>,
    pub(super) sending: VecDeque<Vec<u8>>,
    /// Bytes of payload in a frame.
    pub(super) mtu: usize,
}

pub(super) struct Received(Vec<u8>);

pub(super) struct Sending<'a>(&'a mut VecDeque<Vec<u8>>);

impl Device for Link {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, _now: Instant) -> Option<(Received, Sending<'_>)> {
        let frame = self.received.pop_front()?;
        Some((Received(frame), Sending(&mut self.sending)))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Sending<'_>> {
        (self.sending.len() < MAX_FRAMES).then_some(Sending(&mut self.sending))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = self.mtu + ETHERNET_HEADER;
        capabilities
    }
}

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

impl TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, write: F) -> R {
        let mut frame = vec![0; len];
        let result = write(&mut frame);
        self.0.push_back(frame);
        result
    }
}

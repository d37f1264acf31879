//! The frames of the boot dialogue, as a hostile guest or host may send them.

use guest_protocol::frame::Decoder;
use guest_protocol::{GuestMessage, HostMessage};

pub(crate) fn run(bytes: &[u8]) {
    let mut guest = Decoder::default();
    guest.push(bytes);
    while let Ok(Some(_)) = guest.message::<GuestMessage>() {}
    let mut host = Decoder::default();
    host.push(bytes);
    while let Ok(Some(_)) = host.message::<HostMessage>() {}
}

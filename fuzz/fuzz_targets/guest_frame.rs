//! The frames of the boot dialogue, as a hostile guest or host may send them.
#![no_main]

use guest_protocol::frame::Decoder;
use guest_protocol::{GuestMessage, HostMessage};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut guest = Decoder::default();
    guest.push(bytes);
    while let Ok(Some(_)) = guest.message::<GuestMessage>() {}
    let mut host = Decoder::default();
    host.push(bytes);
    while let Ok(Some(_)) = host.message::<HostMessage>() {}
});

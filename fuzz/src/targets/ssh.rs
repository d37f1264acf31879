//! What a client of the guest's SSH server may send: packets, offers, keys, requests; and what its users may write.

use powerunit::ssh::Entry;
use powerunit::ssh::protocol::cipher::{Cipher, Keys, Opener};
use powerunit::ssh::protocol::connection::Message;
use powerunit::ssh::protocol::negotiation::agree;
use powerunit::ssh::protocol::public_key::PublicKey;
use powerunit::ssh::protocol::userauth::Request;

pub(crate) fn run(bytes: &[u8]) {
    let Some((&kind, rest)) = bytes.split_first() else {
        return;
    };
    match kind % 6 {
        0 => {
            let mut packets = rest.to_vec();
            let _ = Opener::clear().open(&mut packets);
            for cipher in Cipher::ALL {
                let mut opener = Opener::clear();
                let key = [7; 64];
                let key = key.get(..cipher.key_length()).unwrap_or(&key);
                if opener.rekey(&Keys { cipher, key, iv: &[9; 12] }, true).is_ok() {
                    let _ = opener.open(&mut rest.to_vec());
                }
            }
        }
        1 => drop(agree(rest)),
        2 => drop(Message::parse(rest)),
        3 => drop(Request::parse(rest, &[1; 32], &[2; 51])),
        4 => {
            if let Ok(key) = PublicKey::parse(rest) {
                let _ = key.verify(key.name(), b"message", rest);
            }
        }
        _ => {
            if let Ok(text) = std::str::from_utf8(rest) {
                let _ = text.lines().map(Entry::parse).count();
            }
        }
    }
}

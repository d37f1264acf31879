//! Moving bytes between a channel and descriptors, with an end for each direction.
//!
//! The invariant: a direction that ends does not end the other, and what was read before an end is delivered.

use std::os::fd::BorrowedFd;

use rustix::buffer::spare_capacity;

use super::channel::{Channel, Received};
use super::fd::Fd;

/// How many bytes are read from a program or socket at once: a channel's largest message.
const CHUNK: usize = 32 * 1024;

/// From the client into `fd`, until the client has no more. `false`: nobody reads from `fd` any more.
pub(super) async fn inward(channel: &Channel, fd: &Fd) -> bool {
    let mut data = Vec::new();
    while channel.receive(&mut data).await == Received::Data {
        for piece in data.chunks(CHUNK) {
            if fd.write_all(piece).await.is_err() {
                return false;
            }
            channel.used(piece.len());
        }
    }
    true
}

/// What the client sends is dropped, until it has no more.
pub(super) async fn discard(channel: &Channel) {
    let mut data = Vec::new();
    while channel.receive(&mut data).await == Received::Data {
        channel.used(data.len());
    }
}

/// From `fd` to the client, until either ends. A terminal whose other end is closed gives an error: an end, too.
pub(super) async fn outward(fd: &Fd, channel: &Channel, stderr: bool) {
    // Memory is taken when there is something to read, so that many idle sessions hold none.
    let read = |fd: BorrowedFd<'_>| {
        let mut data = Vec::with_capacity(CHUNK);
        rustix::io::read(fd, spare_capacity(&mut data)).map(|_| data)
    };
    while let Ok(data) = fd.read_with(read).await {
        if data.is_empty() || channel.send(&data, stderr).await.is_err() {
            return;
        }
    }
}

/// Both ways between the client and a socket, until both ends are reached or the client closes the channel.
pub(super) async fn duplex(channel: &Channel, socket: &Fd) {
    let inward = async {
        if inward(channel, socket).await {
            socket.finish();
        } else {
            discard(channel).await;
        }
    };
    let outward = async {
        outward(socket, channel, false).await;
        channel.eof();
    };
    tokio::join!(inward, outward);
}

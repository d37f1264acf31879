//! SFTP version 3 (draft-ietf-secsh-filexfer-02) with OpenSSH's extensions, on standard input and output.
//!
//! The invariant: it runs in a process of the user's own, so that the kernel decides what may be touched; it is as safe as
//! the user's shell and checks no path itself. Names are bytes, as the kernel has them, and need not be text.
//!
//! One thread, no runtime: a request is answered before the next is looked at, and answers are written when no more
//! requests wait.

mod attributes;
mod copy;
mod extension;
mod handles;
mod listing;
mod request;
mod status;

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd as _;

pub use request::Server;

/// The longest request accepted and answer given, in bytes; OpenSSH's own limit.
pub const MAX_PACKET: usize = 256 * 1024;

/// The most bytes read or written by one request: what a packet holds beside its other fields.
pub const MAX_DATA: usize = MAX_PACKET - 1024;

/// Serves standard input and output to the end of the input.
///
/// # Errors
///
/// As [`serve`].
pub fn serve_standard_streams() -> io::Result<()> {
    // Unbuffered: whole packets go through, and binary data has no lines.
    let input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    serve(input, output)
}

/// Serves `input` to its end.
///
/// # Errors
///
/// The client has broken the framing, or one of the streams has failed.
pub fn serve(mut input: impl Read, mut output: impl Write) -> io::Result<()> {
    let mut server = Server::new();
    let mut requests = Vec::new();
    let mut answers = Vec::new();
    let mut buffer = vec![0; MAX_PACKET];
    loop {
        let length = match input.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        requests.extend_from_slice(buffer.get(..length).unwrap_or_default());
        let mut used = 0;
        while let Some((packet, rest)) = split(requests.get(used..).unwrap_or_default())? {
            server.answer(packet, &mut answers);
            used = requests.len() - rest;
            if answers.len() >= MAX_PACKET {
                output.write_all(&answers)?;
                answers.clear();
            }
        }
        requests.drain(..used);
        output.write_all(&answers)?;
        output.flush()?;
        answers.clear();
    }
}

/// The first packet of `bytes`, if it is all there, and how many bytes follow it.
fn split(bytes: &[u8]) -> io::Result<Option<(&[u8], usize)>> {
    let Some((length, rest)) = bytes.split_first_chunk() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes(*length) as usize;
    if length > MAX_PACKET || length == 0 {
        let text = format!("a request of {length} bytes is outside the limits");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    Ok(rest
        .split_at_checked(length)
        .map(|(packet, rest)| (packet, rest.len())))
}

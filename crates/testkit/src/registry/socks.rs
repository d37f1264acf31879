//! As much of SOCKS 5 as a test's network needs (RFC 1928): CONNECT, without a user.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};

use super::head::Seen;

/// The first byte of all that a client says.
pub(super) const VERSION: u8 = 5;

/// Greets a client and says yes to what it asks for: a target `HOST:PORT`, with the method `SOCKS`.
pub(super) fn accept(client: &mut TcpStream) -> io::Result<Seen> {
    let [_version, methods] = take(client)?;
    io::copy(&mut client.take(methods.into()), &mut io::sink())?;
    client.write_all(&[VERSION, 0])?;
    let [_version, _command, _reserved, kind] = take(client)?;
    let host = match kind {
        1 => Ipv4Addr::from(take(client)?).to_string(),
        3 => {
            let [length] = take(client)?;
            let mut name = String::new();
            client.take(length.into()).read_to_string(&mut name)?;
            name
        }
        _ => return Err(io::ErrorKind::Unsupported.into()),
    };
    let port = u16::from_be_bytes(take(client)?);
    client.write_all(&[VERSION, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
    Ok(Seen {
        method: "SOCKS".to_owned(),
        target: format!("{host}:{port}"),
        headers: Vec::new(),
    })
}

fn take<const N: usize>(client: &mut TcpStream) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    client.read_exact(&mut bytes)?;
    Ok(bytes)
}

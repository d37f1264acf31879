//! The host's sockets: the one clients connect to, the greeting they send, and the ones the guest dials.
//!
//! Nothing here blocks, and nothing is read past the greeting's line: what follows it belongs to the guest.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, fchmod};
use rustix::net::{
    AddressFamily, RecvFlags, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, recv,
    socket_with,
};

/// The longest greeting: `CONNECT 4294967295` and a line's end, with room for blanks, as in Firecracker.
const GREETING_MAX: usize = 32;
/// Clients that may wait to be accepted.
const BACKLOG: i32 = 1024;

/// Listens at `path`, for this user only.
pub(super) fn listen_at(path: &Path) -> io::Result<UnixListener> {
    let socket = stream_socket()?;
    // On Linux the file gets the mode the socket has: no moment at which others could connect.
    match fchmod(&socket, Mode::RUSR | Mode::WUSR) {
        // In a jail whose processes may change no file's mode: who made it keeps others out, by its umask (see knaller's).
        Err(rustix::io::Errno::PERM) => {}
        done => done?,
    }
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    if let Err(error) = listen(&socket, BACKLOG) {
        let _ = fs::remove_file(path);
        return Err(error.into());
    }
    Ok(UnixListener::from(socket))
}

fn stream_socket() -> rustix::io::Result<std::os::fd::OwnedFd> {
    socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::NONBLOCK | SocketFlags::CLOEXEC,
        None,
    )
}

/// What came of trying to connect to a port of the host.
#[derive(Debug)]
pub(super) enum Dialled {
    /// Connected.
    Connected(UnixStream),
    /// Its listener is there and busy: try again.
    Busy,
    /// Nobody listens, or no socket can be had.
    Refused(io::Error),
}

/// Connects to what listens for `port`: the socket beside the client's one, `PATH_PORT`.
pub(super) fn dial(uds_path: &Path, port: u32) -> Dialled {
    let attempt = || -> rustix::io::Result<UnixStream> {
        let socket = stream_socket()?;
        connect(&socket, &SocketAddrUnix::new(port_path(uds_path, port))?)?;
        Ok(UnixStream::from(socket))
    };
    match attempt() {
        Ok(stream) => Dialled::Connected(stream),
        Err(rustix::io::Errno::AGAIN) => Dialled::Busy,
        Err(error) => Dialled::Refused(error.into()),
    }
}

fn port_path(uds_path: &Path, port: u32) -> PathBuf {
    let mut path = uds_path.as_os_str().to_owned();
    path.push(format!("_{port}"));
    path.into()
}

/// How far a client's greeting has come.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Greeting {
    /// Not all of it is here.
    Partial,
    /// The guest port it asks for.
    Connect(u32),
    /// Not a greeting, or the client is gone.
    Bad,
}

/// Reads `CONNECT PORT` from a client, once the whole line is there.
pub(super) fn read_greeting(stream: &mut UnixStream) -> Greeting {
    let mut line = [0; GREETING_MAX];
    let peeked = match recv(stream.as_fd(), &mut line, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
        Ok((0, _)) => return Greeting::Bad,
        Ok((peeked, _)) => peeked,
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Greeting::Partial,
        Err(_) => return Greeting::Bad,
    };
    let Some(end) = line[..peeked].iter().position(|&byte| byte == b'\n') else {
        return if peeked < GREETING_MAX {
            Greeting::Partial
        } else {
            Greeting::Bad
        };
    };
    match (stream.read_exact(&mut line[..=end]), parse_greeting(&line[..end])) {
        (Ok(()), Some(port)) => Greeting::Connect(port),
        _ => Greeting::Bad,
    }
}

/// Case and further words do not matter, as in Firecracker.
fn parse_greeting(line: &[u8]) -> Option<u32> {
    let mut words = std::str::from_utf8(line).ok()?.split_whitespace();
    words.next().filter(|word| word.eq_ignore_ascii_case("connect"))?;
    words.next()?.parse().ok()
}

/// A host's stream and the bytes from the guest it has not taken yet.
#[derive(Debug)]
pub(super) struct HostStream {
    /// The socket, non-blocking.
    pub socket: UnixStream,
    held: VecDeque<u8>,
}

/// What became of a write.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// So many bytes left for good; the rest is held.
    Bytes(usize),
    /// The host receives nothing more; what was held is gone.
    Deaf,
}

impl HostStream {
    /// Nothing held yet.
    pub(super) fn new(socket: UnixStream) -> Self {
        Self {
            socket,
            held: VecDeque::new(),
        }
    }

    /// Whether everything the guest sent was taken.
    pub(super) fn is_flushed(&self) -> bool {
        self.held.is_empty()
    }

    /// Writes behind what is held, and holds what does not fit. The connection's credit bounds it.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Written {
        if !self.held.is_empty() {
            self.held.extend(bytes);
            return Written::Bytes(0);
        }
        match write_some(&self.socket, bytes) {
            Some(count) => {
                self.held.extend(bytes.get(count..).unwrap_or_default());
                Written::Bytes(count)
            }
            None => Written::Deaf,
        }
    }

    /// Writes what is held.
    pub(super) fn flush(&mut self) -> Written {
        let mut total = 0;
        while !self.held.is_empty() {
            let (front, _) = self.held.as_slices();
            match write_some(&self.socket, front) {
                Some(0) => break,
                Some(count) => {
                    self.held.drain(..count);
                    total += count;
                }
                None => {
                    self.held = VecDeque::new();
                    return Written::Deaf;
                }
            }
        }
        if self.held.is_empty() {
            // Hundreds of connections that once had a slow reader should not keep its buffer.
            self.held = VecDeque::new();
        }
        Written::Bytes(total)
    }
}

/// Writes until the socket takes no more. `None`: it will never take more.
fn write_some(mut socket: &UnixStream, bytes: &[u8]) -> Option<usize> {
    let mut total = 0;
    while let Some(rest) = bytes.get(total..).filter(|rest| !rest.is_empty()) {
        match socket.write(rest) {
            Ok(count) => total += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(_) => return None,
        }
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn greet(bytes: &[u8]) -> (Greeting, Vec<u8>) {
        let (mut client, mut server) = UnixStream::pair().unwrap();
        client.write_all(bytes).unwrap();
        drop(client);
        server.set_nonblocking(true).unwrap();
        let greeting = read_greeting(&mut server);
        let mut rest = Vec::new();
        server.read_to_end(&mut rest).unwrap();
        (greeting, rest)
    }

    #[test]
    fn a_greeting_is_read_to_its_line_end_and_no_further() {
        assert_eq!(
            greet(b"CONNECT 52\nhello"),
            (Greeting::Connect(52), b"hello".to_vec())
        );
        assert_eq!(greet(b"connect 4294967295\r\n").0, Greeting::Connect(u32::MAX));
        assert_eq!(greet(b"Connect  1 and more\n").0, Greeting::Connect(1));
    }

    #[test]
    fn what_is_no_greeting_is_refused() {
        for bad in [
            &b"GET / HTTP/1.1\n"[..],
            b"CONNECT\n",
            b"CONNECT -1\n",
            b"CONNECT 4294967296\n",
            b"\n",
            b"\xff\xfe\n",
            b"",
        ] {
            assert_eq!(greet(bad).0, Greeting::Bad, "{bad:?}");
        }
        assert_eq!(greet(&[b'x'; 40]).0, Greeting::Bad);
    }

    #[test]
    fn half_a_greeting_stays_where_it_is() {
        assert_eq!(greet(b"CONNECT 5"), (Greeting::Partial, b"CONNECT 5".to_vec()));
    }

    #[test]
    fn the_socket_is_for_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("v.sock");
        let _listener = listen_at(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(listen_at(&path).unwrap_err().kind(), ErrorKind::AddrInUse);
    }

    #[test]
    fn nobody_listening_is_a_refusal() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(
            dial(&folder.path().join("v.sock"), 7),
            Dialled::Refused(_)
        ));
    }
}

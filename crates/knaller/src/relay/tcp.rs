//! Connections. The invariant: each end hears of the other what it would without a relay between: its bytes in order, that
//! it has said all, and that it broke.

use std::io;
use std::net::{SocketAddr, TcpListener as Listener};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{listen, sockopt};
use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

/// The most connections carried at once; later ones wait to be taken.
const MAX_CONNECTIONS: usize = 256;

/// How many may wait.
const BACKLOG: i32 = 128;

/// How long the guest may take to accept one.
const CONNECTING: Duration = Duration::from_secs(30);

/// How long a connection may say nothing before its peer is asked whether it is there.
const SILENCE: Duration = Duration::from_secs(120);

/// How long to wait for files when there are none.
const PAUSE: Duration = Duration::from_millis(100);

/// How much of a connection is held here for each direction, in bytes: who sends more waits.
const BUFFER: usize = 32 << 10;

/// Takes over a socket that listens.
pub(super) fn listener(socket: OwnedFd) -> io::Result<TcpListener> {
    listen(&socket, BACKLOG)?;
    let listener = Listener::from(socket);
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

pub(super) async fn serve(listener: TcpListener, guest: SocketAddr) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    while let Ok(place) = Arc::clone(&room).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(async move {
                    carry(stream, guest).await;
                    drop(place);
                });
            }
            // It went before it was taken, or there are no files for it: others may end.
            Err(_) => sleep(PAUSE).await,
        }
    }
}

async fn carry(mut peer: TcpStream, guest: SocketAddr) {
    let Ok(Ok(mut server)) = timeout(CONNECTING, TcpStream::connect(guest)).await else {
        return reset(&peer);
    };
    prepare(&peer);
    prepare(&server);
    // It shuts one down for writing when the other has said all.
    let carried = copy_bidirectional_with_sizes(&mut peer, &mut server, BUFFER, BUFFER).await;
    if carried.is_err() {
        reset(&peer);
        reset(&server);
    }
}

/// Small messages go at once, and a peer that has gone without a word is found.
fn prepare(stream: &TcpStream) {
    // None of it is worth a connection.
    let _ = stream.set_nodelay(true);
    let _ = sockopt::set_socket_keepalive(stream, true);
    let _ = sockopt::set_tcp_keepidle(stream, SILENCE);
}

/// Has the end of this connection be a reset.
fn reset(stream: &TcpStream) {
    let _ = sockopt::set_socket_linger(stream, Some(Duration::ZERO));
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read as _, Write as _};
    use std::net::{Shutdown, TcpListener as Listener, TcpStream as Stream};
    use std::thread;

    use super::*;

    /// Carries from a port to `guest` until the runtime is dropped.
    fn relay(guest: SocketAddr) -> (tokio::runtime::Runtime, SocketAddr) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let socket = Listener::bind("127.0.0.1:0").unwrap();
        let local = socket.local_addr().unwrap();
        runtime.spawn(async move { serve(listener(socket.into()).unwrap(), guest).await });
        (runtime, local)
    }

    #[test]
    fn each_end_may_say_all_first() {
        let guest = Listener::bind("127.0.0.1:0").unwrap();
        let (_runtime, port) = relay(guest.local_addr().unwrap());
        let server = thread::spawn(move || {
            let (mut stream, _) = guest.accept().unwrap();
            let mut asked = Vec::new();
            stream.read_to_end(&mut asked).unwrap();
            // Only now, when the other has ended.
            stream.write_all(&asked).unwrap();
        });
        let text: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
        let mut stream = Stream::connect(port).unwrap();
        stream.write_all(&text).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert!(answer == text, "{} bytes came back", answer.len());
        server.join().unwrap();
    }

    #[test]
    fn who_does_not_read_stops_the_sender() {
        let guest = Listener::bind("127.0.0.1:0").unwrap();
        let (_runtime, port) = relay(guest.local_addr().unwrap());
        let mut stream = Stream::connect(port).unwrap();
        let (server, _) = guest.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        let part = [0; 1 << 16];
        let mut sent = 0;
        // The kernel's buffers fill, and the relay's; 1 GiB is more than all of them may have.
        let full = loop {
            match stream.write(&part) {
                Ok(bytes) => sent += bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let mut polled = [rustix::event::PollFd::new(&stream, rustix::event::PollFlags::OUT)];
                    let second = rustix::event::Timespec {
                        tv_sec: 1,
                        tv_nsec: 0,
                    };
                    if rustix::event::poll(&mut polled, Some(&second)).unwrap() == 0 {
                        break true;
                    }
                }
                Err(error) => panic!("{error}"),
            }
            if sent > 1 << 30 {
                break false;
            }
        };
        assert!(full, "{sent} bytes were taken that nobody read");
        drop(server);
    }

    #[test]
    fn a_port_that_nobody_listens_on_is_a_reset() {
        let nobody = Listener::bind("127.0.0.1:0").unwrap();
        let guest = nobody.local_addr().unwrap();
        drop(nobody);
        let (_runtime, port) = relay(guest);
        let mut stream = Stream::connect(port).unwrap();
        let error = stream.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
}

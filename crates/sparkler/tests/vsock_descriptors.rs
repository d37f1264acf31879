//! The vsock device when the process runs out of descriptors, in a process of its own.

#![allow(clippy::unwrap_used, reason = "only tests use this")]

mod support;

use std::collections::VecDeque;
use std::io::Write;
use std::os::unix::net::UnixStream;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use rustix::process::{Resource, getrlimit, setrlimit};
use support::PATIENCE;
use support::guest::{ECHO, Guest, line};

#[test]
fn clients_wait_until_there_are_descriptors_again() {
    let guest = Guest::start();
    drop(guest.connect(ECHO));
    let sockets: Vec<_> = (0..60)
        .map(|_| {
            socket_with(
                AddressFamily::UNIX,
                SocketType::STREAM,
                SocketFlags::CLOEXEC,
                None,
            )
            .unwrap()
        })
        .collect();
    // The sockets of the clients are there: what is left is for the device's ends, twenty of them.
    let open = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = Some(open + 20);
    setrlimit(Resource::Nofile, limit).unwrap();
    let address = SocketAddrUnix::new(&guest.uds_path).unwrap();
    let mut clients: VecDeque<UnixStream> = sockets
        .into_iter()
        .map(|socket| {
            connect(&socket, &address).unwrap();
            let client = UnixStream::from(socket);
            client.set_read_timeout(Some(PATIENCE)).unwrap();
            writeln!(&client, "CONNECT {ECHO}").unwrap();
            client
        })
        .collect();
    let mut served = 0;
    while let Some(client) = clients.pop_front() {
        assert!(
            line(&client).starts_with("OK "),
            "client {served} was turned away"
        );
        writeln!(&client, "hello").unwrap();
        assert_eq!(line(&client), "hello");
        served += 1;
    }
    assert_eq!(served, 60);
}

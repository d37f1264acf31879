//! The vsock device when the process runs out of descriptors, in a process of its own.

#![allow(clippy::unwrap_used, reason = "only tests use this")]

mod support;

use std::collections::VecDeque;
use std::io::Write;
use std::os::unix::net::UnixStream;

use rustix::process::{Resource, getrlimit, setrlimit};
use support::PATIENCE;
use support::guest::{ECHO, Guest, line};

#[test]
fn clients_wait_until_there_are_descriptors_again() {
    let guest = Guest::start();
    drop(guest.connect(ECHO));
    let open = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
    let mut limit = getrlimit(Resource::Nofile);
    // Sixty clients here, and room for twenty of them there.
    limit.current = Some(open + 80);
    setrlimit(Resource::Nofile, limit).unwrap();
    let mut clients: VecDeque<UnixStream> = (0..60)
        .map(|_| {
            let client = UnixStream::connect(&guest.uds_path).unwrap();
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

//! A pumped network interface on a TAP of the kernel's, in a network namespace of its own.

#![allow(clippy::unwrap_used, reason = "only tests use this")]

mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::thread;

use sparkler::devices::tap::{HEADER, Tap};
use sparkler::net::{Config, DEFAULT_MTU, Limits, Pump};
use support::client::{Client, Wire};

const HOST: Ipv4Addr = Ipv4Addr::new(172, 16, 0, 1);
const INSIDE: &str = "SPARKLER_TEST_INSIDE_NAMESPACE";

/// Runs this test again, alone, where it may make interfaces.
fn enter_namespace(test: &str) {
    let root = rustix::process::geteuid().is_root();
    let status = Command::new("unshare")
        .arg(if root { "-n" } else { "-rn" })
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .unwrap();
    assert!(status.success(), "see above");
}

fn ip(arguments: &str) {
    assert!(
        Command::new("ip")
            .args(arguments.split(' '))
            .status()
            .unwrap()
            .success(),
        "ip {arguments}"
    );
}

#[test]
fn the_kernels_tcp_gets_through() {
    if std::env::var_os(INSIDE).is_none() {
        return enter_namespace("the_kernels_tcp_gets_through");
    }
    let tap = Tap::open("tap0").unwrap();
    // As somebody may have left it: frames without checksums, and of 64 KiB.
    let offloads = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6;
    // SAFETY: TUNSETOFFLOAD takes its argument by value.
    let left = unsafe { libc::ioctl(tap.as_fd().as_raw_fd(), libc::TUNSETOFFLOAD, offloads) };
    assert_eq!(left, 0);
    ip("addr add 172.16.0.1/30 dev tap0");
    ip("link set tap0 up");
    let (ours, theirs) = UnixStream::pair().unwrap();
    let pump = Pump::start(Config {
        id: "eth0".into(),
        tap: tap.as_fd().try_clone_to_owned().unwrap(),
        tap_header: HEADER as usize,
        qemu: theirs,
        mac: None,
        mtu: DEFAULT_MTU,
        limits: Limits::default(),
        mmds: None,
    })
    .unwrap();
    let listener = TcpListener::bind((HOST, 80)).unwrap();
    let body: String = (0..200_000).map(|number| format!("{number:07} ")).collect();
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut asked = String::new();
        BufReader::new(stream.try_clone().unwrap())
            .read_line(&mut asked)
            .unwrap();
        stream.write_all(answer.as_bytes()).unwrap();
        asked
    });
    let mut client = Client::new(Wire::new(ours));
    assert!(client.ask(HOST, "GET / HTTP/1.1\r\n\r\n").1 == body);
    assert_eq!(server.join().unwrap(), "GET / HTTP/1.1\r\n");
    assert!(pump.metrics().rx_bytes_count.get() > body.len() as u64);
    assert_eq!(pump.metrics().tap_write_fails.get(), 0);
}

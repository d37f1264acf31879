//! A pumped network interface: its frames, its limits and the metadata service behind it. The test plays QEMU and TAP.

#![allow(clippy::unwrap_used, reason = "only tests use this")]

mod support;

use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use firecracker_api::models::{MmdsConfig, MmdsVersion, RateLimiter, TokenBucket};
use proptest::prelude::*;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair};
use serde_json::json;
use sparkler::mmds::Mmds;
use sparkler::net::{Config, DEFAULT_MTU, Limits, Pump};
use support::PATIENCE;
use support::client::{Client, GUEST_MAC, Wire, frame, who_has};

const MMDS: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
const ELSEWHERE: [u8; 6] = [2, 0, 0, 0, 0, 9];

struct Interface {
    wire: Wire,
    tap: OwnedFd,
    pump: Pump,
}

impl Interface {
    fn new(limits: Limits, mmds: Option<Mmds>) -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let flags = SocketFlags::CLOEXEC;
        let (tap, host) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        let pump = Pump::start(Config {
            id: "eth0".into(),
            tap: host,
            tap_header: 0,
            qemu: theirs,
            mac: None,
            mtu: DEFAULT_MTU,
            limits,
            mmds: mmds.map(|mmds| (mmds, MMDS)),
        });
        Self {
            wire: Wire::new(ours),
            tap,
            pump: pump.unwrap(),
        }
    }

    /// What the host gets next, if anything comes in this time.
    fn host_receives(&self, patience: Duration) -> Option<Vec<u8>> {
        let timeout = Timespec::try_from(patience).unwrap();
        if poll(&mut [PollFd::new(&self.tap, PollFlags::IN)], Some(&timeout)).unwrap() == 0 {
            return None;
        }
        let mut buffer = vec![0; 70_000];
        let (count, _) = recv(&self.tap, buffer.as_mut_slice(), RecvFlags::empty()).unwrap();
        buffer.truncate(count);
        Some(buffer)
    }

    fn host_sends(&self, frame: &[u8]) {
        send(&self.tap, frame, SendFlags::empty()).unwrap();
    }

    /// A frame sent now is the first the host gets: nothing went there before it.
    fn host_has_seen_nothing(mut self) {
        let last = frame(ELSEWHERE, 0x88b5, b"the last one");
        self.wire.send(&last);
        assert_eq!(self.host_receives(PATIENCE), Some(last));
    }
}

fn numbered(number: u32, len: usize) -> Vec<u8> {
    let mut payload = number.to_be_bytes().to_vec();
    payload.resize(len, u8::try_from(number % 256).unwrap());
    frame(ELSEWHERE, 0x88b5, &payload)
}

fn bytes(size: u64, refill_time: u64) -> Option<RateLimiter> {
    let bucket = TokenBucket {
        size,
        one_time_burst: None,
        refill_time,
    };
    Some(RateLimiter {
        bandwidth: Some(bucket),
        ops: None,
    })
}

#[test]
fn frames_pass_in_order_and_unchanged_both_ways() {
    let Interface { mut wire, tap, pump } = Interface::new(Limits::default(), None);
    let sizes = [46, 1500, 4, 60_000, 900];
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..2000 {
                send(
                    &tap,
                    &numbered(number, sizes[number as usize % 5]),
                    SendFlags::empty(),
                )
                .unwrap();
            }
        });
        for number in 0..2000 {
            assert!(
                wire.receive(PATIENCE) == Some(numbered(number, sizes[number as usize % 5])),
                "{number}"
            );
        }
    });
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..2000 {
                wire.send(&numbered(number, sizes[number as usize % 5]));
            }
        });
        let mut buffer = vec![0; 70_000];
        for number in 0..2000 {
            let (count, _) = recv(&tap, buffer.as_mut_slice(), RecvFlags::empty()).unwrap();
            assert!(
                buffer[..count] == numbered(number, sizes[number as usize % 5]),
                "{number}"
            );
        }
    });
    assert_eq!(
        (
            pump.metrics().rx_packets_count.get(),
            pump.metrics().tx_packets_count.get()
        ),
        (2000, 2000)
    );
}

#[test]
fn a_side_that_does_not_read_holds_the_other_up_and_loses_nothing() {
    let Interface {
        wire,
        tap,
        pump: _pump,
    } = Interface::new(Limits::default(), None);
    // Until the guest is held up; then the host reads all of it.
    let mut sent = 0;
    wire.stream().set_nonblocking(true).unwrap();
    let full = loop {
        let timeout = Timespec::try_from(Duration::from_secs(2)).unwrap();
        if poll(&mut [PollFd::new(wire.stream(), PollFlags::OUT)], Some(&timeout)).unwrap() == 0 {
            break true;
        }
        let mut message = 1500u32.to_be_bytes().to_vec();
        message.extend(numbered(sent, 1486));
        match rustix::net::send(wire.stream(), &message, SendFlags::empty()) {
            Ok(count) if count == message.len() => sent += 1,
            Ok(_) | Err(_) => break true,
        }
        if sent > 100_000 {
            break false;
        }
    };
    assert!(full, "the pump swallows whatever the host does not read");
    let mut buffer = vec![0; 70_000];
    for number in 0..sent {
        let (count, _) = recv(&tap, buffer.as_mut_slice(), RecvFlags::empty()).unwrap();
        assert!(buffer[..count] == numbered(number, 1486), "{number} of {sent}");
    }
}

#[test]
fn limits_hold_in_each_direction_until_they_are_lifted() {
    // 20 frames of 1,000 bytes a second, the first second's in advance.
    let limits = Limits {
        rx: bytes(20_000, 1000),
        tx: bytes(20_000, 1000),
    };
    let mut interface = Interface::new(limits, None);
    let start = Instant::now();
    for number in 0..50 {
        interface.wire.send(&numbered(number, 974));
    }
    for number in 0..50 {
        assert_eq!(interface.host_receives(PATIENCE), Some(numbered(number, 974)));
    }
    assert!(
        start.elapsed() >= Duration::from_millis(1450),
        "faster than the limit: {:?}",
        start.elapsed()
    );
    assert!(interface.pump.metrics().tx_rate_limiter_throttled.get() > 0);

    let start = Instant::now();
    for number in 0..50 {
        interface.host_sends(&numbered(number, 974));
    }
    for number in 0..50 {
        assert_eq!(interface.wire.receive(PATIENCE), Some(numbered(number, 974)));
    }
    assert!(
        start.elapsed() >= Duration::from_millis(1450),
        "faster than the limit: {:?}",
        start.elapsed()
    );

    // A limit under which the rest would take a day, changed while frames wait for it.
    let day = 86_400_000;
    interface.pump.update(Limits {
        rx: bytes(1000, day),
        tx: bytes(1000, day),
    });
    for number in 0..50 {
        interface.wire.send(&numbered(number, 974));
        interface.host_sends(&numbered(number, 974));
    }
    assert_eq!(interface.host_receives(PATIENCE), Some(numbered(0, 974)));
    assert_eq!(interface.wire.receive(PATIENCE), Some(numbered(0, 974)));
    interface.pump.update(Limits {
        rx: bytes(0, 0),
        tx: None,
    });
    for number in 1..50 {
        assert_eq!(interface.wire.receive(PATIENCE), Some(numbered(number, 974)));
    }
    interface.pump.update(Limits {
        rx: None,
        tx: bytes(0, 0),
    });
    for number in 1..50 {
        assert_eq!(interface.host_receives(PATIENCE), Some(numbered(number, 974)));
    }
}

#[test]
fn either_end_may_go() {
    let interface = Interface::new(bytes_of_nothing(), None);
    drop(interface.pump);
    let mut wire = interface.wire;
    assert_eq!(wire.receive(PATIENCE), None);

    // Without its TAP the guest keeps an interface that leads nowhere.
    let mut interface = Interface::new(Limits::default(), Some(service(MmdsVersion::V1)));
    drop(interface.tap);
    interface.wire.send(&numbered(0, 46));
    let answer = Client::new(interface.wire).ask(MMDS, "GET /name/first HTTP/1.1\r\n\r\n");
    assert_eq!(answer.1, "John");
}

fn bytes_of_nothing() -> Limits {
    Limits {
        rx: bytes(1, 86_400_000),
        tx: bytes(1, 86_400_000),
    }
}

fn service(version: MmdsVersion) -> Mmds {
    let mmds = Mmds::new("vm", 200_000).unwrap();
    mmds.configure(&MmdsConfig {
        version,
        ..MmdsConfig::default()
    });
    mmds.put(json!({"name": {"first": "John", "second": "Doe"}, "long": "x".repeat(100_000)}))
        .unwrap();
    mmds
}

#[test]
fn metadata_are_answered_here_and_never_leave() {
    let mut interface = Interface::new(Limits::default(), Some(service(MmdsVersion::V1)));
    interface.wire.send(&who_has(MMDS));
    let reply = interface.wire.receive(PATIENCE).unwrap();
    assert_eq!(reply[..6], GUEST_MAC);
    assert_eq!(reply[6..12], [0x06, 0x01, 0x23, 0x45, 0x67, 0x01]);
    assert_eq!(reply[28..32], MMDS.octets());
    // A neighbour of the guest's is the host's affair.
    let other = who_has(Ipv4Addr::new(172, 16, 0, 1));
    interface.wire.send(&other);
    assert_eq!(interface.host_receives(PATIENCE), Some(other));

    let Interface { wire, tap, pump } = interface;
    let mut client = Client::new(wire);
    let (head, body) = client.ask(MMDS, "GET /name HTTP/1.1\r\nAccept: application/json\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 \r\n") && head.contains("Content-Type: application/json"));
    assert_eq!(body, r#"{"first":"John","second":"Doe"}"#);
    // Longer than any buffer on the way.
    assert!(client.ask(MMDS, "GET /long HTTP/1.1\r\n\r\n").1 == "x".repeat(100_000));
    // Two requests at once on one connection.
    let connection = client.connect(MMDS);
    client.send(
        connection,
        b"GET /name/first HTTP/1.1\r\n\r\nGET /nobody HTTP/1.1\r\n\r",
    );
    assert_eq!(client.response(connection).1, "John");
    client.send(connection, b"\n");
    assert!(client.response(connection).0.starts_with("HTTP/1.1 404 "));
    client.close(connection);
    // More one after the other than there may be at once.
    for _ in 0..100 {
        assert_eq!(client.ask(MMDS, "GET /name HTTP/1.1\r\n\r\n").1, "first\nsecond");
    }
    // A request without an end.
    let connection = client.connect(MMDS);
    client.send(connection, &[b'x'; 3000]);
    client.wait_for_end(connection);
    drop(client);
    assert_eq!(pump.metrics().tx_packets_count.get(), 1);
    drop(tap);
}

#[test]
fn version_2_works_through_the_network() {
    let mmds = service(MmdsVersion::V2);
    let Interface {
        wire,
        tap: _tap,
        pump: _pump,
    } = Interface::new(Limits::default(), Some(mmds.clone()));
    let mut client = Client::new(wire);
    assert!(
        client
            .ask(MMDS, "GET /name HTTP/1.1\r\n\r\n")
            .0
            .starts_with("HTTP/1.1 401 ")
    );
    let (_, token) = client.ask(
        MMDS,
        "PUT /latest/api/token HTTP/1.1\r\nX-metadata-token-ttl-seconds: 60\r\n\r\n",
    );
    let get = format!("GET /name/first HTTP/1.1\r\nX-metadata-token: {token}\r\n\r\n");
    assert_eq!(client.ask(MMDS, &get).1, "John");
    mmds.patch(&json!({"name": {"first": "Jane"}})).unwrap();
    assert_eq!(client.ask(MMDS, &get).1, "Jane");
}

#[test]
fn silent_connections_make_room() {
    let Interface {
        wire,
        tap: _tap,
        pump: _pump,
    } = Interface::new(Limits::default(), Some(service(MmdsVersion::V1)));
    let mut client = Client::new(wire);
    let silent: Vec<_> = (0..30).map(|_| client.connect(MMDS)).collect();
    // Refused while all thirty are young, then the oldest has gone.
    let connection = client.connect(MMDS);
    client.send(connection, b"GET /name/first HTTP/1.1\r\n\r\n");
    assert_eq!(client.response(connection).1, "John");
    client.wait_for_end(silent[0]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn no_frame_for_the_service_reaches_the_host(
        frames in prop::collection::vec((prop::collection::vec(any::<u8>(), 34..200), any::<bool>()), 1..50),
    ) {
        let mut interface = Interface::new(Limits::default(), Some(service(MmdsVersion::V1)));
        for (mut frame, arp) in frames {
            if arp && frame.len() >= 42 {
                frame[12..14].copy_from_slice(&[8, 6]);
                frame[38..42].copy_from_slice(&MMDS.octets());
            } else {
                frame[12..14].copy_from_slice(&[8, 0]);
                frame[30..34].copy_from_slice(&MMDS.octets());
                // Likely enough to be looked at: version, protocol.
                frame[14] = 0x45;
                frame[23] = 6;
            }
            interface.wire.send(&frame);
        }
        interface.host_has_seen_nothing();
    }

    #[test]
    fn a_stream_that_makes_no_sense_ends_the_interface(bytes in prop::collection::vec(any::<u8>(), 1..2000)) {
        let interface = Interface::new(Limits::default(), Some(service(MmdsVersion::V1)));
        let _ = std::io::Write::write_all(&mut interface.wire.stream(), &bytes);
        drop(interface);
    }
}

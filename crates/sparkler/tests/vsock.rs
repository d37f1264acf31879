//! The vsock device with a real guest: QEMU, Debian's kernel, its virtio driver.

mod support;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
use support::PATIENCE;
use support::guest::{CROWD, ECHO, Guest, JOIN, SINK, SOURCE, exchange, line, noise};

#[test]
fn bytes_come_back_as_they_went_both_ways_of_connecting() {
    let guest = Guest::start();
    let bytes = noise(3_000_000);
    assert!(
        exchange(&guest.connect(ECHO), &bytes) == bytes,
        "the echo differs"
    );

    let listener = guest.listen(4000);
    let stream = guest.connect(JOIN);
    writeln!(&stream, "4000").unwrap();
    let (dialled, _) = listener.accept().unwrap();
    let there = thread::spawn(move || {
        let mut back = Vec::new();
        (&dialled).read_to_end(&mut back).unwrap();
        (&dialled).write_all(&back).unwrap();
    });
    assert!(
        exchange(&stream, &bytes) == bytes,
        "the echo through the guest's own connection differs"
    );
    there.join().unwrap();
}

#[test]
fn what_nobody_listens_for_is_refused_both_ways() {
    let guest = Guest::start();
    assert!(guest.try_connect(12345).is_none());

    let stream = guest.connect(JOIN);
    writeln!(&stream, "4999").unwrap();
    assert!(line(&stream).starts_with("refused"));

    let mut stranger = UnixStream::connect(&guest.uds_path).unwrap();
    stranger.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    assert_eq!(stranger.read(&mut [0; 16]).unwrap_or(0), 0);
}

#[test]
fn a_half_that_is_closed_leaves_the_other_open() {
    let guest = Guest::start();
    // The host is done sending: the guest hears the end, and answers after it.
    let stream = guest.connect(SINK);
    let bytes = noise(777_777);
    let answer = exchange(&stream, &bytes);
    let sum: u64 = bytes.iter().map(|&byte| u64::from(byte)).sum();
    assert_eq!(String::from_utf8(answer).unwrap(), format!("777777 {sum}\n"));

    // The guest is done sending: the host hears the end, and its own bytes still arrive.
    let listener = guest.listen(4001);
    let stream = guest.connect(JOIN);
    writeln!(&stream, "4001").unwrap();
    let (dialled, _) = listener.accept().unwrap();
    dialled.shutdown(Shutdown::Write).unwrap();
    assert_eq!(line(&stream), "");
    let reader = thread::spawn(move || {
        let mut arrived = Vec::new();
        (&dialled).read_to_end(&mut arrived).unwrap();
        arrived
    });
    (&stream).write_all(&bytes).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert!(reader.join().unwrap() == bytes);
}

#[test]
fn a_slow_reader_loses_nothing_and_stops_nobody_else() {
    let guest = Guest::start();
    const COUNT: usize = 3_000_000;
    // The guest has sent all it could and closed long before the host reads on.
    let slow = guest.connect(SOURCE);
    writeln!(&slow, "{COUNT}").unwrap();
    let bytes = noise(500_000);
    assert!(exchange(&guest.connect(ECHO), &bytes) == bytes);
    let mut all = Vec::new();
    (&slow).read_to_end(&mut all).unwrap();
    assert_eq!(all.len(), COUNT);
    assert!(
        all.iter()
            .zip((0..64 * 1024).cycle())
            .all(|(&byte, at)| u32::from(byte) == at % 251)
    );

    // A guest that does not read holds the host's writer up, and lets go when the host gives up.
    let listener = guest.listen(4002);
    let stream = guest.connect(JOIN);
    writeln!(&stream, "4002").unwrap();
    let (dialled, _) = listener.accept().unwrap();
    dialled.set_nonblocking(true).unwrap();
    let stuck = std::iter::repeat_with(|| (&dialled).write(&bytes))
        .take_while(Result::is_ok)
        .count();
    assert!(stuck < 100, "nothing held the writer up");
    drop(dialled);
    let mut rest = Vec::new();
    (&stream).read_to_end(&mut rest).unwrap();
    assert!(exchange(&guest.connect(ECHO), &bytes) == bytes);
}

#[test]
fn a_busy_listener_keeps_the_guest_waiting_and_refuses_nobody() {
    let guest = Guest::start();
    let path = guest.uds_path.with_file_name("v.sock_4004");
    let listener = socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .unwrap();
    bind(&listener, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    // One may wait here; the others wait in the device.
    listen(&listener, 0).unwrap();
    let listener = UnixListener::from(listener);
    let crowd = guest.connect(CROWD);
    writeln!(&crowd, "4004 20").unwrap();
    for _ in 0..20 {
        let stream = listener.accept().unwrap().0;
        let said = line(&stream);
        writeln!(&stream, "{said}").unwrap();
    }
    assert_eq!(line(&crowd), "20");
}

#[test]
fn a_pause_holds_everything_and_loses_nothing() {
    let mut guest = Guest::start();
    let stream = guest.connect(ECHO);
    writeln!(&stream, "before").unwrap();
    assert_eq!(line(&stream), "before");
    for round in 0..3 {
        guest.vm.tell_qemu("stop");
        writeln!(&stream, "during {round}").unwrap();
        let mut new = UnixStream::connect(&guest.uds_path).unwrap();
        new.set_read_timeout(Some(PATIENCE)).unwrap();
        writeln!(new, "CONNECT {ECHO}").unwrap();
        guest.vm.tell_qemu("cont");
        assert_eq!(line(&stream), format!("during {round}"));
        assert!(line(&new).starts_with("OK "));
        writeln!(new, "new {round}").unwrap();
        assert_eq!(line(&new), format!("new {round}"));
    }
}

#[test]
fn the_end_of_either_side_ends_the_streams() {
    let mut guest = Guest::start();
    let stream = guest.connect(ECHO);
    guest.vm.kill();
    assert_eq!((&stream).read(&mut [0]).unwrap_or(0), 0);
    drop(guest.device.take());

    let mut guest = Guest::start();
    let stream = guest.connect(ECHO);
    drop(guest.device.take());
    assert_eq!((&stream).read(&mut [0]).unwrap_or(0), 0);
    assert!(
        UnixStream::connect(&guest.uds_path).is_err(),
        "somebody still listens"
    );
}

//! Many vsock connections, in a process of their own: the test counts its descriptors.

mod support;

use std::io::Write;
use std::thread;
use std::time::Instant;

use support::PATIENCE;
use support::guest::{CROWD, ECHO, Guest, line};

#[test]
fn hundreds_at_once_and_thousands_over_time_leave_nothing() {
    let open_descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let guest = Guest::start();
    drop(guest.connect(ECHO));
    let before = open_descriptors();

    let streams: Vec<_> = (0..400).map(|_| guest.connect(ECHO)).collect();
    for (number, stream) in streams.iter().enumerate() {
        writeln!(&*stream, "number {number}").unwrap();
    }
    for (number, stream) in streams.iter().enumerate() {
        assert_eq!(line(stream), format!("number {number}"));
    }
    drop(streams);

    let listener = guest.listen(4003);
    let crowd = guest.connect(CROWD);
    writeln!(&crowd, "4003 300").unwrap();
    let all: Vec<_> = (0..300).map(|_| listener.accept().unwrap().0).collect();
    for stream in &all {
        let said = line(stream);
        writeln!(&*stream, "{said}").unwrap();
    }
    assert_eq!(line(&crowd), "300");
    drop((all, crowd, listener));

    for number in 0..3000 {
        let stream = guest.connect(ECHO);
        writeln!(&stream, "{number}").unwrap();
        assert_eq!(line(&stream), number.to_string());
    }
    let metrics = guest.device.as_ref().unwrap().metrics();
    let start = Instant::now();
    while metrics.conns_removed.get() < metrics.conns_added.get() || open_descriptors() > before {
        assert!(
            start.elapsed() < PATIENCE,
            "{} of {} connections left",
            metrics.conns_removed.get(),
            metrics.conns_added.get()
        );
        thread::yield_now();
    }
    assert!(metrics.conns_added.get() >= 3701);
}

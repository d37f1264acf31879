//! How fast frames are pumped between QEMU's stream and a TAP: `cargo bench -p sparkler --bench net`.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Instant;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair};
use sparkler::net::{Config, DEFAULT_MTU, Limits, Pump};

const FRAMES: usize = 300_000;
const SIZE: usize = 1514;

#[allow(clippy::print_stdout, reason = "a benchmark's result")]
fn rate(what: &str, work: impl FnOnce()) {
    let start = Instant::now();
    work();
    let seconds = start.elapsed().as_secs_f64();
    let (frames, bytes) = (FRAMES as f64 / seconds, (FRAMES * SIZE) as f64 / 1e6 / seconds);
    println!("{what:<20} {frames:>10.0} frames/s {bytes:>8.1} MB/s");
}

#[allow(clippy::unwrap_used, reason = "a benchmark may give up")]
fn main() {
    let (qemu, theirs) = UnixStream::pair().unwrap();
    let (tap, host): (OwnedFd, OwnedFd) = socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .unwrap();
    let _pump = Pump::start(Config {
        id: "eth0".into(),
        tap: host,
        tap_header: 0,
        qemu: theirs,
        mac: None,
        mtu: DEFAULT_MTU,
        limits: Limits::default(),
        mmds: None,
    })
    .unwrap();
    let frame = [7; SIZE];
    let mut message = u32::try_from(SIZE).unwrap_or(0).to_be_bytes().to_vec();
    message.extend(frame);
    // QEMU sends a frame at a time as well.
    rate("guest to host", || {
        thread::scope(|scope| {
            scope.spawn(|| (0..FRAMES).for_each(|_| (&qemu).write_all(&message).unwrap()));
            let mut buffer = [0; 2048];
            (0..FRAMES).for_each(|_| {
                recv(&tap, buffer.as_mut_slice(), RecvFlags::empty()).unwrap();
            });
        });
    });
    rate("host to guest", || {
        thread::scope(|scope| {
            scope.spawn(|| {
                (0..FRAMES).for_each(|_| {
                    send(&tap, &frame, SendFlags::empty()).unwrap();
                });
            });
            let mut buffer = vec![0; 256 * 1024];
            let mut left = FRAMES * message.len();
            while left > 0 {
                left -= (&qemu).read(&mut buffer).unwrap();
            }
        });
    });
}

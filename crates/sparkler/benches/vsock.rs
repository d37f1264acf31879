//! How fast the vsock device is with an emulated guest: `cargo bench -p sparkler --bench vsock`.
//!
//! Prints MB/s for each direction and for an echo, connections a second, and the processor time an idle device costs.

#[path = "../tests/support/mod.rs"]
mod support;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use support::guest::{ECHO, Guest, SINK, SOURCE, exchange, line, noise};

const MEGABYTES: usize = 64;

#[allow(clippy::print_stdout, reason = "a benchmark's result")]
fn report(what: &str, value: f64, unit: &str) {
    println!("{what:<32} {value:>10.1} {unit}");
}

fn rate(what: &str, bytes: usize, work: impl FnOnce()) {
    let (start, before) = (Instant::now(), device_time());
    work();
    let spent = (device_time() - before).as_secs_f64();
    let seconds = start.elapsed().as_secs_f64();
    report(what, bytes as f64 / 1e6 / seconds, "MB/s");
    report("    its thread", 100.0 * spent / seconds, "% of a processor");
}

/// User and system time of the device's thread (proc(5): ticks of 10 ms).
#[allow(clippy::unwrap_used, reason = "a benchmark may give up")]
fn device_time() -> Duration {
    let threads = std::fs::read_dir("/proc/self/task")
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let ticks = |stat: String| {
        let numbers = stat.rsplit(") ").next().unwrap().split(' ').skip(11).take(2);
        numbers.map(|number| number.parse::<u64>().unwrap()).sum::<u64>()
    };
    threads
        .filter(|thread| std::fs::read_to_string(thread.join("comm")).is_ok_and(|name| name == "vsock\n"))
        .map(|thread| {
            Duration::from_millis(10)
                * u32::try_from(ticks(std::fs::read_to_string(thread.join("stat")).unwrap())).unwrap()
        })
        .sum()
}

#[allow(clippy::unwrap_used, reason = "a benchmark may give up")]
fn main() {
    let guest = Guest::start();
    let bytes = noise(MEGABYTES * 1_000_000);
    rate("echo, both directions", bytes.len(), || {
        exchange(&guest.connect(ECHO), &bytes);
    });
    rate("host to guest", bytes.len(), || {
        exchange(&guest.connect(SINK), &bytes);
    });
    rate("guest to host", bytes.len(), || {
        let stream = guest.connect(SOURCE);
        writeln!(&stream, "{}", bytes.len()).unwrap();
        let mut all = Vec::new();
        (&stream).read_to_end(&mut all).unwrap();
        assert_eq!(all.len(), bytes.len());
    });
    let start = Instant::now();
    for _ in 0..1000 {
        let stream = guest.connect(ECHO);
        stream.shutdown(Shutdown::Write).unwrap();
        line(&stream);
    }
    report("connections", 1000.0 / start.elapsed().as_secs_f64(), "/s");
    let (start, before) = (Instant::now(), device_time());
    let idle = guest.connect(ECHO);
    idle.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let _ = (&idle).read(&mut [0]);
    let spent = device_time().saturating_sub(before);
    report(
        "idle",
        100.0 * spent.as_secs_f64() / start.elapsed().as_secs_f64(),
        "% of a processor",
    );
}

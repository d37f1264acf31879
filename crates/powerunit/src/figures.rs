//! The guest's own figures, from /proc and statvfs: pure parsers, and the one function that reads.
//!
//! The invariant: a figure that cannot be read is 0; a status is always answered.

use guest_protocol::control::Status;

use crate::clock::uptime_us;

/// Clock ticks of /proc/stat in a second, as every Linux tells user space (`USER_HZ`, proc(5)).
const TICKS: u64 = 100;

/// All figures but those of the entrypoint and of its health.
pub(crate) fn read() -> Status {
    let memory = Memory::parse(&proc("meminfo"));
    let disk = rustix::fs::statvfs("/").ok();
    let disk = disk.map_or((0, 0), |fs| {
        (fs.f_blocks * fs.f_frsize, fs.f_bavail * fs.f_frsize)
    });
    Status {
        uptime_us: uptime_us(),
        memory_total_kib: memory.total_kib,
        memory_available_kib: memory.available_kib,
        cpu_busy_ms: cpu_busy_ms(&proc("stat")),
        load: load(&proc("loadavg")),
        disk_total: disk.0,
        disk_free: disk.1,
        processes: std::fs::read_dir("/proc").map_or(0, |entries| {
            let names = entries.flatten().map(|entry| entry.file_name());
            names
                .filter(|name| name.as_encoded_bytes().iter().all(u8::is_ascii_digit))
                .count() as u64
        }),
        entrypoint_exit: None,
        entrypoint_running: false,
        health: None,
    }
}

/// `MemAvailable`, KiB.
pub(crate) fn memory_available_kib() -> u64 {
    Memory::parse(&proc("meminfo")).available_kib
}

fn proc(name: &str) -> String {
    std::fs::read_to_string(format!("/proc/{name}")).unwrap_or_default()
}

/// Two lines of /proc/meminfo.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Memory {
    total_kib: u64,
    available_kib: u64,
}

impl Memory {
    fn parse(meminfo: &str) -> Self {
        let value = |name: &str| {
            let mut values = meminfo
                .lines()
                .filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            values
                .next()
                .and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse().ok())
                .unwrap_or(0)
        };
        Self {
            total_kib: value("MemTotal"),
            available_kib: value("MemAvailable"),
        }
    }
}

/// The time all CPUs were neither idle nor waiting for a disk, from /proc/stat's first line: user, nice, system, idle,
/// iowait, irq, softirq, steal (guest time is contained in user).
fn cpu_busy_ms(stat: &str) -> u64 {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "));
    let ticks = line
        .unwrap_or_default()
        .split_whitespace()
        .map(|ticks| ticks.parse().unwrap_or(0u64));
    let busy = ticks
        .take(8)
        .enumerate()
        .filter(|(field, _)| !matches!(field, 3 | 4));
    busy.fold(0u64, |sum, (_, ticks)| sum.saturating_add(ticks))
        .saturating_mul(1000 / TICKS)
}

/// The three averages of /proc/loadavg.
fn load(loadavg: &str) -> [f64; 3] {
    let mut values = loadavg
        .split_whitespace()
        .map(|value| value.parse().unwrap_or(0.0));
    [(); 3].map(|()| values.next().unwrap_or(0.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_kernels_own_text_is_read() {
        let meminfo = "MemTotal:         231380 kB\nMemFree:          100 kB\nMemAvailable:     180004 kB\n";
        assert_eq!(
            Memory::parse(meminfo),
            Memory {
                total_kib: 231_380,
                available_kib: 180_004
            }
        );
        let stat = "cpu  10 1 20 1000 50 3 4 2 7 0\ncpu0 10 1 20 1000 50 3 4 2 7 0\nintr 5\n";
        assert_eq!(cpu_busy_ms(stat), 400);
        assert_eq!(
            load("0.52 0.25 1.09 1/71 310\n").map(|x| x.to_bits()),
            [0.52f64, 0.25, 1.09].map(f64::to_bits)
        );
    }

    #[test]
    fn this_machine_has_figures() {
        let status = read();
        assert!(status.memory_total_kib > status.memory_available_kib && status.memory_available_kib > 0);
        assert!(status.cpu_busy_ms > 0 && status.processes > 0);
        assert!(status.disk_total > status.disk_free);
    }

    proptest! {
        #[test]
        fn foreign_text_never_panics(text in "(cpu |MemTotal: )?[0-9a-z kB:\n]{0,100}") {
            let _ = (Memory::parse(&text), cpu_busy_ms(&text), load(&text));
        }
    }
}

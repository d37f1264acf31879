//! How fast the host's time stamp counter runs; a TCG guest sees the same counter.
//!
//! Invariant: the frequency comes from two readings of the counter beside `CLOCK_MONOTONIC_RAW`, at least
//! `MIN_BASE` apart. That clock is the counter itself times a constant wherever the kernel uses the counter as its
//! clock, so a millisecond is enough: 20 ns of error in each reading make 40 ppm of 1 ms at worst, and the
//! narrowest of several readings is taken. Nothing need be cached, and nothing can be stale.
//!
//! CPUID is not asked: its leaves hold the nominal frequency at best (0x16), nothing at all on most hypervisors
//! (0x15, 0x40000010), and `/proc/cpuinfo` shows what the core runs at just now.

use std::arch::x86_64::_rdtsc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Shortest time between the two readings.
const MIN_BASE: Duration = Duration::from_millis(1);
/// Tries per reading: one that was not interrupted is wanted.
const TRIES: usize = 16;

/// One reading of both clocks at the same moment.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    ticks: u64,
    time: Duration,
}

impl Sample {
    /// Reads both clocks, several times, and keeps the reading that took the fewest ticks.
    #[must_use]
    pub fn take() -> Self {
        let mut best = reading();
        for _ in 1..TRIES {
            let next = reading();
            if next.0 < best.0 {
                best = next;
            }
        }
        best.1
    }
}

/// A reading and the ticks it took.
fn reading() -> (u64, Sample) {
    let before = ticks();
    let time = clock_gettime(ClockId::MonotonicRaw);
    let after = ticks();
    let width = after.wrapping_sub(before);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
    (
        width,
        Sample {
            ticks: before.wrapping_add(width / 2),
            time: Duration::new(seconds, nanos),
        },
    )
}

fn ticks() -> u64 {
    // SAFETY: RDTSC reads a register and has no preconditions; user space may execute it on every Linux that has
    // not forbidden it by prctl(PR_SET_TSC), which this process never does.
    unsafe { _rdtsc() }
}

/// The counter's frequency in kHz, by how far it has come since `start`. Waits until `MIN_BASE` has passed.
#[must_use]
pub fn khz(start: &Sample) -> u64 {
    let mut now = Sample::take();
    while now.time.saturating_sub(start.time) < MIN_BASE {
        std::hint::spin_loop();
        now = Sample::take();
    }
    between(start, &now)
}

fn between(start: &Sample, end: &Sample) -> u64 {
    let ticks = u128::from(end.ticks.wrapping_sub(start.ticks));
    let nanos = end.time.saturating_sub(start.time).as_nanos().max(1);
    u64::try_from((ticks * 1_000_000 + nanos / 2) / nanos).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frequency_is_ticks_by_time() {
        let start = Sample {
            ticks: u64::MAX - 1_000,
            time: Duration::from_secs(5),
        };
        let end = Sample {
            ticks: 2_600_000_000 - 1_001,
            time: Duration::from_secs(6),
        };
        assert_eq!(between(&start, &end), 2_600_000);
    }

    /// The same counter measured over 1 ms and over as long as many such measurements take: they must agree, or the
    /// guest's clock would run wrong.
    #[test]
    fn a_short_measurement_agrees_with_a_long_one() {
        let start = Sample::take();
        let mut short: Vec<u64> = (0..31).map(|_| khz(&Sample::take())).collect();
        let long = khz(&start);
        short.sort_unstable();
        let median = short[short.len() / 2];
        let ppm = median.abs_diff(long) * 1_000_000 / long;
        assert!(
            ppm < 100,
            "{median} kHz over 1 ms, {long} kHz over all: {ppm} ppm apart"
        );
    }
}

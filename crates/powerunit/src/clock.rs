//! The guest's clocks.

use rustix::time::{ClockId, Timespec};

/// Microseconds on the monotonic clock, which starts with the kernel.
pub(crate) fn uptime_us() -> u64 {
    let now = rustix::time::clock_gettime(ClockId::Monotonic);
    now.tv_sec.unsigned_abs() * 1_000_000 + now.tv_nsec.unsigned_abs() / 1_000
}

/// Sets the wall clock to `ns` nanoseconds since the Unix epoch.
pub(crate) fn set(ns: u64) -> std::io::Result<()> {
    rustix::time::clock_settime(ClockId::Realtime, timespec(ns))?;
    Ok(())
}

fn timespec(ns: u64) -> Timespec {
    Timespec {
        tv_sec: (ns / 1_000_000_000).cast_signed(),
        tv_nsec: (ns % 1_000_000_000).cast_signed(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nanoseconds_split_into_whole_seconds_and_the_rest() {
        assert_eq!(
            timespec(1_700_000_000_000_000_007),
            Timespec {
                tv_sec: 1_700_000_000,
                tv_nsec: 7
            }
        );
        assert_eq!(timespec(u64::MAX).tv_nsec, 709_551_615);
    }

    #[test]
    fn the_uptime_never_goes_back() {
        let before = uptime_us();
        assert!(uptime_us() >= before && before > 0);
    }
}

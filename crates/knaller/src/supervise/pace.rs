//! How long a machine that has ended waits for its next start: longer and longer while it ends again soon.

use std::time::Duration;

/// The first wait, and the longest.
const FIRST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(60);

/// A machine that ran so long has come up well.
const STEADY: Duration = Duration::from_secs(10);

/// The waits of one machine.
#[derive(Debug, Default)]
pub(super) struct Pace {
    failures: u32,
}

impl Pace {
    /// It ran for so long, and ended. How long it is to wait.
    pub(super) fn after(&mut self, ran: Duration) -> Duration {
        if ran >= STEADY {
            self.failures = 0;
        }
        let wait = FIRST.saturating_mul(2u32.saturating_pow(self.failures));
        self.failures = self.failures.saturating_add(1);
        wait.min(LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_begin_anew_after_a_good_run() {
        let mut pace = Pace::default();
        let short = Duration::from_secs(1);
        let waits: Vec<_> = (0..4).map(|_| pace.after(short).as_millis()).collect();
        assert_eq!(waits, [200, 400, 800, 1600]);
        for _ in 0..100 {
            pace.after(short);
        }
        assert_eq!(pace.after(short), LONGEST);
        assert_eq!(pace.after(STEADY), FIRST);
        assert_eq!(pace.after(short), FIRST * 2);
    }
}

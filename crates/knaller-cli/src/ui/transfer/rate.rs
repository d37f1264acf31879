//! How fast something moves.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What is looked back upon: long enough for a calm figure, short enough to show that it stalls.
const WINDOW: Duration = Duration::from_secs(4);
/// Shorter than this nobody can tell.
const SHORTEST: Duration = Duration::from_millis(500);

/// Sums of bytes at moments.
#[derive(Debug, Default)]
pub(super) struct Rate(VecDeque<(Instant, u64)>);

impl Rate {
    /// So many bytes had moved in all at this moment.
    pub(super) fn at(&mut self, now: Instant, moved: u64) {
        self.0.push_back((now, moved));
        // One sample may be older: what has moved since then is known too.
        while self.0.get(1).is_some_and(|(then, _)| now - *then > WINDOW) {
            self.0.pop_front();
        }
    }

    /// Bytes per second, as soon as there is something to tell.
    pub(super) fn per_second(&self) -> Option<u64> {
        let ((first, before), (last, after)) = (self.0.front()?, self.0.back()?);
        let span = *last - *first;
        if span < SHORTEST {
            return None;
        }
        let moved = u128::from(after.saturating_sub(*before));
        u64::try_from(moved * 1000 / span.as_millis()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_flow_and_its_end() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut rate = Rate::default();
        assert_eq!(rate.per_second(), None);
        for tenth in 0..20 {
            rate.at(at(100 * tenth), 1000 * tenth);
            assert_eq!(rate.per_second(), (tenth >= 5).then_some(10_000), "{tenth}");
        }
        for tenth in 20..80 {
            rate.at(at(100 * tenth), 20_000);
        }
        assert_eq!(rate.per_second(), Some(0));
    }
}

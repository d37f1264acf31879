//! The timeline of a start, told while it grows.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Side, StartEvent, Step, Timeline};

/// Takes the steps of both sides, from branches that run side by side in one task.
pub(super) struct Clock<'a> {
    began: Instant,
    state: Mutex<State<'a>>,
}

struct State<'a> {
    observer: &'a mut (dyn FnMut(StartEvent) + Send),
    steps: Vec<Step>,
    /// When the guest's last step ended.
    guest: Duration,
}

impl<'a> Clock<'a> {
    pub(super) fn new(observer: &'a mut (dyn FnMut(StartEvent) + Send)) -> Self {
        let state = State {
            observer,
            steps: Vec::new(),
            guest: Duration::ZERO,
        };
        Self {
            began: Instant::now(),
            state: Mutex::new(state),
        }
    }

    /// Since the start began.
    pub(super) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// A step of the host ended that began at `since`.
    pub(super) fn host(&self, name: &str, since: Duration) {
        let at = self.now();
        self.push(Step {
            side: Side::Host,
            name: name.to_owned(),
            at,
            took: at.saturating_sub(since),
        });
    }

    /// The guest began to run: its first step counts from here.
    pub(super) fn guest_runs(&self) {
        let now = self.now();
        self.state.lock().unwrap_or_else(PoisonError::into_inner).guest = now;
    }

    /// A step of the guest ended `ago`.
    pub(super) fn guest(&self, name: &str, ago: Duration) {
        let at = self.now().saturating_sub(ago);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let took = at.saturating_sub(state.guest);
        state.guest = at;
        drop(state);
        self.push(Step {
            side: Side::Guest,
            name: name.to_owned(),
            at,
            took,
        });
    }

    pub(super) fn tell(&self, event: StartEvent) {
        (self.state.lock().unwrap_or_else(PoisonError::into_inner).observer)(event);
    }

    fn push(&self, step: Step) {
        tracing::debug!(side = ?step.side, name = step.name, at = ?step.at, took = ?step.took, "step");
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.steps.push(step.clone());
        (state.observer)(StartEvent::Step(step));
    }

    pub(super) fn finish(self) -> Timeline {
        let total = self.now();
        let mut steps = self
            .state
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
            .steps;
        steps.sort_by_key(|step| step.at);
        Timeline { steps, total }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_told_as_they_end_and_sorted_at_last() {
        let mut told = Vec::new();
        let mut observer = |event| told.push(event);
        let clock = Clock::new(&mut observer);
        clock.guest_runs();
        clock.host("disks", Duration::ZERO);
        // Said late: it ended before the disks were ready.
        clock.guest("kernel", Duration::from_secs(3600));
        let timeline = clock.finish();
        let names: Vec<_> = timeline.steps.iter().map(|step| step.name.as_str()).collect();
        assert_eq!(names, ["kernel", "disks"]);
        assert_eq!(told.len(), 2);
        assert!(timeline.steps.iter().all(|step| step.at <= timeline.total));
    }
}

//! The machine's life from up to off: a state machine that does nothing itself.
//!
//! The invariant: once asked to stop, or once the entrypoint has ended, the machine goes off after a bounded time, whatever
//! its processes do; and the entrypoint always has its whole grace before it is killed.
//!
//! ```text
//! Up ──ask──> Asked ──grace──> Killed ──> Terminating ──> Draining ──> Killing ──> Off
//!  └──────────────entrypoint ended────────────┘
//! ```

use std::time::{Duration, Instant};

/// How long each stage behind the entrypoint's end may take: an entrypoint that SIGKILL hits is only late if a disk is;
/// the others have had no warning and get a moment; the SSH server says good-bye to its clients.
const KILL_WAIT: Duration = Duration::from_secs(2);
const TERMINATE_WAIT: Duration = Duration::from_secs(3);
const DRAIN_WAIT: Duration = Duration::from_secs(1);

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// Somebody wants the machine off; the entrypoint has so long after its stop signal.
    Stop { grace: Duration },
    /// There is no entrypoint any more (or never was one that ran).
    EntrypointEnded,
    /// No process is left but PID 1 and the worker.
    OthersGone,
    /// The worker is gone.
    WorkerGone,
    /// Time has passed.
    Tick,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Send the entrypoint its stop signal.
    StopEntrypoint,
    KillEntrypoint,
    /// Ask every process but the worker to end.
    TerminateOthers,
    /// Tell the worker to end its sessions and exit.
    StopWorker,
    KillAll,
    /// Unmount and reset the machine.
    PowerOff,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Up,
    Asked(Instant),
    Killed(Instant),
    Terminating(Instant),
    Draining(Instant),
    Killing(Instant),
    Off,
}

/// The machine's life.
#[derive(Clone, Copy, Debug)]
pub(super) struct Life {
    stage: Stage,
    entrypoint: bool,
}

impl Life {
    /// A machine that is up, with or without an entrypoint.
    pub(super) fn new(entrypoint: bool) -> Self {
        Self {
            stage: Stage::Up,
            entrypoint,
        }
    }

    /// Whether anything that ends is to be replaced.
    pub(super) fn is_up(&self) -> bool {
        self.stage == Stage::Up
    }

    /// Whether the next step waits for processes to be gone.
    pub(super) fn counts_others(&self) -> bool {
        matches!(self.stage, Stage::Terminating(_) | Stage::Killing(_))
    }

    /// When a [`Event::Tick`] is due at the latest.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.stage {
            Stage::Up | Stage::Off => None,
            Stage::Asked(until)
            | Stage::Killed(until)
            | Stage::Terminating(until)
            | Stage::Draining(until)
            | Stage::Killing(until) => Some(until),
        }
    }

    /// Takes an event; gives what is to be done about it.
    pub(super) fn on(&mut self, event: Event, now: Instant) -> Option<Action> {
        if event == Event::EntrypointEnded {
            self.entrypoint = false;
        }
        let due = self.deadline().is_some_and(|until| now >= until);
        let (stage, action) = match (self.stage, event) {
            (Stage::Up, Event::Stop { grace }) if self.entrypoint => {
                (Stage::Asked(now + grace), Action::StopEntrypoint)
            }
            (Stage::Up, Event::Stop { .. } | Event::EntrypointEnded)
            | (Stage::Asked(_) | Stage::Killed(_), Event::EntrypointEnded) => {
                (Stage::Terminating(now + TERMINATE_WAIT), Action::TerminateOthers)
            }
            (Stage::Asked(until), Event::Stop { grace }) => {
                // Who asks again may only be in more of a hurry.
                self.stage = Stage::Asked(until.min(now + grace));
                return None;
            }
            (Stage::Asked(_), _) if due => (Stage::Killed(now + KILL_WAIT), Action::KillEntrypoint),
            (Stage::Killed(_), _) if due => {
                (Stage::Terminating(now + TERMINATE_WAIT), Action::TerminateOthers)
            }
            (Stage::Terminating(_), event) if due || event == Event::OthersGone => {
                (Stage::Draining(now + DRAIN_WAIT), Action::StopWorker)
            }
            (Stage::Draining(_), event) if due || event == Event::WorkerGone => {
                (Stage::Killing(now + KILL_WAIT), Action::KillAll)
            }
            (Stage::Killing(_), event) if due || event == Event::OthersGone => (Stage::Off, Action::PowerOff),
            _ => return None,
        };
        self.stage = stage;
        Some(action)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GRACE: Duration = Duration::from_secs(10);

    #[test]
    fn a_machine_that_obeys_goes_off_without_waiting() {
        let now = Instant::now();
        let mut life = Life::new(true);
        let mut on = |event| life.on(event, now);
        assert_eq!(on(Event::Stop { grace: GRACE }), Some(Action::StopEntrypoint));
        assert_eq!(on(Event::EntrypointEnded), Some(Action::TerminateOthers));
        assert_eq!(on(Event::OthersGone), Some(Action::StopWorker));
        assert_eq!(on(Event::WorkerGone), Some(Action::KillAll));
        assert_eq!(on(Event::OthersGone), Some(Action::PowerOff));
        assert_eq!(on(Event::Tick), None);
    }

    #[test]
    fn the_entrypoints_end_is_the_machines() {
        let mut life = Life::new(true);
        assert_eq!(
            life.on(Event::EntrypointEnded, Instant::now()),
            Some(Action::TerminateOthers)
        );
    }

    #[test]
    fn an_idle_machine_waits_for_nobody() {
        let mut life = Life::new(false);
        assert_eq!(
            life.on(Event::Stop { grace: GRACE }, Instant::now()),
            Some(Action::TerminateOthers)
        );
    }

    #[test]
    fn a_second_request_can_only_shorten_the_grace() {
        let now = Instant::now();
        let mut life = Life::new(true);
        life.on(Event::Stop { grace: GRACE }, now);
        assert_eq!(life.on(Event::Stop { grace: GRACE * 2 }, now), None);
        assert_eq!(life.deadline(), Some(now + GRACE));
        assert_eq!(
            life.on(
                Event::Stop {
                    grace: Duration::ZERO
                },
                now
            ),
            None
        );
        assert_eq!(life.on(Event::Tick, now), Some(Action::KillEntrypoint));
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            (0u64..20_000).prop_map(|ms| Event::Stop {
                grace: Duration::from_millis(ms)
            }),
            Just(Event::OthersGone),
            Just(Event::WorkerGone),
            Just(Event::Tick),
        ]
    }

    proptest! {
        #[test]
        fn whoever_is_asked_goes_off_once_and_in_time(
            entrypoint: bool,
            noise in prop::collection::vec((event(), 0u64..500), 0..40),
        ) {
            let start = Instant::now();
            let (mut life, mut now, mut actions) = (Life::new(entrypoint), start, Vec::new());
            actions.extend(life.on(Event::Stop { grace: GRACE }, now));
            for (event, ms) in noise {
                now += Duration::from_millis(ms);
                actions.extend(life.on(event, now));
            }
            while let Some(until) = life.deadline() {
                now = now.max(until);
                actions.extend(life.on(Event::Tick, now));
            }
            let order = [
                Action::StopEntrypoint, Action::KillEntrypoint, Action::TerminateOthers, Action::StopWorker,
                Action::KillAll, Action::PowerOff,
            ];
            let expected = if entrypoint { &order[..] } else { &order[2..] };
            prop_assert_eq!(actions, expected);
            prop_assert!(now - start <= GRACE + Duration::from_secs(40));
        }

        #[test]
        fn nothing_is_killed_within_its_grace(noise in prop::collection::vec(0u64..9_999, 0..20)) {
            let start = Instant::now();
            let mut life = Life::new(true);
            life.on(Event::Stop { grace: GRACE }, start);
            for ms in noise {
                prop_assert_eq!(life.on(Event::Tick, start + Duration::from_millis(ms)), None);
            }
        }
    }
}

//! PID 1's hold on the worker: starting it, telling it what it must know, and replacing it when it dies.
//!
//! The invariant: a new worker is told everything its predecessor knew. One that keeps dying is started ever more
//! seldom, so that its fault cannot take the machine's time.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::process::Pid;

use crate::link::{Link, Notice, Word};

/// The pause before a worker that died soon is replaced, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(30);

/// A worker that lived so long did not die of its start.
const HEALTHY: Duration = Duration::from_secs(10);

/// The worker, or the plan for the next one.
#[derive(Debug, Default)]
pub(super) struct Keeper {
    running: Option<Running>,
    next: Option<Instant>,
    pause: Duration,
}

#[derive(Debug)]
struct Running {
    pid: Pid,
    link: Link,
    since: Instant,
}

impl Keeper {
    /// A worker was started, and is to know `notices`.
    pub(super) fn started(&mut self, pid: Pid, link: Link, notices: &[Notice]) {
        self.running = Some(Running {
            pid,
            link,
            since: Instant::now(),
        });
        self.next = None;
        for notice in notices {
            self.tell(notice);
        }
    }

    /// No worker could be started: try again later.
    pub(super) fn not_started(&mut self, now: Instant) {
        self.plan(now);
    }

    /// Tells the worker, if there is one. One that cannot be told anything any more is about to be reaped.
    pub(super) fn tell(&mut self, notice: &Notice) {
        if let Some(running) = &mut self.running {
            let _ = running.link.send(notice);
        }
    }

    /// What the worker says.
    pub(super) fn heard(&mut self) -> Vec<Word> {
        self.running
            .as_mut()
            .map(|running| running.link.receive())
            .unwrap_or_default()
    }

    /// Whether `pid`, which has ended, was the worker. From now on a new one is due.
    pub(super) fn ended(&mut self, pid: Pid, now: Instant) -> bool {
        let Some(running) = self.running.take_if(|running| running.pid == pid) else {
            return false;
        };
        if now.saturating_duration_since(running.since) >= HEALTHY {
            self.pause = Duration::ZERO;
        }
        self.plan(now);
        true
    }

    fn plan(&mut self, now: Instant) {
        self.next = Some(now + self.pause);
        self.pause = (self.pause * 2).clamp(FIRST_PAUSE, LAST_PAUSE);
    }

    /// When the next worker is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.next
    }

    pub(super) fn pid(&self) -> Option<Pid> {
        self.running.as_ref().map(|running| running.pid)
    }

    /// Readable when the worker says something.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.running.as_ref().map(|running| running.link.as_fd())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};

    use super::*;

    #[test]
    fn a_worker_that_keeps_dying_is_started_ever_more_seldom() {
        let (mut keeper, start) = (Keeper::default(), Instant::now());
        let pid = Pid::from_raw(7).unwrap();
        let mut pauses = Vec::new();
        for _ in 0..12 {
            keeper.started(pid, Link::pair().unwrap().0, &[]);
            let now = start.max(Instant::now());
            assert!(keeper.ended(pid, now));
            pauses.push(keeper.due().unwrap() - now);
        }
        assert_eq!(pauses.first(), Some(&Duration::ZERO));
        assert!(pauses.is_sorted());
        assert_eq!(pauses.last(), Some(&LAST_PAUSE));
        keeper.started(pid, Link::pair().unwrap().0, &[]);
        let later = Instant::now() + HEALTHY;
        keeper.ended(pid, later);
        assert_eq!(keeper.due(), Some(later));
    }

    #[test]
    fn other_processes_are_not_the_worker() {
        let mut keeper = Keeper::default();
        keeper.started(Pid::from_raw(7).unwrap(), Link::pair().unwrap().0, &[]);
        assert!(!keeper.ended(Pid::from_raw(8).unwrap(), Instant::now()));
        assert_eq!((keeper.pid(), keeper.due()), (Pid::from_raw(7), None));
    }

    #[test]
    fn a_new_worker_learns_all_there_is() {
        let (link, worker) = Link::pair().unwrap();
        let notices = [
            Notice::Entrypoint {
                running: true,
                exit: None,
            },
            Notice::Stop,
        ];
        let mut keeper = Keeper::default();
        keeper.started(Pid::from_raw(7).unwrap(), link, &notices);
        drop(keeper);
        let lines = BufReader::new(worker)
            .lines()
            .map(|line| serde_json::from_str(&line.unwrap()).unwrap());
        assert_eq!(lines.collect::<Vec<Notice>>(), notices);
    }
}

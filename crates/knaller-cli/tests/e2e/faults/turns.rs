//! Whose turn it is: of several processes that are followed, one goes at a time, from one step to its next, as a seed says.

use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::seed::Seed;

/// How long one may take to its next step before it counts as waiting for another, as for a lock.
const STALL: Duration = Duration::from_millis(20);

/// How long all of them may take together. Whoever does not come to its end is killed before (see
/// `testkit::faults::follow`), so only a mistake here lasts as long.
const LIMIT: Duration = Duration::from_secs(15 * 60);

/// Of so many steps one is another process's than the last: races are found by few changes at odd moments.
const STAY: u64 = 8;

pub(super) struct Turns {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    seed: Seed,
    begun: Instant,
    /// Who has not ended.
    there: BTreeSet<usize>,
    /// Who stands before a step.
    ready: BTreeSet<usize>,
    /// Who waits for something else than his turn.
    stalled: BTreeSet<usize>,
    going: Option<usize>,
    last: usize,
    yields: bool,
    since: Instant,
}

impl Turns {
    pub(super) fn new(seed: u64, count: usize) -> Self {
        Self {
            state: Mutex::new(State {
                seed: Seed::new(seed),
                begun: Instant::now(),
                there: (0..count).collect(),
                ready: BTreeSet::new(),
                stalled: BTreeSet::new(),
                going: None,
                last: 0,
                yields: false,
                since: Instant::now(),
            }),
            changed: Condvar::new(),
        }
    }

    /// Returns when it is this one's turn. One that `yields` may be waiting for what another has: that one is to go on.
    ///
    /// # Panics
    /// When it never is.
    fn wait(&self, who: usize, yields: bool) {
        let mut state = self.state();
        state.yields |= yields;
        state.rest(who);
        state.ready.insert(who);
        loop {
            assert!(state.begun.elapsed() < LIMIT, "nobody goes on: {state:?}");
            state.choose();
            self.changed.notify_all();
            if state.going == Some(who) {
                state.ready.remove(&who);
                state.since = Instant::now();
                return;
            }
            state = self
                .changed
                .wait_timeout(state, STALL)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
            state.mind_the_stalled();
        }
    }

    /// One of them, which has ended once this is dropped: whatever ends it, the others do not wait for it.
    pub(super) fn player(&self, who: usize) -> Player<'_> {
        Player { turns: self, who }
    }

    fn over(&self, who: usize) {
        let mut state = self.state();
        state.rest(who);
        state.there.remove(&who);
        state.choose();
        self.changed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct Player<'a> {
    turns: &'a Turns,
    who: usize,
}

impl Player<'_> {
    /// As [`Turns::wait`].
    pub(super) fn wait(&self, yields: bool) {
        self.turns.wait(self.who, yields);
    }
}

impl Drop for Player<'_> {
    fn drop(&mut self) {
        self.turns.over(self.who);
    }
}

impl State {
    fn rest(&mut self, who: usize) {
        self.stalled.remove(&who);
        if self.going == Some(who) {
            self.going = None;
        }
    }

    fn mind_the_stalled(&mut self) {
        // One that has not taken its turn yet is only slow to wake.
        if self.since.elapsed() > STALL
            && !self.going.is_some_and(|going| self.ready.contains(&going))
            && let Some(going) = self.going.take()
        {
            self.stalled.insert(going);
        }
    }

    /// Chooses once everybody stands still.
    fn choose(&mut self) {
        let still = |who: &usize| self.ready.contains(who) || self.stalled.contains(who);
        if self.going.is_some() || self.ready.is_empty() || !self.there.iter().all(still) {
            return;
        }
        let stays = !self.yields && !self.seed.next().is_multiple_of(STAY);
        if !stays || !self.ready.contains(&self.last) {
            let mut ready: Vec<usize> = self.ready.iter().copied().collect();
            if self.yields && ready.len() > 1 {
                ready.retain(|who| *who != self.last);
            }
            self.last = *self.seed.one_of(&ready);
        }
        self.yields = false;
        self.going = Some(self.last);
    }
}

//! What is known of an image's blobs while they move.
//!
//! The invariant: it is told everything and asked for everything; it knows neither a clock nor a terminal.

use std::time::Instant;

use images::oci::{Descriptor, Digest};
use images::registry::{BlobState, Event};

use super::rate::Rate;
use crate::ui::human;

/// Where a blob is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Others are first.
    Queued,
    Moving,
    /// An attempt failed; the next one begins then.
    Paused(Instant),
    /// Nothing had to be moved.
    There,
    Done,
}

/// One blob.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) digest: Digest,
    /// Bytes.
    pub(super) size: u64,
    /// Of which are here.
    pub(super) done: u64,
    pub(super) state: State,
    /// What came over the network, what had to come twice counted twice.
    moved: u64,
    rate: Rate,
}

impl Row {
    fn new(blob: &Descriptor) -> Self {
        Self {
            digest: blob.digest.clone(),
            size: blob.size,
            done: 0,
            state: State::Queued,
            moved: 0,
            rate: Rate::default(),
        }
    }

    pub(super) fn ended(&self) -> bool {
        matches!(self.state, State::There | State::Done)
    }

    /// Bytes per second.
    pub(super) fn rate(&self) -> Option<u64> {
        self.rate.per_second()
    }

    fn take(&mut self, state: &BlobState, now: Instant) {
        match state {
            BlobState::Queued => self.state = State::Queued,
            BlobState::Moving { done } => {
                // Where it begins is what an earlier attempt left.
                if self.state != State::Queued {
                    self.moved = self.moved.saturating_add(done.saturating_sub(self.done));
                }
                (self.done, self.state) = (*done, State::Moving);
            }
            BlobState::Waiting { pause, .. } => self.state = State::Paused(now + *pause),
            BlobState::There | BlobState::Mounted => (self.done, self.state) = (self.size, State::There),
            BlobState::Done => {
                self.moved = self.moved.saturating_add(self.size.saturating_sub(self.done));
                (self.done, self.state) = (self.size, State::Done);
            }
        }
    }
}

/// The blobs of one image: its configuration and its layers.
#[derive(Debug, Default)]
pub(super) struct Layers {
    rows: Vec<Row>,
    rate: Rate,
    began: Option<Instant>,
}

/// What is worth a line that stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// How much there is to do.
    Plan(String),
    /// A layer has come to its end.
    End(String),
    /// Something went wrong and is not lost yet.
    Trouble(String),
}

impl Layers {
    pub(super) fn take(&mut self, event: &Event, now: Instant) -> Option<Told> {
        match event {
            Event::Planned { blobs } => {
                self.rows = blobs.iter().map(Row::new).collect();
                self.began = Some(now);
                let (count, size) = (layers(self.layers().len()), human::bytes(self.size()));
                Some(Told::Plan(format!("{count}, {size}")))
            }
            Event::Blob { digest, state } => {
                let place = self.rows.iter().position(|row| row.digest == *digest)?;
                let row = self.rows.get_mut(place)?;
                row.take(state, now);
                // The configuration is none of the layers.
                let what = match place {
                    0 => format!("configuration {}", digest.short()),
                    _ => format!("layer {}", digest.short()),
                };
                match state {
                    BlobState::Waiting { why, pause } => {
                        let pause = human::span(*pause);
                        Some(Told::Trouble(format!("{what}: {why}; again in {pause}")))
                    }
                    BlobState::Done | BlobState::There | BlobState::Mounted if place > 0 => {
                        let (size, state) = (human::bytes(row.size), ended(row.state));
                        Some(Told::End(format!("{what}  {size:>10}  {state}")))
                    }
                    _ => None,
                }
            }
            // The sum of the rows.
            Event::Total { .. } => None,
            Event::Waiting { why, pause } => {
                Some(Told::Trouble(format!("{why}; again in {}", human::span(*pause))))
            }
            Event::Mirror { host, why } => {
                Some(Told::Trouble(format!("the mirror {host} is passed over: {why}")))
            }
        }
    }

    /// Time goes by.
    pub(super) fn tick(&mut self, now: Instant) {
        for row in self.rows.iter_mut().filter(|row| row.state == State::Moving) {
            row.rate.at(now, row.moved);
        }
        if self.began.is_some() {
            self.rate.at(now, self.moved());
        }
    }

    /// The rows that are layers.
    pub(super) fn layers(&self) -> &[Row] {
        self.rows.get(1..).unwrap_or_default()
    }

    /// Whether all there is has come to its end.
    pub(super) fn over(&self) -> bool {
        self.began.is_some() && self.rows.iter().all(Row::ended)
    }

    pub(super) fn began(&self) -> Option<Instant> {
        self.began
    }

    pub(super) fn size(&self) -> u64 {
        self.rows.iter().map(|row| row.size).fold(0, u64::saturating_add)
    }

    pub(super) fn done(&self) -> u64 {
        self.rows.iter().map(|row| row.done).fold(0, u64::saturating_add)
    }

    /// Bytes that came over the network.
    pub(super) fn moved(&self) -> u64 {
        self.rows.iter().map(|row| row.moved).fold(0, u64::saturating_add)
    }

    pub(super) fn rate(&self) -> Option<u64> {
        self.rate.per_second()
    }

    /// What it came to: `28.1 MiB in 3 layers moved, 2 were there`.
    pub(super) fn summary(&self, past: &str) -> String {
        let there = self
            .layers()
            .iter()
            .filter(|row| row.state == State::There)
            .count();
        let came = self.layers().len() - there;
        let moved = human::bytes(self.moved());
        match (came, there) {
            (0, 0) => format!("{past} {moved}; there are no layers"),
            (0, there) => format!("{past} {moved}; {} there already", were(there)),
            (came, 0) => format!("{past} {moved} in {}", layers(came)),
            (came, there) => {
                format!(
                    "{past} {moved} in {}; {} there already",
                    layers(came),
                    were(there)
                )
            }
        }
    }
}

/// The word for a state that lasts.
pub(super) fn ended(state: State) -> &'static str {
    match state {
        State::There => "there",
        State::Done => "done",
        State::Queued | State::Moving | State::Paused(_) => "",
    }
}

fn layers(count: usize) -> String {
    match count {
        1 => "1 layer".to_owned(),
        count => format!("{count} layers"),
    }
}

fn were(count: usize) -> String {
    match count {
        1 => "1 layer was".to_owned(),
        count => format!("{count} layers were"),
    }
}

//! The lines that are drawn in place while blobs move: one for each layer, and the total.
//!
//! The invariant: no line is wider than the terminal, and there are not more lines than fit; where layers are too many, those
//! that move have a line each and the others are counted.

use std::time::Instant;

use super::layers::{Layers, Row, State, ended};
use crate::ui::human;
use crate::ui::style::{DIM, GOOD, paint};

/// A bar shorter than this tells nothing.
const SHORTEST: usize = 8;
/// A longer one only tires the eye.
const LONGEST: usize = 40;
/// Between two columns.
const GAP: usize = 2;
/// Of a digest.
const NAME: usize = 12;

/// The room there is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) columns: usize,
    pub(super) rows: usize,
}

/// A line before it is laid out.
struct Line {
    name: String,
    done: u64,
    size: u64,
    /// Whether part of it has come: then the amount says both.
    partly: bool,
    bar: bool,
    state: String,
}

pub(super) fn lines(layers: &Layers, room: Room, now: Instant) -> Vec<String> {
    let rows = layers.layers();
    let fits = rows.len() < room.rows;
    let shown: Vec<&Row> = if fits {
        rows.iter().collect()
    } else {
        let active = rows
            .iter()
            .filter(|row| matches!(row.state, State::Moving | State::Paused(_)));
        active.take(room.rows.saturating_sub(2)).collect()
    };
    let mut all: Vec<Line> = shown.into_iter().map(|row| of_row(row, now)).collect();
    all.push(total(layers));
    let mut lines = layout(&all, room.columns);
    if !fits {
        let place = lines.len() - 1;
        lines.insert(place, cut(&counts(rows), room.columns));
    }
    lines
}

fn of_row(row: &Row, now: Instant) -> Line {
    let state = match row.state {
        State::Queued => "waiting".to_owned(),
        State::Moving => row.rate().map_or_else(String::new, speed),
        State::Paused(until) => {
            let left = until.saturating_duration_since(now).as_secs_f64().ceil();
            format!("again in {left:.0} s")
        }
        state @ (State::There | State::Done) => ended(state).to_owned(),
    };
    Line {
        name: row.digest.short().to_owned(),
        done: row.done,
        size: row.size,
        partly: !row.ended() && row.state != State::Queued,
        bar: !matches!(row.state, State::Queued | State::There),
        state,
    }
}

fn total(layers: &Layers) -> Line {
    Line {
        name: "total".to_owned(),
        done: layers.done(),
        size: layers.size(),
        partly: true,
        bar: true,
        state: layers.rate().map_or_else(String::new, speed),
    }
}

fn speed(bytes: u64) -> String {
    format!("{}/s", human::bytes(bytes))
}

/// How the layers are that have no line.
fn counts(rows: &[Row]) -> String {
    let ended = rows.iter().filter(|row| row.ended()).count();
    let waiting = rows.iter().filter(|row| row.state == State::Queued).count();
    format!("{} layers: {ended} are there, {waiting} wait", rows.len())
}

fn layout(lines: &[Line], columns: usize) -> Vec<String> {
    let width = |texts: &dyn Fn(&Line) -> String| lines.iter().map(|line| texts(line).len()).max();
    let state = width(&|line| line.state.clone()).unwrap_or(0);
    let long = width(&amount).unwrap_or(0);
    // What must be there beside the bar, the longer form first.
    let beside = |amount: usize| NAME + GAP + amount + GAP + state;
    let (amount, amount_width): (fn(&Line) -> String, usize) = if beside(long) <= columns {
        (amount, long)
    } else {
        (share, 5)
    };
    let bar = columns.saturating_sub(beside(amount_width) + GAP).min(LONGEST);
    let line = |line: &Line| {
        let mut text = format!("{:<NAME$}", line.name);
        if bar >= SHORTEST {
            text.push_str("  ");
            text.push_str(&drawn(line, bar));
        }
        let shown = format!("  {:>amount_width$}  {}", amount(line), line.state);
        if columns >= NAME + shown.trim_end().len() {
            text.push_str(shown.trim_end());
        }
        cut(&text, columns)
    };
    lines.iter().map(line).collect()
}

/// `12.3 of 28.1 MiB`, or the size alone.
fn amount(line: &Line) -> String {
    let size = human::bytes(line.size);
    if line.partly {
        format!("{} of {size}", human::bytes(line.done))
    } else {
        size
    }
}

/// `43 %`.
fn share(line: &Line) -> String {
    let share = u128::from(line.done) * 100 / u128::from(line.size.max(1));
    format!("{share} %")
}

fn drawn(line: &Line, length: usize) -> String {
    if !line.bar {
        return " ".repeat(length);
    }
    let full = u128::from(line.done) * length as u128 / u128::from(line.size.max(1));
    let full = usize::try_from(full).unwrap_or(length).min(length);
    let rest = paint(DIM, "░".repeat(length - full));
    paint(GOOD, "█".repeat(full)) + &rest
}

/// A line that is never wider than the terminal. Lines with bars fit already, if it has a usable width at all.
fn cut(line: &str, columns: usize) -> String {
    let plain = anstream::adapter::strip_str(line).to_string();
    if plain.chars().count() <= columns {
        line.to_owned()
    } else {
        plain.chars().take(columns).collect()
    }
}

//! How long a start took, phase by phase: as figures for programs and as bars for people.

use std::time::Duration;

use knaller::Side;
use serde::Serialize;

use super::human;
use super::style::{DIM, GOOD, paint};

/// The phases of one start, in the order of their beginnings.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Timeline {
    /// From the command's first act to its last, microseconds.
    pub(crate) total_us: u64,
    pub(crate) phases: Vec<Phase>,
}

/// One phase. Phases may overlap.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Phase {
    pub(crate) side: Side,
    pub(crate) name: String,
    /// Since the start of the whole, microseconds.
    pub(crate) start_us: u64,
    pub(crate) took_us: u64,
}

/// The narrowest field in which bars still tell something.
const MIN_BAR: u64 = 10;
/// Bars longer than this only tire the eye.
const MAX_BAR: u64 = 60;

impl Timeline {
    /// The steps of a start, by their beginnings.
    pub(crate) fn new(timeline: &knaller::Timeline) -> Self {
        let mut phases: Vec<_> = timeline
            .steps
            .iter()
            .map(|step| Phase {
                side: step.side,
                name: step.name.clone(),
                start_us: microseconds(step.at.saturating_sub(step.took)),
                took_us: microseconds(step.took),
            })
            .collect();
        phases.sort_by_key(|phase| phase.start_us);
        Self {
            total_us: microseconds(timeline.total),
            phases,
        }
    }

    /// A line for each phase: its name, what it took, and a bar where it lay in the whole.
    pub(crate) fn bars(&self, width: Option<u16>) -> String {
        let longest = self
            .phases
            .iter()
            .map(|phase| phase.label().chars().count())
            .max()
            .unwrap_or(0)
            .max(5);
        // "name  1234 ms  bar"
        let taken = longest as u64 + 2 + 8 + 2;
        let field = u64::from(width.unwrap_or(100))
            .saturating_sub(taken)
            .clamp(MIN_BAR, MAX_BAR);
        let mut lines: Vec<String> = self
            .phases
            .iter()
            .map(|phase| {
                let name = phase.label();
                let took = human::span(Duration::from_micros(phase.took_us));
                let (offset, length) = self.bar(phase, field);
                let bar = paint(GOOD, "█".repeat(length));
                format!("{name:<longest$}  {took:>8}  {:offset$}{bar}", "")
            })
            .collect();
        let total = human::span(Duration::from_micros(self.total_us));
        lines.push(paint(DIM, format!("{:<longest$}  {total:>8}", "total")));
        lines.join("\n")
    }

    /// Where in `field` columns a phase's bar begins, and its length: at least one column, never past the field.
    fn bar(&self, phase: &Phase, field: u64) -> (usize, usize) {
        let total = self.total_us.max(1);
        let column = |at: u64| at.min(total).saturating_mul(field) / total;
        let start = column(phase.start_us).min(field - 1);
        let end = column(phase.start_us.saturating_add(phase.took_us)).clamp(start + 1, field);
        let length = usize::try_from(end - start).unwrap_or(1);
        (usize::try_from(start).unwrap_or(0), length)
    }
}

impl Phase {
    fn label(&self) -> String {
        label(self.side, &self.name)
    }
}

/// A step's name, with the side where that is not the host.
pub(crate) fn label(side: Side, name: &str) -> String {
    match side {
        Side::Host => name.to_owned(),
        Side::Guest => format!("guest: {name}"),
    }
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeline() -> knaller::Timeline {
        let step = |side, name: &str, at, took| knaller::Step {
            side,
            name: name.to_owned(),
            at: Duration::from_millis(at),
            took: Duration::from_millis(took),
        };
        knaller::Timeline {
            steps: vec![
                step(Side::Host, "claim", 2, 2),
                step(Side::Host, "disks", 42, 40),
                step(Side::Host, "VMM", 130, 120),
                step(Side::Guest, "kernel", 1330, 1200),
                step(Side::Guest, "root file system", 1420, 90),
            ],
            total: Duration::from_millis(1500),
        }
    }

    #[test]
    fn bars_lie_where_their_phases_lay() {
        let bars = Timeline::new(&timeline()).bars(Some(80));
        insta::assert_snapshot!(anstream::adapter::strip_str(&bars).to_string(), @"
        claim                        2 ms  █
        disks                       40 ms  █
        VMM                        120 ms  ███
        guest: kernel              1.20 s     ████████████████████████████████████
        guest: root file system     90 ms                                         ███
        total                      1.50 s
        ");
    }

    #[test]
    fn figures_for_programs() {
        insta::assert_json_snapshot!(Timeline::new(&timeline()).phases[1], @r#"
        {
          "side": "host",
          "name": "disks",
          "start_us": 2000,
          "took_us": 40000
        }
        "#);
    }

    #[test]
    fn an_empty_timeline_is_only_a_total() {
        let bars = Timeline::new(&knaller::Timeline::default()).bars(Some(5));
        insta::assert_snapshot!(anstream::adapter::strip_str(&bars).to_string(), @"total      0 ms");
    }
}

//! What a start says of itself, while it works and when it is done.

use std::net::SocketAddr;
use std::time::Duration;

use knaller::{Forward, Knaller, Machine, Name, Protocol, Restart, StartEvent};
use tokio::sync::oneshot;

use super::StartArgs;
use crate::commands::machine::StartedView;
use crate::context::Context;
use crate::error::CommandError;
use crate::ui::style::{STRONG, paint};
use crate::ui::table::{self, Cell};
use crate::ui::{Format, Progress, Timeline, Ui, human, label};

/// Steps shorter than this are told by `--timings` alone.
const WORTH_A_LINE: Duration = Duration::from_millis(10);

/// The voice of one start.
pub(super) struct Report {
    ui: Ui,
    knaller: Knaller,
    output: Option<Format>,
    timings: bool,
    stays: bool,
    /// What was asked for just now; a machine that is started again has been told of.
    restart: Restart,
    /// What the machine is when all that was asked for is done.
    is: &'static str,
    name: Option<Name>,
    /// Told the name as soon as there is one.
    named: Option<oneshot::Sender<Name>>,
    progress: Option<Progress>,
}

impl Report {
    /// `named` is told the machine's name as soon as it has one.
    pub(super) fn new(
        context: &Context,
        arguments: &StartArgs,
        named: Option<oneshot::Sender<Name>>,
    ) -> Self {
        // A line that turns in place and a console do not share a terminal.
        let progress = if arguments.verbose {
            Progress::plain(context.ui)
        } else {
            Progress::start(context.ui, "starting")
        };
        Self {
            ui: context.ui,
            knaller: context.knaller.clone(),
            output: arguments.output,
            timings: arguments.timings,
            stays: !arguments.detach && !arguments.no_wait,
            restart: arguments.restart,
            is: if arguments.no_wait {
                "boots by itself"
            } else {
                "is up"
            },
            name: None,
            named,
            progress: Some(progress),
        }
    }

    pub(super) fn event(&mut self, event: StartEvent) {
        let Some(progress) = &self.progress else {
            return;
        };
        match event {
            StartEvent::Claimed { name, .. } => {
                progress.doing(&format!("starting {name}"));
                if let Some(named) = self.named.take() {
                    // Nobody waits for it any more: then nobody needs it.
                    let _ = named.send(name.clone());
                }
                self.name = Some(name);
            }
            StartEvent::Step(step) if step.took >= WORTH_A_LINE => {
                progress.done(&label(step.side, &step.name), step.took);
            }
            StartEvent::Step(_) => {}
            other => {
                if let Some(warning) = other.warning() {
                    progress.warning(&warning);
                }
            }
        }
    }

    /// The error, with the name of the machine that it hit.
    pub(super) fn failed(&mut self, error: CommandError) -> CommandError {
        self.progress = None;
        match &self.name {
            Some(name) => error.within(&format!("cannot start {name}")),
            None => error,
        }
    }

    pub(super) async fn started(
        &mut self,
        machine: &Machine,
        timeline: &knaller::Timeline,
    ) -> Result<(), CommandError> {
        self.progress = None;
        let info = machine.info().await?;
        let timeline = Timeline::new(timeline);
        let total = human::span(Duration::from_micros(timeline.total_us));
        let name = machine.name();
        self.ui
            .note(format_args!("{} {} after {total}", paint(STRONG, name), self.is));
        if self.timings && self.output.is_none_or(|format| format == Format::Table) {
            self.ui.note(timeline.bars(self.ui.note_width()));
        }
        self.ways_in(name, &info.forwards);
        if self.restart != Restart::No && !self.knaller.is_supervised()? {
            self.ui.warning(unsupervised(name));
        }
        let Some(format) = self.output else {
            return Ok(());
        };
        let timings = self.timings.then_some(timeline);
        self.ui.inspect(&[StartedView::new(info, timings)], format)
    }

    fn ways_in(&self, name: &Name, forwards: &[Forward]) {
        let mut ways = vec![("  shell", Cell::from(format!("knaller ssh {name}")))];
        ways.extend(forwards.iter().map(|forward| ("  port", way(forward).into())));
        let stop = if self.stays {
            "Ctrl-C, or knaller stop"
        } else {
            "knaller stop"
        };
        ways.push(("  stop", format!("{stop} {name}").into()));
        self.ui.note(table::facts(ways, self.ui.note_width()));
    }
}

/// A policy alone starts nothing.
fn unsupervised(name: &Name) -> String {
    format!(
        "nobody starts {name} again yet: run `knaller supervise`, or give the unit of `knaller generate systemd {name}` to systemd"
    )
}

/// Where a port of the host leads to: `127.0.0.1:8080 -> 80`.
fn way(forward: &Forward) -> String {
    let port = forward.host_port;
    let from = match forward.bind {
        None => format!("*:{port}"),
        Some(address) => SocketAddr::new(address, port).to_string(),
    };
    match forward.protocol {
        Protocol::Tcp => format!("{from} -> {}", forward.guest_port),
        Protocol::Udp => format!("{from} -> {} (UDP)", forward.guest_port),
    }
}

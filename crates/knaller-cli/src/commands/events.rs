//! `knaller events`.

use std::collections::HashMap;

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use knaller::{Event, EventKind, Exit, MachineInfo, Name};
use serde::Serialize;

use crate::args::filter::FilterArgs;
use crate::context::Context;
use crate::error::CommandError;
use crate::signals::{Signal, Signals};

/// Tell what happens to machines, until Ctrl-C
#[derive(Args, Debug)]
#[command(after_help = "\
What is told is the difference between two looks at all machines: of what comes and goes in an instant, or while nobody looks, the \
outcome. As JSON it is one object a line: time, time_ns, name, instance, event (created, starting, running, paused, resumed, \
unresponsive, responsive, stopped, renamed, removed), and with some of them exit or from.")]
pub(crate) struct EventsArgs {
    #[command(flatten)]
    filter: FilterArgs,

    /// How to write each event
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t)]
    output: Lines,
}

/// A line each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Lines {
    /// For people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

impl Lines {
    /// One thing that happened, as a line; `text` is how people read it.
    pub(super) fn line<T: Serialize>(
        self,
        told: &T,
        time_ns: u64,
        text: fn(&T) -> String,
    ) -> Result<String, CommandError> {
        match self {
            Self::Text => Ok(text(told)),
            Self::Json => serde_json::to_string(&Timed {
                time: moment(time_ns),
                told,
            })
            .map_err(|error| CommandError::host("cannot write an event", &error)),
        }
    }
}

/// With its time as people read it, and all other times are written.
#[derive(Serialize)]
struct Timed<'a, T> {
    time: String,
    #[serde(flatten)]
    told: &'a T,
}

impl EventsArgs {
    pub(crate) async fn run(self, context: Context) -> Result<u8, CommandError> {
        let mut signals = Signals::watch(&Signal::ENDINGS)?;
        let mut events = context.knaller.events().await?;
        let mut known = Known::new(&context, self.filter).await?;
        loop {
            let event = tokio::select! {
                event = events.next() => event?,
                signal = signals.next() => return Err(CommandError::Ended(signal)),
            };
            if known.is_meant(&context, &event).await {
                context
                    .ui
                    .print(&self.output.line(&event, event.time_ns, text)?)?;
            }
        }
    }
}

/// The machines as they were last: of one that is gone nothing else tells whether it was meant.
struct Known {
    filter: FilterArgs,
    machines: HashMap<Name, MachineInfo>,
}

impl Known {
    async fn new(context: &Context, filter: FilterArgs) -> Result<Self, CommandError> {
        let mut machines = HashMap::new();
        if !filter.filters.is_empty() {
            let listed = context.knaller.list().await?;
            machines.extend(listed.into_iter().map(|machine| (machine.name.clone(), machine)));
        }
        Ok(Self { filter, machines })
    }

    async fn is_meant(&mut self, context: &Context, event: &Event) -> bool {
        if self.filter.filters.is_empty() {
            return true;
        }
        if let Ok(machine) = context.knaller.get(event.name.as_str()).await
            && let Ok(now) = machine.info().await
        {
            self.machines.insert(event.name.clone(), now);
        }
        let known = self.machines.get(&event.name);
        let meant = known.is_some_and(|machine| self.filter.take(machine));
        if event.kind == EventKind::Removed {
            self.machines.remove(&event.name);
        }
        meant
    }
}

fn text(event: &Event) -> String {
    let what = match &event.kind {
        EventKind::Stopped { exit } => format!("stopped ({})", how(exit)),
        EventKind::Renamed { from } => format!("renamed from {from}"),
        EventKind::Created => "created".to_owned(),
        EventKind::Starting => "starting".to_owned(),
        EventKind::Running => "running".to_owned(),
        EventKind::Paused => "paused".to_owned(),
        EventKind::Resumed => "resumed".to_owned(),
        EventKind::Unresponsive => "unresponsive".to_owned(),
        EventKind::Responsive => "responsive".to_owned(),
        EventKind::Removed => "removed".to_owned(),
        other => format!("{other:?}"),
    };
    format!("{} {} {what}", moment(event.time_ns), event.name)
}

/// Nanoseconds since the Unix epoch; nothing for a time that no calendar has.
pub(super) fn moment(time_ns: u64) -> String {
    Timestamp::from_nanosecond(i128::from(time_ns)).map_or_else(
        |_| String::new(),
        |time| time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
    )
}

/// How a machine ended, in brackets behind that it did.
pub(super) fn how(exit: &Exit) -> String {
    match exit {
        Exit::Command(exit) => format!("its command ended with {}", exit.shell_code()),
        Exit::Panicked(line) => line.clone(),
        Exit::Off => "powered off".to_owned(),
        Exit::Lost => "ended without a word".to_owned(),
    }
}

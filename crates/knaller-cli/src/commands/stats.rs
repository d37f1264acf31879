//! `knaller stats`.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use clap_complete::engine::ArgValueCandidates;
use futures_util::future::join_all;
use knaller::{Name, State, Stats};
use serde::Serialize;

use super::events::moment;
use crate::args::filter::{self, FilterArgs};
use crate::complete;
use crate::context::Context;
use crate::error::CommandError;
use crate::signals::{Signal, Signals};
use crate::terminal::Keys;
use crate::ui::table::{Cell, Column, Tone};
use crate::ui::{Format, Listed, OutputArgs, human};

/// The time between two looks: short enough to watch, long enough that looking costs little.
pub(super) const EVERY: Duration = Duration::from_secs(2);

/// The time that the first figures are taken over.
const FIRST: Duration = Duration::from_millis(500);

/// Show what machines use, until q or Ctrl-C
#[derive(Args, Debug)]
#[command(after_help = "\
CPU is of one of the host's: a machine with two CPUs can take 200 %. MEMORY is what its processes take of the host's, the guest's own \
figure behind it. DISK and NET are what went in and out since the machine started. As JSON it is one array for each look.")]
pub(crate) struct StatsArgs {
    /// The machines' names; all that run if there is none
    #[arg(value_name = "NAME", conflicts_with = "filters", add = ArgValueCandidates::new(complete::machines))]
    names: Vec<Name>,

    #[command(flatten)]
    filter: FilterArgs,

    /// One look, and an end
    #[arg(long)]
    no_stream: bool,

    #[command(flatten)]
    output: OutputArgs,
}

impl StatsArgs {
    pub(crate) async fn run(self, context: Context) -> Result<(), CommandError> {
        let mut signals = Signals::watch(&Signal::ENDINGS)?;
        let mut keys = Keys::listen();
        let mut before = self.look(&context).await?;
        let mut pause = FIRST;
        let mut lines = 0;
        loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = EVERY,
                () = keys.quit() => return Ok(()),
                signal = signals.next() => return Err(CommandError::Ended(signal)),
            }
            let now = self.look(&context).await?;
            let views: Vec<_> = now
                .values()
                .map(|stats| StatsView::new(stats, before.get(&stats.name)))
                .collect();
            before = now;
            if self.no_stream {
                let nothing = filter::nothing(&self.filter.filters, "No machine runs.");
                return context.ui.list(&views, self.output.output, &nothing);
            }
            match self.output.output {
                Format::Json => context.ui.print(&line(&views)?)?,
                format => lines = context.ui.list_again(&views, format, lines)?,
            }
        }
    }

    async fn look(&self, context: &Context) -> Result<BTreeMap<Name, Stats>, CommandError> {
        let names = if self.names.is_empty() {
            let machines = context.knaller.list().await?.into_iter();
            let running = machines.filter(|info| {
                !matches!(info.state, State::Stopped | State::Starting) && self.filter.take(info)
            });
            running.map(|info| info.name).collect()
        } else {
            self.names.clone()
        };
        let all = join_all(names.iter().map(async |name| {
            context
                .machine(name)
                .await?
                .stats()
                .await
                .map_err(CommandError::from)
        }));
        let mut found = BTreeMap::new();
        for stats in all.await {
            match stats {
                Ok(stats) => {
                    found.insert(stats.name.clone(), stats);
                }
                // One that stopped meanwhile, among all.
                Err(_) if self.names.is_empty() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }
}

/// One look as a line of JSON.
pub(super) fn line<T: Serialize>(views: &[T]) -> Result<String, CommandError> {
    serde_json::to_string(views).map_err(|error| CommandError::host("cannot write the figures", &error))
}

/// A machine's figures as the table shows them. Programs rely on its field names.
#[derive(Debug, Serialize)]
struct StatsView {
    time: String,
    #[serde(flatten)]
    stats: Stats,
    /// Of one CPU, since the look before.
    cpu_percent: f64,
}

impl StatsView {
    #[allow(clippy::cast_precision_loss, reason = "a percentage for people")]
    fn new(stats: &Stats, before: Option<&Stats>) -> Self {
        let same = before.filter(|before| before.usage.cpu_us <= stats.usage.cpu_us);
        let cpu_percent = same.map_or(0.0, |before| {
            let used = (stats.usage.cpu_us - before.usage.cpu_us) as f64 * 1_000.0;
            let passed = stats.time_ns.saturating_sub(before.time_ns).max(1) as f64;
            (used / passed * 1_000.0).round() / 10.0
        });
        Self {
            time: moment(stats.time_ns),
            stats: stats.clone(),
            cpu_percent,
        }
    }
}

impl Listed for StatsView {
    const COLUMNS: &'static [Column] = &[
        Column::new("NAME", 0),
        Column::new("CPU", 0),
        Column::new("MEMORY", 0),
        Column::new("GUEST MEMORY", 1),
        Column::new("LOAD", 2),
        Column::new("DISK IN/OUT", 3),
        Column::new("NET IN/OUT", 1),
        Column::new("PIDS", 4),
    ];

    fn name(&self) -> &str {
        self.stats.name.as_str()
    }

    fn cells(&self) -> Vec<Cell> {
        let (usage, guest) = (&self.stats.usage, &self.stats.guest);
        let of_guest = guest.as_ref().map(|guest| {
            let used = guest.memory_total_kib.saturating_sub(guest.memory_available_kib);
            format!(
                "{} / {}",
                human::bytes(used * 1024),
                human::bytes(guest.memory_total_kib * 1024)
            )
        });
        let pair = |one, other| format!("{} / {}", human::bytes(one), human::bytes(other));
        let net = usage.network.map(|net| pair(net.received, net.sent));
        vec![
            Cell::new(self.name(), Tone::Strong),
            format!("{:.1} %", self.cpu_percent).into(),
            human::bytes(usage.memory).into(),
            of_guest.unwrap_or_else(|| "-".to_owned()).into(),
            guest
                .as_ref()
                .map_or_else(|| "-".to_owned(), |guest| format!("{:.2}", guest.load[0]))
                .into(),
            pair(usage.disk_read, usage.disk_written).into(),
            net.unwrap_or_else(|| "-".to_owned()).into(),
            guest
                .as_ref()
                .map_or_else(|| "-".to_owned(), |guest| guest.processes.to_string())
                .into(),
        ]
    }
}

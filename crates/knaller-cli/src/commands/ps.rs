//! `knaller ps`.

use std::time::Duration;

use clap::Args;
use guest_protocol::control::Process;
use knaller::Machine;
use serde::Serialize;

use super::stats::{EVERY, line};
use crate::args::machine::MachineArg;
use crate::context::Context;
use crate::error::CommandError;
use crate::signals::{Signal, Signals};
use crate::terminal::Keys;
use crate::ui::table::{Cell, Column, Tone};
use crate::ui::{Format, Listed, OutputArgs, human, plain};

/// Show what runs in a machine
#[derive(Args, Debug)]
#[command(
    visible_alias = "top",
    after_help = "\
The guest's init tells it, so the image needs no program for that. The guest kernel's own threads are left out. MEMORY is \
resident memory, CPU the time that the process has had of it. With --watch CPU is of one of the guest's CPUs since the look before, \
and those that take most come first; q or Ctrl-C ends it. As JSON that is one array a line. `knaller stats` shows what whole machines \
use.

Examples:
  knaller ps web
  knaller top web --watch"
)]
pub(crate) struct PsArgs {
    #[command(flatten)]
    machine: MachineArg,

    /// Look again and again, until q or Ctrl-C
    #[arg(short, long)]
    watch: bool,

    #[command(flatten)]
    output: OutputArgs,
}

impl PsArgs {
    pub(crate) async fn run(self, context: Context) -> Result<(), CommandError> {
        let machine = context.machine(&self.machine.name).await?;
        if self.watch {
            return watch(&context, &machine, self.output.output).await;
        }
        let views = Look::take(&machine).await?.views(None);
        context.ui.list(&views, self.output.output, "Nothing runs.")
    }
}

async fn watch(context: &Context, machine: &Machine, format: Format) -> Result<(), CommandError> {
    let mut signals = Signals::watch(&Signal::ENDINGS)?;
    let mut keys = Keys::listen();
    let (mut before, mut lines) = (None, 0);
    loop {
        let now = tokio::select! {
            now = Look::take(machine) => now?,
            signal = signals.next() => return Err(CommandError::Ended(signal)),
        };
        let views = now.views(before.as_ref());
        match format {
            Format::Json => context.ui.print(&line(&views)?)?,
            format => lines = context.ui.list_again(&views, format, lines)?,
        }
        before = Some(now);
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = keys.quit() => return Ok(()),
            signal = signals.next() => return Err(CommandError::Ended(signal)),
        }
    }
}

/// What ran at one moment.
struct Look {
    processes: Vec<Process>,
    uptime_us: u64,
}

impl Look {
    async fn take(machine: &Machine) -> Result<Self, CommandError> {
        Ok(Self {
            processes: machine.processes().await?,
            uptime_us: machine.status().await?.uptime_us,
        })
    }

    /// Those that took most of the CPUs since the look before come first, where there was one.
    fn views(&self, before: Option<&Self>) -> Vec<ProcessView> {
        let view = |process: &Process| {
            let mut view = ProcessView::new(process.clone(), self.uptime_us);
            view.cpu_percent = before.map(|before| before.percent(process, self.uptime_us));
            view
        };
        let mut views: Vec<_> = self.processes.iter().map(view).collect();
        // Otherwise they stay in the order of their numbers.
        views.sort_by(|one, other| {
            let [one, other] = [one, other].map(|view| view.cpu_percent.unwrap_or_default());
            other.total_cmp(&one)
        });
        views
    }

    /// How much of one CPU a process has had from here until later.
    #[allow(clippy::cast_precision_loss, reason = "a percentage for people")]
    fn percent(&self, later: &Process, uptime_us: u64) -> f64 {
        let same = |process: &&Process| (process.pid, process.started_us) == (later.pid, later.started_us);
        let had = self
            .processes
            .iter()
            .find(same)
            .map_or(0, |process| process.cpu_ms);
        let used = later.cpu_ms.saturating_sub(had) as f64 * 1_000.0;
        let passed = uptime_us.saturating_sub(self.uptime_us).max(1) as f64;
        (used / passed * 1_000.0).round() / 10.0
    }
}

/// Programs rely on its field names.
#[derive(Debug, Serialize)]
struct ProcessView {
    #[serde(flatten)]
    process: Process,
    /// How long it has been there, microseconds.
    age_us: u64,
    /// Of one CPU, since the look before, where there was one.
    cpu_percent: Option<f64>,
    #[serde(skip)]
    pid: String,
}

impl ProcessView {
    fn new(process: Process, uptime_us: u64) -> Self {
        Self {
            age_us: uptime_us.saturating_sub(process.started_us),
            pid: process.pid.to_string(),
            cpu_percent: None,
            process,
        }
    }
}

impl Listed for ProcessView {
    const COLUMNS: &'static [Column] = &[
        Column::new("PID", 0),
        Column::new("PPID", 4),
        Column::new("USER", 1),
        Column::new("STATE", 3),
        Column::new("CPU", 2),
        Column::new("MEMORY", 1),
        Column::new("AGE", 2),
        Column::wrapping("COMMAND", 0),
    ];

    fn name(&self) -> &str {
        &self.pid
    }

    fn cells(&self) -> Vec<Cell> {
        let process = &self.process;
        let cpu = match self.cpu_percent {
            Some(percent) => format!("{percent:.1} %"),
            None => human::span(Duration::from_millis(process.cpu_ms)),
        };
        vec![
            Cell::new(&self.pid, Tone::Strong),
            process.parent.to_string().into(),
            word(&process.user).into(),
            state(process.state).into(),
            cpu.into(),
            human::bytes(process.memory_kib.saturating_mul(1024)).into(),
            human::age(Duration::from_micros(self.age_us)).into(),
            word(&process.command).into(),
        ]
    }
}

/// What a guest has written, on one line.
fn word(text: &str) -> String {
    plain(&text.replace(['\n', '\t'], " "))
}

fn state(state: char) -> String {
    match state {
        'R' => "runs".to_owned(),
        'S' | 'I' => "sleeps".to_owned(),
        'D' => "waits".to_owned(),
        'T' | 't' => "stopped".to_owned(),
        'Z' | 'X' => "ended".to_owned(),
        other => word(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::list;

    fn process(pid: u32, started_us: u64, cpu_ms: u64) -> Process {
        Process {
            pid,
            parent: 1,
            user: "web".to_owned(),
            state: 'S',
            cpu_ms,
            memory_kib: 2048,
            started_us,
            command: "x".to_owned(),
        }
    }

    #[test]
    fn those_that_take_most_come_first() {
        let before = Look {
            processes: vec![process(1, 0, 500), process(2, 10, 900), process(3, 20, 100)],
            uptime_us: 1_000_000,
        };
        // Number 2 is another process by now.
        let now = Look {
            processes: vec![
                process(1, 0, 500),
                process(2, 1_500_000, 200),
                process(3, 20, 2_100),
            ],
            uptime_us: 3_000_000,
        };
        let shares = |views: Vec<ProcessView>| -> Vec<_> {
            views
                .iter()
                .map(|view| (view.process.pid, view.cpu_percent))
                .collect()
        };
        let expected = [(3, Some(100.0)), (2, Some(10.0)), (1, Some(0.0))];
        assert_eq!(shares(now.views(Some(&before))), expected);
        assert_eq!(shares(now.views(None)), [(1, None), (2, None), (3, None)]);
        let table = list(&now.views(Some(&before)), Format::Table, None).unwrap();
        assert!(table.contains("100.0 %"), "{table}");
    }

    #[test]
    fn what_a_guest_calls_its_processes_steers_no_terminal() {
        let process = Process {
            pid: 7,
            parent: 1,
            user: "web".to_owned(),
            state: 'S',
            cpu_ms: 1_500,
            memory_kib: 2048,
            started_us: 1_000_000,
            command: "evil\n\x1b[2Jname\x07 --flag".to_owned(),
        };
        let views = [ProcessView::new(process, 66_000_000)];
        let table = list(&views, Format::Table, None).unwrap();
        let table = anstream::adapter::strip_str(&table).to_string();
        insta::assert_snapshot!(table, @r"
        PID  PPID  USER  STATE   CPU     MEMORY  AGE  COMMAND
        7    1     web   sleeps  1.50 s  2 MiB   1m   evil name --flag
        ");
        assert!(!list(&views, Format::Json, None).unwrap().contains('\x1b'));
    }
}

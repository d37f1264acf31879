//! `knaller ps`.

use std::time::Duration;

use clap::Args;
use guest_protocol::control::Process;
use serde::Serialize;

use crate::args::machine::MachineArg;
use crate::context::Context;
use crate::error::CommandError;
use crate::ui::table::{Cell, Column, Tone};
use crate::ui::{Listed, OutputArgs, human, plain};

/// Show what runs in a machine
#[derive(Args, Debug)]
#[command(
    visible_alias = "top",
    after_help = "\
The guest's init tells it, so the image needs no program for that. The guest kernel's own threads are left out. MEMORY is \
resident memory, CPU the time that the process has had of it. `knaller stats` shows what whole machines use."
)]
pub(crate) struct PsArgs {
    #[command(flatten)]
    machine: MachineArg,

    #[command(flatten)]
    output: OutputArgs,
}

impl PsArgs {
    pub(crate) async fn run(self, context: Context) -> Result<(), CommandError> {
        let machine = context.machine(&self.machine.name).await?;
        let processes = machine.processes().await?;
        let uptime_us = machine.status().await?.uptime_us;
        let view = |process| ProcessView::new(process, uptime_us);
        let views: Vec<_> = processes.into_iter().map(view).collect();
        context.ui.list(&views, self.output.output, "Nothing runs.")
    }
}

/// Programs rely on its field names.
#[derive(Debug, Serialize)]
struct ProcessView {
    #[serde(flatten)]
    process: Process,
    /// How long it has been there, microseconds.
    age_us: u64,
    #[serde(skip)]
    pid: String,
}

impl ProcessView {
    fn new(process: Process, uptime_us: u64) -> Self {
        Self {
            age_us: uptime_us.saturating_sub(process.started_us),
            pid: process.pid.to_string(),
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
        vec![
            Cell::new(&self.pid, Tone::Strong),
            process.parent.to_string().into(),
            word(&process.user).into(),
            state(process.state).into(),
            human::span(Duration::from_millis(process.cpu_ms)).into(),
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
    use crate::ui::{Format, list};

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

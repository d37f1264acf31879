//! `knaller logs`.

use std::collections::VecDeque;

use clap::Args;
use knaller::{LogSource, Machine};

use crate::args::machine::MachineArg;
use crate::context::Context;
use crate::error::CommandError;
use crate::signals::{Signal, Signals};
use crate::ui::Ui;

/// Show what a machine wrote to its console
#[derive(Args, Debug)]
pub(crate) struct LogsArgs {
    #[command(flatten)]
    machine: MachineArg,

    /// Go on as more comes, until the machine has stopped
    #[arg(short, long)]
    follow: bool,

    /// Only the last N lines
    #[arg(short = 'n', long, value_name = "N")]
    tail: Option<usize>,

    /// What the VMM and the network helper wrote instead
    #[arg(long)]
    vmm: bool,
}

impl LogsArgs {
    pub(crate) async fn run(self, context: Context) -> Result<(), CommandError> {
        let machine = context.machine(&self.machine.name).await?;
        let mut signals = Signals::watch(&Signal::ENDINGS)?;
        tokio::select! {
            shown = self.show(context.ui, &machine) => shown,
            signal = signals.next() => match signal {
                // The usual way to leave.
                Signal::Interrupt if self.follow => Ok(()),
                signal => Err(CommandError::Ended(signal)),
            },
        }
    }

    async fn show(&self, ui: Ui, machine: &Machine) -> Result<(), CommandError> {
        let source = if self.vmm {
            LogSource::Vmm
        } else {
            LogSource::Console
        };
        let mut logs = machine.logs(source, false).await?;
        if let Some(lines) = self.tail {
            let mut tail = Tail::new(lines);
            while let Some(bytes) = logs.next().await? {
                tail.push(&bytes);
            }
            ui.write(&tail.finish())?;
        }
        if self.follow {
            logs.follow()?;
        }
        while let Some(bytes) = logs.next().await? {
            ui.write(&bytes)?;
        }
        Ok(())
    }
}

/// The last lines of what was pushed; the last one may lack its end.
#[derive(Debug)]
struct Tail {
    lines: VecDeque<Vec<u8>>,
    limit: usize,
    /// The last line is not ended.
    open: bool,
}

impl Tail {
    fn new(limit: usize) -> Self {
        Self {
            lines: VecDeque::new(),
            limit,
            open: false,
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            match self.lines.back_mut() {
                Some(line) if self.open => line.extend_from_slice(piece),
                _ => self.lines.push_back(piece.to_vec()),
            }
            self.open = !piece.ends_with(b"\n");
            if self.lines.len() > self.limit {
                self.lines.pop_front();
            }
        }
    }

    fn finish(self) -> Vec<u8> {
        self.lines.into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_tail_is_the_last_lines_however_they_came(
            lines in prop::collection::vec("[a-z]{0,5}", 1..20),
            ended: bool,
            cut in 1usize..7,
            limit in 0usize..10,
        ) {
            let mut text = lines.join("\n");
            if ended {
                text.push('\n');
            }
            let mut tail = Tail::new(limit);
            for piece in text.as_bytes().chunks(cut) {
                tail.push(piece);
            }
            let all: Vec<_> = text.split_inclusive('\n').collect();
            let expected = all[all.len().saturating_sub(limit)..].concat();
            prop_assert_eq!(String::from_utf8(tail.finish()).unwrap(), expected);
        }
    }
}

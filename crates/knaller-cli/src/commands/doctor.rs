//! `knaller doctor`.

use clap::Args;
use knaller::Class;
use knaller::doctor::{Check, Verdict};

use crate::context::Context;
use crate::error::CommandError;
use crate::ui::table::{Cell, Column, Tone};
use crate::ui::{Format, Listed, OutputArgs};

/// Check what a start needs, and name the remedies
#[derive(Args, Debug)]
pub(crate) struct DoctorArgs {
    /// Apply the remedies that need no root
    #[arg(long)]
    fix: bool,

    #[command(flatten)]
    output: OutputArgs,
}

impl DoctorArgs {
    pub(crate) async fn run(self, context: Context) -> Result<u8, CommandError> {
        let mut checks = context.knaller.doctor().await;
        if self.fix {
            fix(&context, &checks).await;
            checks = context.knaller.doctor().await;
        }
        context
            .ui
            .list(&checks, self.output.output, "There is nothing to check.")?;
        if self.output.output == Format::Table {
            conclude(&context, &checks);
        }
        let failed = checks.iter().any(|check| check.verdict == Verdict::Failed);
        Ok(if failed { Class::Missing.code() } else { 0 })
    }
}

async fn fix(context: &Context, checks: &[Check]) {
    for check in checks
        .iter()
        .filter(|check| check.verdict != Verdict::Ok && check.fixable)
    {
        match context.knaller.fix(check).await {
            Ok(done) => context.ui.note(format_args!("{}: {done}", check.id)),
            Err(error) => {
                context.ui.error(&error.into());
            }
        }
    }
}

/// Each remedy in full, since a person copies it from here.
fn conclude(context: &Context, checks: &[Check]) {
    for check in checks {
        if let Some(remedy) = check.remedy.as_deref().filter(|_| check.verdict != Verdict::Ok) {
            let fixable = if check.fixable {
                " (`knaller doctor --fix` does it)"
            } else {
                ""
            };
            context.ui.note(format_args!(
                "\n{}{fixable}:\n  {}",
                check.id,
                remedy.replace('\n', "\n  ")
            ));
        }
    }
}

impl Listed for Check {
    const COLUMNS: &'static [Column] = &[
        Column::new("CHECK", 0),
        Column::new("VERDICT", 0),
        Column::new("FOUND", 0),
    ];

    fn name(&self) -> &str {
        &self.id
    }

    fn cells(&self) -> Vec<Cell> {
        let verdict = match self.verdict {
            Verdict::Ok => Cell::new("ok", Tone::Good),
            Verdict::Warning => Cell::new("warning", Tone::Warning),
            Verdict::Failed => Cell::new("failed", Tone::Bad),
        };
        vec![self.id.as_str().into(), verdict, self.found.as_str().into()]
    }
}

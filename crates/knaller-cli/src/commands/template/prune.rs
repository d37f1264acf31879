//! `knaller template prune`.

use clap::Args;
use knaller::Filter;
use serde::Serialize;

use crate::args::filter;
use crate::context::Context;
use crate::error::CommandError;
use crate::ui::table::{Cell, Tone};
use crate::ui::{Inspected, ReportArgs, human};

/// Remove templates that no start will use again
#[derive(Args, Debug)]
pub(crate) struct PruneArgs {
    /// Remove all of them
    #[arg(short, long)]
    all: bool,

    /// Only those that meet this: name=PART of the key, state=fresh or state=stale, vmm=VMM
    #[arg(short, long = "filter", value_name = "FILTER", value_parser = filter::on(&["name", "state", "vmm"], &["fresh", "stale"]))]
    filters: Vec<Filter>,

    #[command(flatten)]
    report: ReportArgs,
}

impl PruneArgs {
    pub(crate) async fn run(self, context: Context) -> Result<(), CommandError> {
        let (gone, freed) = context.knaller.prune_templates(self.all, &self.filters).await?;
        if let Some(format) = self.report.output {
            return context.ui.inspect(
                &[PrunedView {
                    templates: gone,
                    freed,
                }],
                format,
            );
        }
        let size = human::bytes(freed);
        let told = match gone {
            0 => "no template is removed".to_owned(),
            1 => format!("1 template is removed, {size} are free again"),
            _ => format!("{gone} templates are removed, {size} are free again"),
        };
        context.ui.note(told);
        Ok(())
    }
}

/// Programs rely on its field names.
#[derive(Debug, Serialize)]
struct PrunedView {
    templates: usize,
    /// Bytes of the disk.
    freed: u64,
}

impl Inspected for PrunedView {
    fn name(&self) -> &str {
        "pruned"
    }

    fn facts(&self) -> Vec<(&'static str, Cell)> {
        vec![
            ("templates", format!("{} removed", self.templates).into()),
            ("free again", Cell::new(human::bytes(self.freed), Tone::Strong)),
        ]
    }
}

//! `knaller prune`.

use clap::Args;
use knaller::{Class, Healed};
use serde::Serialize;

use crate::context::Context;
use crate::error::CommandError;
use crate::ui::table::{Cell, Column};
use crate::ui::{Listed, OutputArgs};

/// Put right what killed processes have left, and say what that was
#[derive(Args, Debug)]
#[command(after_help = "\
Every command puts right what it comes across; this one looks everywhere, and tells. Nothing goes that anybody uses: \
machines that run, or lie stopped, stay as they are. `knaller system prune` frees disk space. As JSON each thing has a kind, what \
belongs to it, and a sentence.")]
pub(crate) struct PruneArgs {
    /// End VMMs that belong to no machine, too
    #[arg(short, long)]
    force: bool,

    #[command(flatten)]
    output: OutputArgs,
}

impl PruneArgs {
    pub(crate) async fn run(self, context: Context) -> Result<u8, CommandError> {
        let healed = context.knaller.prune(self.force).await?;
        let views: Vec<HealedView> = healed.iter().map(HealedView::new).collect();
        context
            .ui
            .list(&views, self.output.output, "Everything is in order.")?;
        Ok(code(&healed))
    }
}

/// The exit code after these have been told.
pub(super) fn code(healed: &[Healed]) -> u8 {
    let failed = |healed: &Healed| {
        matches!(
            healed,
            Healed::Failed { .. } | Healed::Damaged { .. } | Healed::DamagedSnapshot { .. }
        )
    };
    if healed.iter().any(failed) {
        Class::Host.code()
    } else {
        0
    }
}

/// Programs rely on its field names.
#[derive(Debug, Serialize)]
pub(super) struct HealedView {
    #[serde(flatten)]
    healed: Healed,
    pub(super) sentence: String,
}

impl HealedView {
    pub(super) fn new(healed: &Healed) -> Self {
        Self {
            sentence: healed.to_string(),
            healed: healed.clone(),
        }
    }
}

impl Listed for HealedView {
    const COLUMNS: &'static [Column] = &[Column::wrapping("DONE", 0)];

    fn name(&self) -> &str {
        &self.sentence
    }

    fn cells(&self) -> Vec<Cell> {
        vec![self.sentence.as_str().into()]
    }
}

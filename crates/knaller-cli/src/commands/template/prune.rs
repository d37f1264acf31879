//! `knaller template prune`.

use clap::Args;
use knaller::Filter;

use crate::args::filter;
use crate::context::Context;
use crate::error::CommandError;
use crate::ui::human;

/// Remove templates that no start will use again
#[derive(Args, Debug)]
pub(crate) struct PruneArgs {
    /// Remove all of them
    #[arg(short, long)]
    all: bool,

    /// Only those that meet this: name=PART of the key, state=fresh or state=stale, vmm=VMM
    #[arg(short, long = "filter", value_name = "FILTER", value_parser = filter::on(&["name", "state", "vmm"], &["fresh", "stale"]))]
    filters: Vec<Filter>,
}

impl PruneArgs {
    pub(crate) async fn run(self, context: Context) -> Result<(), CommandError> {
        let (gone, size) = context.knaller.prune_templates(self.all, &self.filters).await?;
        let size = human::bytes(size);
        let told = match gone {
            0 => "no template is removed".to_owned(),
            1 => format!("1 template is removed, {size} are free again"),
            _ => format!("{gone} templates are removed, {size} are free again"),
        };
        context.ui.note(told);
        Ok(())
    }
}

//! `knaller template rm`.

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use clap_complete::engine::ArgValueCandidates;
use serde::Serialize;

use crate::commands::each::{Done, in_turn};
use crate::complete;
use crate::context::Context;
use crate::error::CommandError;
use crate::ui::ReportArgs;

/// Remove templates; machines made of them live on
#[derive(Args, Debug)]
pub(crate) struct RmArgs {
    /// The key, or how it begins
    #[arg(value_name = "KEY", required = true, add = ArgValueCandidates::new(complete::templates), value_parser = NonEmptyStringValueParser::new())]
    keys: Vec<String>,

    #[command(flatten)]
    report: ReportArgs,
}

impl RmArgs {
    pub(crate) async fn run(self, context: Context) -> Result<u8, CommandError> {
        in_turn(&context, self.keys, self.report.output, async |key| {
            let key = context.knaller.remove_template(key).await?;
            let sentence = format!("template {key} is removed");
            Ok(Some(Done::with("removed", sentence, Removed { key })))
        })
        .await
    }
}

#[derive(Serialize)]
struct Removed {
    /// The whole of it.
    key: String,
}

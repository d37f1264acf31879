//! `knaller volume create`.

use std::path::PathBuf;

use clap::Args;
use knaller::Name;
use serde::Serialize;

use crate::args::size;
use crate::commands::each::{Done, one};
use crate::context::Context;
use crate::error::CommandError;
use crate::ui::ReportArgs;

/// Make an empty volume
#[derive(Args, Debug)]
pub(crate) struct CreateArgs {
    /// What the volume is to be called
    #[arg(value_name = "NAME")]
    name: Name,

    /// What it has room for: 20G; it takes no more of the host's disk than is written to it [default: 8G]
    #[arg(short, long, value_name = "SIZE", value_parser = size::mebibytes)]
    size: Option<u32>,

    #[command(flatten)]
    report: ReportArgs,
}

impl CreateArgs {
    pub(crate) async fn run(self, context: Context) -> Result<u8, CommandError> {
        let size = self.size.map(u64::from);
        let path = context.knaller.create_volume(&self.name, size).await?;
        let done = Done::with(
            "created",
            format!("volume {} is made", self.name),
            Created { path },
        );
        one(&context, self.name.as_str(), self.report.output, done)
    }
}

#[derive(Serialize)]
struct Created {
    path: PathBuf,
}

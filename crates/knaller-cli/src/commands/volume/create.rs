//! `knaller volume create`.

use clap::Args;
use knaller::Name;

use crate::args::size;
use crate::context::Context;
use crate::error::CommandError;

/// Make an empty volume
#[derive(Args, Debug)]
pub(crate) struct CreateArgs {
    /// What the volume is to be called
    #[arg(value_name = "NAME")]
    name: Name,

    /// What it has room for: 20G; it takes no more of the host's disk than is written to it [default: 8G]
    #[arg(short, long, value_name = "SIZE", value_parser = size::mebibytes)]
    size: Option<u32>,
}

impl CreateArgs {
    pub(crate) async fn run(self, context: Context) -> Result<(), CommandError> {
        let size = self.size.map(u64::from);
        context.knaller.create_volume(&self.name, size).await?;
        context.ui.note(format_args!("volume {} is made", self.name));
        Ok(())
    }
}

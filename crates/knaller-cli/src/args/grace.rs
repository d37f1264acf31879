//! How long a command has to end.

use std::time::Duration;

use clap::Args;
use knaller::StopOptions;

/// The options of whatever stops machines in order.
#[derive(Args, Debug)]
pub(crate) struct GraceArg {
    /// Seconds a machine's command has to end [default: 10, or what its spec says]
    #[arg(
        short,
        long,
        visible_alias = "time",
        visible_short_alias = 't',
        value_name = "SECONDS"
    )]
    grace: Option<u64>,
}

impl GraceArg {
    pub(crate) fn options(&self) -> StopOptions {
        StopOptions {
            grace: self.grace.map(Duration::from_secs),
        }
    }
}

//! `knaller version`.

use clap::Args;
use serde::Serialize;

use crate::error::CommandError;
use crate::ui::{Format, Inspected, OutputArgs, Ui, table::Cell};

/// Show the version
#[derive(Args, Debug)]
pub(crate) struct VersionArgs {
    /// Write JSON, as --output json
    #[arg(long, conflicts_with = "output")]
    json: bool,

    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Serialize)]
struct Version {
    program: &'static str,
    version: &'static str,
    /// Of the dialogue between host and guest at boot: both sides must have the same.
    guest_protocol: u16,
    architecture: &'static str,
}

impl Inspected for Version {
    fn name(&self) -> &str {
        self.version
    }

    fn facts(&self) -> Vec<(&'static str, Cell)> {
        vec![
            (self.program, self.version.into()),
            ("guest protocol", self.guest_protocol.to_string().into()),
            ("architecture", self.architecture.into()),
        ]
    }
}

impl VersionArgs {
    pub(crate) fn run(self, ui: Ui) -> Result<(), CommandError> {
        let version = Version {
            program: "knaller",
            version: env!("CARGO_PKG_VERSION"),
            guest_protocol: guest_protocol::VERSION,
            architecture: std::env::consts::ARCH,
        };
        let format = if self.json {
            Format::Json
        } else {
            self.output.output
        };
        ui.inspect(&[version], format)
    }
}

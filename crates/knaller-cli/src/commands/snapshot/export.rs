//! `knaller snapshot export`.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, ValueHint};
use clap_complete::engine::ArgValueCandidates;
use images::Task;
use knaller::Name;

use crate::archive::{Output, Readers};
use crate::complete;
use crate::context::Context;
use crate::error::CommandError;

/// Write a snapshot as one file
#[derive(Args, Debug)]
#[command(after_help = "\
A tar packed with zstd, holes left out; `knaller snapshot import` reads it on another host that has the same VMM, processor and \
image. It has all that was in the machine's memory, its keys and passwords too: the file is made for you alone to read (mode 0600), \
whatever was there before. Keep it as you keep those.

Examples:
  knaller snapshot export db-ready -o db-ready.tar.zst
  knaller snapshot export db-ready | ssh other knaller snapshot import -")]
pub(crate) struct ExportArgs {
    /// The snapshot's name
    #[arg(value_name = "SNAPSHOT", add = ArgValueCandidates::new(complete::snapshots))]
    name: Name,

    /// The file, or - for standard output
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath, default_value = "-")]
    output: PathBuf,
}

impl ExportArgs {
    pub(crate) async fn run(self, context: Context) -> Result<(), CommandError> {
        let output = Output::at(self.output, Readers::Owner)?;
        let (knaller, name) = (context.knaller.clone(), self.name.clone());
        let write = move |out: &mut dyn Write, task: &Task| Ok(knaller.export_snapshot(&name, out, task)?);
        output
            .write(context.ui, self.name.as_str(), "writing the snapshot", write)
            .await
    }
}

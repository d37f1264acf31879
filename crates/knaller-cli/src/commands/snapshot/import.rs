//! `knaller snapshot import`.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use clap::{Args, ValueHint};
use images::Task;
use knaller::Name;

use super::view::SnapshotView;
use crate::archive::{CalledOff, Stdin, watched};
use crate::context::Context;
use crate::error::CommandError;
use crate::ui::ReportArgs;

/// Bring in a snapshot of another host
#[derive(Args, Debug)]
#[command(after_help = "\
A machine of a snapshot runs what somebody else has put into its memory: import only what you would run. The image of its machine \
must be here too: `knaller image pull`, or `knaller image export` there and `knaller image import` here.

Examples:
  knaller snapshot import db-ready.tar.zst
  knaller snapshot import - --name db < db-ready.tar.zst")]
pub(crate) struct ImportArgs {
    /// A file of `knaller snapshot export`, or - for standard input
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: PathBuf,

    /// What to call it, instead of what it was called
    #[arg(long, value_name = "SNAPSHOT")]
    name: Option<Name>,

    #[command(flatten)]
    report: ReportArgs,
}

impl ImportArgs {
    pub(crate) async fn run(self, context: Context) -> Result<(), CommandError> {
        let (input, leash): (Box<dyn Read + Send>, _) = if self.file.as_os_str() == "-" {
            let (stdin, leash) = Stdin::new("knaller snapshot import - < db-ready.tar.zst")?;
            (Box::new(stdin), Some(leash))
        } else {
            let what = format!("cannot open {}", self.file.display());
            let file = File::open(&self.file).map_err(|error| CommandError::host(what, &error))?;
            (Box::new(file), None)
        };
        let knaller = context.knaller.clone();
        let import = move |task: &Task| Ok(knaller.import_snapshot(input, self.name, task)?);
        let called_off = CalledOff::Ends(leash);
        let info = watched(context.ui, "unpacking the snapshot", called_off, import).await?;
        if let Some(format) = self.report.output {
            return context.ui.inspect(&[SnapshotView(info)], format);
        }
        context.ui.note(format_args!(
            "snapshot {} of {} is imported",
            info.name, info.machine
        ));
        Ok(())
    }
}

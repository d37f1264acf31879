//! `knaller snapshot import`.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::{Args, ValueHint};
use images::Task;
use knaller::Name;

use super::view::SnapshotView;
use crate::archive::{CalledOff, Stdin, watched};
use crate::context::Context;
use crate::error::CommandError;
use crate::ui::{ReportArgs, plain};

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
            (Box::new(open(&self.file)?), None)
        };
        let place = match leash {
            Some(_) => "standard input".to_owned(),
            None => self.file.display().to_string(),
        };
        let knaller = context.knaller.clone();
        let import = move |task: &Task| Ok(knaller.import_snapshot(input, self.name, task)?);
        let called_off = CalledOff::Ends(leash);
        let imported = watched(context.ui, "unpacking the snapshot", called_off, import).await;
        let imported = imported.map_err(|error| error.within(&format!("cannot import {place}")))?;
        for sentence in &imported.changed {
            context.ui.warning(plain(sentence));
        }
        let info = imported.snapshot;
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

fn open(path: &Path) -> Result<File, CommandError> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(knaller::Error::NoFile(path.to_owned()).into());
        }
        opened => {
            opened.map_err(|error| CommandError::host(format!("cannot open {}", path.display()), &error))?
        }
    };
    if path.is_dir() {
        let message = format!(
            "{} is a folder, and a snapshot is imported from a file",
            path.display()
        );
        return Err(
            CommandError::usage(message).hint("name a file that `knaller snapshot export` has written")
        );
    }
    Ok(file)
}

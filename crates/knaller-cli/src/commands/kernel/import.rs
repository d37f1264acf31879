//! `knaller kernel import`.

use std::path::{Path, PathBuf};
use std::pin::pin;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, ValueHint};
use images::Task;
use images::bundle::{Imported, Source};
use knaller::Class;
use serde::Serialize;
use tokio::sync::mpsc;

use super::with_store;
use crate::commands::each::{Done, one};
use crate::context::Context;
use crate::error::CommandError;
use crate::signals::{Signal, Signals};
use crate::ui::{ReportArgs, Steps};

/// Make a kernel ready for machines
#[derive(Args, Debug)]
#[command(after_help = "\
SOURCE is the version of an installed kernel, a Debian package of one, or a kernel image (vmlinux, bzImage, Image). \
Without it the newest installed kernel is taken, one made for virtual machines before all others.

Examples:
  knaller kernel import
  knaller kernel import linux-image-6.1.0-49-cloud-amd64_6.1.170-3_amd64.deb
  knaller kernel import vmlinux --modules /lib/modules/6.12.0 --name default")]
pub(crate) struct ImportArgs {
    /// What to import [default: the newest installed kernel]
    #[arg(value_name = "SOURCE", value_parser = NonEmptyStringValueParser::new(), value_hint = ValueHint::FilePath)]
    source: Option<String>,

    /// With a kernel image: its /lib/modules/VERSION
    #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    modules: Option<PathBuf>,

    /// With a kernel image: its build configuration
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    config: Option<PathBuf>,

    /// Where installed kernels are looked for: boot and lib/modules below
    #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath, default_value = "/")]
    root: PathBuf,

    /// Give it a name; the one named `default` is what `start` takes
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    #[command(flatten)]
    report: ReportArgs,
}

impl ImportArgs {
    pub(crate) async fn run(self, context: Context) -> Result<u8, CommandError> {
        let Imported { bundle, new } = self.import(&context).await?;
        let version = bundle.manifest().version.clone();
        let id = bundle.id().to_string();
        if let Some(name) = self.name {
            with_store(&context, move |store| store.set_name(&bundle, &name)).await?;
        }
        let outcome = if new { "is imported" } else { "was imported before" };
        let more = ImportedId { id, new };
        let done = Done::with("imported", format!("kernel {version} {outcome}"), more);
        one(&context, &version, self.report.output, done)
    }

    async fn import(&self, context: &Context) -> Result<Imported, CommandError> {
        let source = self.source()?;
        let version = match &source {
            Source::Installed { version, .. } => version.clone(),
            Source::Package(_) | Source::Image { .. } => None,
        };
        let (report, mut told) = mpsc::unbounded_channel();
        let task = Task::watched(move |progress| {
            // Nobody watches any more: the work goes on.
            let _ = report.send(progress);
        });
        let mut signals = Signals::watch(&Signal::ENDINGS)?;
        let mut steps = Steps::start(context.ui, "importing");
        let work = task.clone();
        let mut import = pin!(with_store(context, move |store| store.import(&source, &work)));
        let mut ended = None;
        let imported = loop {
            tokio::select! {
                biased;
                Some(step) = told.recv() => steps.note(step),
                imported = &mut import => break imported,
                signal = signals.next() => {
                    // It ends at its next step and takes along what it made.
                    task.cancel();
                    ended = Some(signal);
                }
            }
        };
        match (imported, ended) {
            (Ok(imported), _) => {
                steps.finish();
                Ok(imported)
            }
            (Err(_), Some(signal)) => Err(CommandError::Ended(signal)),
            // What is no file was taken for a version.
            (Err(error), None) => Err(match version {
                Some(text) if error.exit_code() == Class::NotFound.code() => {
                    error.hint(format!("there is no file {text} either"))
                }
                _ => error,
            }),
        }
    }

    fn source(&self) -> Result<Source, CommandError> {
        let image = |path: &Path| Source::Image {
            kernel: path.to_owned(),
            modules: self.modules.clone(),
            config: self.config.clone(),
        };
        let source = match &self.source {
            None => Source::Installed {
                version: None,
                root: self.root.clone(),
            },
            Some(text) => match Path::new(text) {
                path if path.extension().is_some_and(|extension| extension == "deb") => {
                    Source::Package(path.to_owned())
                }
                path if text.contains('/') || path.is_file() => image(path),
                _ => Source::Installed {
                    version: Some(text.clone()),
                    root: self.root.clone(),
                },
            },
        };
        if !matches!(source, Source::Image { .. }) && (self.modules.is_some() || self.config.is_some()) {
            return Err(CommandError::usage(
                "--modules and --config belong to a kernel image",
            ));
        }
        Ok(source)
    }
}

#[derive(Serialize)]
struct ImportedId {
    id: String,
    /// Whether it was not there before.
    new: bool,
}

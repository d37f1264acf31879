//! `knaller image export`.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, ValueHint};
use images::Task;
use images::export::{ExportError, export};
use images::oci::Reference;
use images::store::Store;
use knaller::Class;

use super::ImageArg;
use crate::archive::{Output, Readers};
use crate::context::Context;
use crate::error::CommandError;

/// Write an image as one file
#[derive(Args, Debug)]
#[command(after_help = "\
An OCI archive: skopeo, podman, buildah and umoci read it, and so does `docker load`. It has the name that the image is \
called by; called by its id, all its names.

Examples:
  knaller image export app:1 -o app.tar
  knaller image export app:1 | docker load")]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    image: ImageArg,

    /// The file, or - for standard output
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath, default_value = "-")]
    output: PathBuf,
}

impl ExportArgs {
    pub(crate) async fn run(self, context: Context) -> Result<(), CommandError> {
        let output = Output::at(self.output, Readers::AsUsual)?;
        let store = context.knaller.images()?;
        let what = self.image.image.clone();
        let write = move |out: &mut dyn Write, task: &Task| write(&store, &what, out, task);
        output
            .write(context.ui, &self.image.image, "writing the image", write)
            .await
    }
}

fn write(store: &Store, what: &str, out: &mut dyn Write, task: &Task) -> Result<(), CommandError> {
    let hold = store.adding(task).map_err(knaller::Error::from)?;
    let mut image = store.resolve(what).map_err(knaller::Error::from)?;
    let called = what.parse().ok().map(|name: Reference| name.stored());
    if let Some(name) = called.filter(|name| image.names.contains(name)) {
        image.names = vec![name];
    }
    export(&hold, &image, out, task).map_err(of_export)
}

fn of_export(error: ExportError) -> CommandError {
    match error {
        ExportError::Store(error) => knaller::Error::from(error).into(),
        ExportError::Write(error) if error.kind() == io::ErrorKind::BrokenPipe => CommandError::BrokenPipe,
        ExportError::Write(error) if error.kind() == io::ErrorKind::StorageFull => CommandError::refused(
            Class::Resources,
            "the disk is full, and nothing of the archive is kept",
        ),
        error @ (ExportError::Write(_) | ExportError::Cancelled(_)) => CommandError::of(Class::Host, &error),
    }
}

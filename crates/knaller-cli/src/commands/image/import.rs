//! `knaller image import`.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, ValueHint};
use images::import::{self, Daemon, ImportError, Source};
use images::oci::{Platform, Reference};

use super::watch::{Deed, Watch};
use super::{ImageId, own_name};
use crate::archive::Stdin;
use crate::commands::each::{Done, one};
use crate::context::Context;
use crate::error::CommandError;
use crate::signals::{Signal, Signals};
use crate::ui::ReportArgs;

/// Bring in an image from elsewhere than a registry
#[derive(Args, Debug)]
#[command(after_help = "\
SOURCE is an archive of `docker save` or an OCI archive, a tar of a root file system (packed or not), a folder (an OCI \
layout or a root file system), - for any of those archives on standard input, or docker-daemon:IMAGE or podman:IMAGE for \
what Docker or Podman have on this machine. What it is, is told by what is in it.

Examples:
  docker save app:1 | knaller image import -
  knaller image import app.oci.tar --image app:1
  knaller image import rootfs.tar.zst --name base:1
  knaller image import podman:localhost/app")]
pub(crate) struct ImportArgs {
    /// Where the image comes from
    #[arg(value_name = "SOURCE", value_parser = NonEmptyStringValueParser::new(), value_hint = ValueHint::AnyPath)]
    source: String,

    /// Of several images, the one that the source calls so
    #[arg(long, value_name = "WHICH")]
    image: Option<String>,

    /// What to call it, instead of what the source calls it
    #[arg(short = 't', long, value_name = "NAME", value_parser = own_name)]
    name: Option<Reference>,

    /// Of an image for several platforms, the one for this [default: this machine's]
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<Platform>,

    /// Show no progress; write the image's id to standard output
    #[arg(short, long, conflicts_with = "output")]
    quiet: bool,

    #[command(flatten)]
    report: ReportArgs,
}

impl ImportArgs {
    pub(crate) async fn run(self, context: Context) -> Result<u8, CommandError> {
        let (source, leash) = source(&self.source)?;
        let mut signals = Signals::watch(&Signal::ENDINGS)?;
        let options = import::Options {
            image: self.image,
            name: self.name,
            platform: self.platform.unwrap_or_else(Platform::host),
            ..import::Options::default()
        };
        let watch = Watch::new(context.ui, Deed::Import, &self.source, self.quiet);
        let import = async |observer| {
            let imported = context.knaller.import_image(source, options, observer).await;
            imported.map_err(|error| told(error, &self.source))
        };
        let imported = watch.run(&mut signals, leash, import).await?;
        for notice in &imported.notices {
            context.ui.warning(notice);
        }
        let image = imported.image;
        let id = image.digest.short();
        if self.quiet {
            context.ui.print(&image.digest.to_string())?;
            return Ok(0);
        }
        let given = imported.names.first().map(Reference::familiar);
        let name = given.or_else(|| (!image.names.is_empty()).then(|| image.display_name()));
        let sentence = match &name {
            Some(name) => format!("{name} is imported: {id}"),
            None => format!("{id} is imported and has no name: `knaller image tag {id} NAME` gives it one"),
        };
        let done = Done::with("imported", sentence, ImageId::of(&image.digest));
        one(&context, name.as_deref().unwrap_or(id), self.report.output, done)
    }
}

/// Why nothing came of it, and how to say what is meant.
fn told(error: knaller::Error, source: &str) -> CommandError {
    let unsaid = match &error {
        knaller::Error::Import(error) => {
            matches!(**error, ImportError::Several(_) | ImportError::NoSuchImage { .. })
        }
        _ => false,
    };
    let error = CommandError::from(error).within(&format!("cannot import {source}"));
    if unsaid {
        error.hint("name one with --image")
    } else {
        error
    }
}

/// What a word stands for. The handle lets go whoever waits for standard input.
fn source(text: &str) -> Result<(Source, Option<OwnedFd>), CommandError> {
    if text == "-" {
        let (input, leash) = Stdin::new("docker save app:1 | knaller image import -")?;
        return Ok((Source::Stream(Box::new(input)), Some(leash)));
    }
    let runtime = || std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let daemon = if let Some(name) = text.strip_prefix("docker-daemon:") {
        let host = std::env::var("DOCKER_HOST").ok();
        let docker = Daemon::docker(host.as_deref(), runtime()).map_err(knaller::Error::from)?;
        Some((docker, name))
    } else {
        let name = text.strip_prefix("podman:");
        name.map(|name| (Daemon::podman(runtime()), name))
    };
    match daemon {
        Some((_, "")) => Err(CommandError::usage(format!("{text} names no image"))),
        Some((daemon, name)) => Ok((Source::Daemon(daemon, name.to_owned()), None)),
        None => Ok((Source::Path(text.into()), None)),
    }
}

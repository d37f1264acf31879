//! `knaller commit`.

use std::sync::Arc;

use clap::Args;
use images::oci::Reference;
use knaller::ImageEvent;
use tokio::sync::mpsc;

use crate::args::machine::MachineArg;
use crate::commands::each::{Done, one};
use crate::commands::image::ImageId;
use crate::context::Context;
use crate::error::CommandError;
use crate::signals::{Signal, Signals};
use crate::ui::{Progress, ReportArgs};

/// Make an image of a machine
#[derive(Args, Debug)]
#[command(after_help = "\
The new image is that of the machine with one more layer: what was changed on the machine's own disk. Volumes are no part of it. \
A machine that runs stands still for the moment that it takes to copy its disk. \
`knaller image push` sends it to a registry, `knaller image export` writes it to a file.

Examples:
  knaller commit web shop/web:2")]
pub(crate) struct CommitArgs {
    #[command(flatten)]
    machine: MachineArg,

    /// What the image is to be called
    #[arg(value_name = "IMAGE")]
    image: Reference,

    #[command(flatten)]
    report: ReportArgs,
}

impl CommitArgs {
    pub(crate) async fn run(self, context: Context) -> Result<u8, CommandError> {
        let machine = context.machine(&self.machine.name).await?;
        let mut signals = Signals::watch(&Signal::ENDINGS)?;
        let progress = Progress::start(context.ui, "committing");
        let (report, mut steps) = mpsc::unbounded_channel();
        let observer = Arc::new(move |event| {
            // Nobody watches any more: the work goes on.
            let _ = report.send(event);
        });
        let mut commit = std::pin::pin!(machine.commit(&self.image, observer));
        let image = loop {
            tokio::select! {
                biased;
                Some(event) = steps.recv() => match event {
                    ImageEvent::Work(step) => progress.doing(step.step),
                    ImageEvent::Warning(warning) => progress.warning(&warning),
                    _ => {}
                },
                image = &mut commit => break image?,
                // Dropped, it leaves nothing.
                signal = signals.next() => return Err(CommandError::Ended(signal)),
            }
        };
        drop(progress);
        let name = self.image.familiar();
        let sentence = format!("{name} is image {}", image.digest.short());
        let done = Done::with("committed", sentence, ImageId::of(&image.digest));
        one(&context, &name, self.report.output, done)
    }
}

//! `knaller template make`.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use knaller::{MachineSpec, Root, StartEvent};

use super::list::TemplateView;
use crate::commands::start::{NetworkChoice, ShapeOptions, make_absolute};
use crate::context::Context;
use crate::error::CommandError;
use crate::ui::{Format, Progress};

/// Take the template of a shape ahead of its first start
#[derive(Args, Debug)]
#[command(after_help = "\
A guest of this shape is booted, kept and ended; no machine stays. Starts with these CPUs, memory, kernel, VMM and network thaw it, \
of whatever image. Machines with volumes, or with metadata, are of other shapes: their first start takes the template.")]
pub(crate) struct MakeArgs {
    #[command(flatten)]
    shape: ShapeOptions,

    /// How the machines are connected: `direct` is root's
    #[arg(long, value_name = "MODE", value_enum, default_value_t)]
    network: NetworkChoice,

    /// For machines of a raw ext4 file like this
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "initramfs")]
    rootfs: Option<PathBuf>,

    /// For machines of nothing but the guest's init
    #[arg(long)]
    initramfs: bool,

    /// Write the template to standard output as this
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    output: Option<Format>,
}

impl MakeArgs {
    pub(crate) async fn run(self, context: Context) -> Result<(), CommandError> {
        let mut spec = MachineSpec::new();
        self.shape.apply(&mut spec);
        spec.network = self.network.into();
        spec.root = match (&self.rootfs, self.initramfs) {
            (Some(file), _) => Root::File(file.clone()),
            (None, true) => Root::Initramfs,
            (None, false) => Root::Builtin,
        };
        make_absolute(&mut spec)?;
        let progress = Progress::start(context.ui, "booting a guest");
        let mut slower = Vec::new();
        let mut observer = |event| {
            if let StartEvent::Slower { message, .. } = event {
                slower.push(message);
            }
        };
        let made = context.knaller.make_template(spec, &mut observer).await;
        // The reason why there is none is said once.
        let failed = made.as_ref().err().map(ToString::to_string);
        for message in slower {
            if !failed.as_ref().is_some_and(|failed| failed.contains(&message)) {
                progress.warning(&message);
            }
        }
        drop(progress);
        let (info, fresh) = made?;
        let is = if fresh { "is taken" } else { "is there already" };
        context.ui.note(format_args!("template {} {is}", info.key));
        match self.output {
            None => Ok(()),
            Some(format) => context.ui.list(&[TemplateView(info)], format, ""),
        }
    }
}

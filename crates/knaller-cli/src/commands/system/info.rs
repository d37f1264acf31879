//! `knaller system info`.

use clap::Args;
use knaller::{About, Found, Possible};
use serde::Serialize;

use crate::context::Context;
use crate::error::CommandError;
use crate::ui::table::{Cell, Tone};
use crate::ui::{Inspected, OutputArgs, human};

/// Show what this host has for machines: versions, folders, accelerator, limits, network
#[derive(Args, Debug)]
#[command(after_help = "`knaller doctor` says whether that is enough, and what to do where it is not.")]
pub(crate) struct InfoArgs {
    #[command(flatten)]
    output: OutputArgs,
}

impl InfoArgs {
    pub(crate) async fn run(self, context: Context) -> Result<(), CommandError> {
        let about = context.knaller.about().await?;
        context.ui.inspect(&[AboutView(about)], self.output.output)
    }
}

/// Programs rely on its field names.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct AboutView(About);

impl Inspected for AboutView {
    fn name(&self) -> &str {
        &self.0.version
    }

    fn facts(&self) -> Vec<(&'static str, Cell)> {
        let Self(about) = self;
        let accelerator = match &about.emulated_because {
            None => about.accelerator.clone(),
            Some(why) => format!("{}, since {why}", about.accelerator),
        };
        let limits = match &about.cgroup {
            Some(group) => format!("below {}", group.display()),
            None => possible(&about.limits),
        };
        let direct = possible(&about.direct);
        let mut facts = vec![
            ("knaller", Cell::new(&about.version, Tone::Strong)),
            ("guest protocol", about.guest_protocol.to_string().into()),
            ("vmm", about.vmm.as_str().into()),
            ("accelerator", accelerator.into()),
        ];
        facts.extend(about.programs.iter().map(program));
        let memory = about.memory_available_mib.map_or_else(
            || "unknown".to_owned(),
            |memory| format!("{} free", human::mebibytes(memory)),
        );
        let open_files = about
            .open_files
            .map_or_else(|| "unlimited".to_owned(), |files| files.to_string());
        facts.extend([
            ("data", about.data.display().to_string().into()),
            ("runtime", about.runtime.display().to_string().into()),
            ("cpus", about.cpus.to_string().into()),
            ("memory", memory.into()),
            ("limits", limits.into()),
            ("network direct", direct.into()),
            ("open files", open_files.into()),
            ("image limits", about.image_limits.replace(',', ", ").into()),
        ]);
        facts
    }
}

fn possible(what: &Possible) -> String {
    match &what.reason {
        None => "possible".to_owned(),
        Some(why) => format!("not possible: {why}"),
    }
}

fn program(found: &Found) -> (&'static str, Cell) {
    let text = match (&found.path, &found.version) {
        (None, _) => format!("{} not found", found.name),
        (Some(path), None) => path.display().to_string(),
        (Some(path), Some(version)) => format!("{} ({version})", path.display()),
    };
    ("program", text.into())
}

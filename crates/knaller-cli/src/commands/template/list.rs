//! `knaller template list`.

use clap::Args;
use jiff::Timestamp;
use knaller::{Filter, TemplateInfo};
use serde::Serialize;

use crate::args::filter;
use crate::commands::machine::since;
use crate::context::Context;
use crate::error::CommandError;
use crate::ui::table::{Cell, Column, Tone};
use crate::ui::{Listed, OutputArgs, human};

/// How much of a key tells it from every other.
const SHORT: usize = 12;

/// List the templates, those used last first
#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    /// Those that meet this: name=PART of the key, state=fresh or state=stale, vmm=VMM
    #[arg(short, long = "filter", value_name = "FILTER", value_parser = filter::on(&["name", "state", "vmm"], &["fresh", "stale"]))]
    filters: Vec<Filter>,

    #[command(flatten)]
    output: OutputArgs,
}

impl ListArgs {
    pub(crate) async fn run(self, context: Context) -> Result<(), CommandError> {
        let templates = context.knaller.templates().await?;
        let wanted = templates
            .into_iter()
            .filter(|template| Filter::all_match(&self.filters, template));
        let views: Vec<TemplateView> = wanted.map(TemplateView).collect();
        context.ui.list(
            &views,
            self.output.output,
            &filter::nothing(
                &self.filters,
                "There is no template yet: the first `knaller start` of a shape makes one.",
            ),
        )
    }
}

/// A template as the list shows it.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(super) struct TemplateView(pub(super) TemplateInfo);

impl Listed for TemplateView {
    const COLUMNS: &'static [Column] = &[
        Column::new("KEY", 0),
        Column::new("KERNEL", 2),
        Column::new("VMM", 1),
        Column::new("CPUS", 0),
        Column::new("MEMORY", 0),
        Column::new("DISKS", 1),
        Column::new("TAKEN", 0),
        Column::new("USED", 0),
    ];

    fn name(&self) -> &str {
        &self.0.key
    }

    fn cells(&self) -> Vec<Cell> {
        let Self(info) = self;
        let used = i64::try_from(info.used)
            .ok()
            .and_then(|seconds| Timestamp::from_second(seconds).ok());
        let used = match used {
            Some(used) if !info.stale => format!("{} ago", human::age(since(used))),
            _ => "before this boot of the host".to_owned(),
        };
        vec![
            Cell::new(info.key.get(..SHORT).unwrap_or(&info.key), Tone::Strong),
            info.kernel.as_str().into(),
            info.vmm.as_str().into(),
            info.cpus.to_string().into(),
            human::bytes(u64::from(info.memory_mib) << 20).into(),
            info.drives.to_string().into(),
            human::bytes(info.size).into(),
            used.into(),
        ]
    }
}

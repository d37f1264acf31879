//! `knaller volume list`.

use std::path::PathBuf;

use clap::Args;
use knaller::{Filter, VolumeInfo};
use serde::Serialize;

use crate::args::filter;
use crate::context::Context;
use crate::error::CommandError;
use crate::ui::table::{Cell, Column, Tone};
use crate::ui::{Listed, OutputArgs, human};

/// List the volumes
#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    /// Those that meet this: name=PART, state=used or state=unused
    #[arg(short, long = "filter", value_name = "FILTER", value_parser = filter::on(&["name", "state"], filter::USES))]
    filters: Vec<Filter>,

    #[command(flatten)]
    output: OutputArgs,
}

impl ListArgs {
    pub(crate) async fn run(self, context: Context) -> Result<(), CommandError> {
        let volumes = context.knaller.volumes().await?;
        let wanted = volumes
            .into_iter()
            .filter(|volume| Filter::all_match(&self.filters, volume));
        let views: Vec<VolumeView> = wanted.map(VolumeView::from).collect();
        context.ui.list(
            &views,
            self.output.output,
            &filter::nothing(&self.filters, "There is no volume yet: `knaller volume create` makes one, and so does `knaller start --volume`."),
        )
    }
}

/// A volume as the list shows it. Programs rely on its field names.
#[derive(Debug, Serialize)]
struct VolumeView {
    name: String,
    /// What it has room for, bytes.
    size: u64,
    /// What it takes of the host's disk, bytes.
    taken: u64,
    users: Vec<String>,
    path: PathBuf,
}

impl From<VolumeInfo> for VolumeView {
    fn from(info: VolumeInfo) -> Self {
        Self {
            name: info.name.to_string(),
            size: info.size,
            taken: info.taken,
            users: info.users,
            path: info.path,
        }
    }
}

impl Listed for VolumeView {
    const COLUMNS: &'static [Column] = &[
        Column::new("NAME", 0),
        Column::new("SIZE", 1),
        Column::new("TAKEN", 0),
        Column::new("USED BY", 0),
    ];

    fn name(&self) -> &str {
        &self.name
    }

    fn cells(&self) -> Vec<Cell> {
        vec![
            Cell::new(&self.name, Tone::Strong),
            human::bytes(self.size).into(),
            human::bytes(self.taken).into(),
            self.users.join(", ").into(),
        ]
    }
}

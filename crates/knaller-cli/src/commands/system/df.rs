//! `knaller system df`.

use clap::Args;
use knaller::{Disk, DiskUsage};
use serde::Serialize;

use crate::context::Context;
use crate::error::CommandError;
use crate::ui::table::{Cell, Column, Tone};
use crate::ui::{Listed, OutputArgs, human};

/// Show what takes how much of the disk
#[derive(Args, Debug)]
#[command(after_help = "\
SIZE is what is on the disk: sparse files by what is in them, files with several names once. SHARED is what several images have \
in common. RECLAIMABLE is what `knaller system prune` frees, with --all what it frees with that, and for volumes what it frees with \
--volumes. IN USE are machines that run, images, kernels and volumes of machines, snapshots that others build on, and templates that \
still serve. All of the data folder is in one of the lines. A file system with reflinks may share more than this shows.")]
pub(crate) struct DfArgs {
    /// Count what `system prune --all` frees
    #[arg(short, long)]
    all: bool,

    #[command(flatten)]
    output: OutputArgs,
}

impl DfArgs {
    pub(crate) async fn run(self, context: Context) -> Result<(), CommandError> {
        let usage = context.knaller.disk_usage(self.all).await?;
        context.ui.list(&views(usage), self.output.output, "")
    }
}

fn views(usage: DiskUsage) -> Vec<DiskView> {
    let kinds = [
        ("machines", usage.machines),
        ("images", usage.images),
        ("kernels", usage.kernels),
        ("templates", usage.templates),
        ("snapshots", usage.snapshots),
        ("volumes", usage.volumes),
    ];
    kinds
        .into_iter()
        .map(|(kind, disk)| DiskView { kind, disk })
        .collect()
}

/// Programs rely on its field names.
#[derive(Debug, Serialize)]
struct DiskView {
    kind: &'static str,
    #[serde(flatten)]
    disk: Disk,
}

impl Listed for DiskView {
    const COLUMNS: &'static [Column] = &[
        Column::new("KIND", 0),
        Column::new("COUNT", 1),
        Column::new("IN USE", 2),
        Column::new("SIZE", 0),
        Column::new("SHARED", 1),
        Column::new("RECLAIMABLE", 0),
    ];

    fn name(&self) -> &str {
        self.kind
    }

    fn cells(&self) -> Vec<Cell> {
        let disk = &self.disk;
        vec![
            Cell::new(self.kind, Tone::Strong),
            disk.count.to_string().into(),
            disk.used.to_string().into(),
            human::bytes(disk.size).into(),
            human::bytes(disk.shared).into(),
            human::bytes(disk.reclaimable).into(),
        ]
    }
}

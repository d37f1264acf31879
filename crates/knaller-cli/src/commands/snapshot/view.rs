//! A snapshot as the commands show it.

use jiff::Timestamp;
use knaller::{Name, SnapshotInfo};
use serde::Serialize;

use crate::commands::machine::since;
use crate::ui::table::{Cell, Column, Tone};
use crate::ui::{Inspected, Listed, human};

/// Programs rely on its field names.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(super) struct SnapshotView(pub(super) SnapshotInfo);

impl SnapshotView {
    fn created(&self) -> Option<Timestamp> {
        let seconds = i64::try_from(self.0.created).ok()?;
        Timestamp::from_second(seconds).ok()
    }
}

impl Listed for SnapshotView {
    const COLUMNS: &'static [Column] = &[
        Column::new("NAME", 0),
        Column::new("MACHINE", 0),
        Column::new("CPUS", 1),
        Column::new("MEMORY", 1),
        Column::new("VMM", 2),
        Column::new("PARENT", 0),
        Column::new("TAKEN", 0),
        Column::new("AGE", 0),
    ];

    fn name(&self) -> &str {
        self.0.name.as_str()
    }

    fn cells(&self) -> Vec<Cell> {
        let info = &self.0;
        let age = self.created().map(|created| human::age(since(created)));
        vec![
            Cell::new(info.name.as_str(), Tone::Strong),
            info.machine.as_str().into(),
            info.cpus.to_string().into(),
            human::bytes(u64::from(info.memory_mib) << 20).into(),
            info.vmm.as_str().into(),
            info.parent.as_ref().map_or("", Name::as_str).into(),
            human::bytes(info.size).into(),
            age.unwrap_or_default().into(),
        ]
    }
}

impl Inspected for SnapshotView {
    fn name(&self) -> &str {
        self.0.name.as_str()
    }

    fn facts(&self) -> Vec<(&'static str, Cell)> {
        let info = &self.0;
        let created = self.created().map(human::moment).unwrap_or_default();
        let labels = info.labels.iter().map(|(name, value)| format!("{name}={value}"));
        let labels = labels.collect::<Vec<_>>().join(", ");
        let randomness = match info.generation_id {
            true => "the kernel's is new at once, by the VM Generation ID",
            false => "the kernel's is seeded anew before any program goes on",
        };
        vec![
            ("name", Cell::new(info.name.as_str(), Tone::Strong)),
            ("machine", info.machine.as_str().into()),
            ("made", created.into()),
            ("cpus", info.cpus.to_string().into()),
            ("memory", human::bytes(u64::from(info.memory_mib) << 20).into()),
            ("vmm", format!("{} {}", info.vmm, info.vmm_version).into()),
            ("kernel", info.kernel.as_str().into()),
            ("image", info.image.as_deref().unwrap_or("none").into()),
            ("paused", format!("{} ms", info.paused_ms).into()),
            ("labels", labels.into()),
            ("randomness", randomness.into()),
            (
                "builds on",
                info.parent.as_ref().map_or("none", Name::as_str).into(),
            ),
            ("taken", human::bytes(info.size).into()),
            ("cached", human::bytes(info.cached).into()),
        ]
    }
}

//! A kernel as every list and inspection shows it.

use std::time::Duration;

use images::bundle::{Bundle, Features};
use jiff::Timestamp;
use knaller::{Filtered, MachineInfo};
use serde::Serialize;

use crate::ui::human;
use crate::ui::table::{Cell, Column, Tone};
use crate::ui::{Inspected, Listed};

/// Digits of an id that a person sees: enough to tell kernels apart.
const SHOWN: usize = 12;

/// The one view of a kernel. Programs rely on its field names.
#[derive(Debug, Serialize)]
pub(crate) struct KernelView {
    id: String,
    version: String,
    /// Whether `start` takes it where none is asked for.
    default: bool,
    names: Vec<String>,
    architecture: String,
    /// Of kernel and modules, bytes.
    size: u64,
    modules: Vec<String>,
    /// The machines that boot it at their next start.
    used_by: Vec<String>,
    features: Features,
    source: String,
    imported: Timestamp,
}

impl KernelView {
    /// `names` are the store's pairs of name and id, `default` the id that `start` takes.
    pub(super) fn new(
        bundle: &Bundle,
        names: &[(String, String)],
        default: Option<&str>,
        machines: &[MachineInfo],
    ) -> Self {
        let manifest = bundle.manifest();
        let own = names.iter().filter(|(_, id)| id == bundle.id());
        Self {
            id: manifest.id.clone(),
            version: manifest.version.clone(),
            default: default == Some(bundle.id()),
            names: own.map(|(name, _)| name.clone()).collect(),
            architecture: manifest.arch.to_string(),
            size: manifest.vmlinux.size.saturating_add(manifest.modules_cpio.size),
            modules: manifest.modules.clone(),
            used_by: machines
                .iter()
                .filter(|machine| machine.kernel == manifest.id)
                .map(|machine| machine.name.to_string())
                .collect(),
            features: manifest.features.clone(),
            source: manifest.source.clone(),
            imported: manifest.imported,
        }
    }

    fn short_id(&self) -> &str {
        self.id.get(..SHOWN).unwrap_or(&self.id)
    }

    fn mark(&self) -> Cell {
        if self.default {
            Cell::new("yes", Tone::Good)
        } else {
            "".into()
        }
    }

    fn age(&self) -> Cell {
        let age = Duration::try_from(Timestamp::now().duration_since(self.imported)).unwrap_or_default();
        human::age(age).into()
    }
}

impl Filtered for KernelView {
    /// By its names, its version, or how its id begins.
    fn is_called(&self, part: &str) -> bool {
        self.version.contains(part)
            || self.id.starts_with(part)
            || self.names.iter().any(|name| name.contains(part))
    }

    fn state(&self) -> Option<&str> {
        Some(if self.used_by.is_empty() { "unused" } else { "used" })
    }
}

impl Listed for KernelView {
    const COLUMNS: &'static [Column] = &[
        Column::new("ID", 0),
        Column::new("VERSION", 0),
        Column::new("DEFAULT", 1),
        Column::new("NAMES", 2),
        Column::new("SIZE", 4),
        Column::new("AGE", 3),
        Column::wrapping("USED BY", 5),
    ];

    fn name(&self) -> &str {
        &self.id
    }

    fn cells(&self) -> Vec<Cell> {
        vec![
            self.short_id().into(),
            Cell::new(&self.version, Tone::Strong),
            self.mark(),
            self.names.join(", ").into(),
            human::bytes(self.size).into(),
            self.age(),
            self.used_by.join(", ").into(),
        ]
    }
}

impl Inspected for KernelView {
    fn name(&self) -> &str {
        &self.id
    }

    fn facts(&self) -> Vec<(&'static str, Cell)> {
        let mut facts = vec![
            ("id", self.id.as_str().into()),
            ("version", Cell::new(&self.version, Tone::Strong)),
            ("default", self.mark()),
            ("names", self.names.join(", ").into()),
            ("architecture", self.architecture.as_str().into()),
            ("size", human::bytes(self.size).into()),
            ("modules", self.modules.join(", ").into()),
            ("file systems", self.features.filesystems.join(", ").into()),
            ("used by", self.used_by.join(", ").into()),
            ("source", self.source.as_str().into()),
            ("imported", human::moment(self.imported).into()),
        ];
        facts.retain(|(_, cell)| !cell.is_empty());
        facts
    }
}

//! What a list shows of a machine or snapshot whose description cannot be read.

use knaller::Damaged;
use serde::Serialize;

use crate::ui::table::{Cell, Column, Tone};
use crate::ui::{Format, Listed, Ui};

/// One of a list: whole, or damaged.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Row<T> {
    Whole(Box<T>),
    Damaged(DamagedView),
}

/// Programs rely on its field names.
#[derive(Debug, Serialize)]
pub(super) struct DamagedView {
    name: String,
    state: &'static str,
    /// What is wrong with it.
    reason: String,
    /// Whether a machine's processes live nevertheless.
    running: bool,
}

impl<T> Row<T> {
    pub(super) fn whole(view: T) -> Self {
        Self::Whole(Box::new(view))
    }

    pub(super) fn damaged(damaged: Damaged) -> Self {
        Self::Damaged(DamagedView {
            name: damaged.name.to_string(),
            state: "damaged",
            reason: damaged.reason,
            running: damaged.running,
        })
    }
}

impl<T: Listed> Listed for Row<T> {
    const COLUMNS: &'static [Column] = T::COLUMNS;

    fn name(&self) -> &str {
        match self {
            Self::Whole(view) => view.name(),
            Self::Damaged(view) => &view.name,
        }
    }

    fn cells(&self) -> Vec<Cell> {
        match self {
            Self::Whole(view) => view.cells(),
            Self::Damaged(view) => {
                let told = [
                    Cell::new(&view.name, Tone::Strong),
                    Cell::new(view.state, Tone::Warning),
                ];
                let rest = std::iter::repeat_with(|| "".into());
                told.into_iter().chain(rest).take(T::COLUMNS.len()).collect()
            }
        }
    }
}

/// Says to a person what is wrong with those of a table, and what removes one.
pub(super) fn explain<T>(ui: Ui, rows: &[Row<T>], format: Format, remove: &str) {
    for row in rows {
        if let (Row::Damaged(view), Format::Table) = (row, format) {
            let DamagedView { name, reason, .. } = view;
            ui.warning(format_args!("{name}: {reason}: `{remove} {name}` removes it"));
        }
    }
}

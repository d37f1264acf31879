//! One value, four ways to write it.
//!
//! Each list or inspection has one serialisable view type; every format is made from it, so none can say what the
//! others do not.

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::Ui;
use super::table::{self, Cell, Column};
use crate::error::CommandError;

/// How results are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    #[default]
    Table,
    /// For programs
    Json,
    /// For programs and people
    Yaml,
    /// Names only, one a line
    Name,
}

#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct OutputArgs {
    /// How to write the result
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t)]
    pub(crate) output: Format,
}

/// For commands that tell people what they did, and programs if they are asked to.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct ReportArgs {
    /// Write what was done to standard output as this, instead of telling it on standard error
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    pub(crate) output: Option<Format>,
}

/// Something that can be listed.
pub(crate) trait Listed: Serialize {
    const COLUMNS: &'static [Column];

    /// What `-o name` writes, and what other commands take.
    fn name(&self) -> &str;

    /// One cell for each of [`Self::COLUMNS`].
    fn cells(&self) -> Vec<Cell>;
}

/// Something that can be inspected.
pub(crate) trait Inspected: Serialize {
    fn name(&self) -> &str;

    /// What is worth a line, in order.
    fn facts(&self) -> Vec<(&'static str, Cell)>;
}

impl Ui {
    /// Writes a list. `nothing` is what a person reads in place of an empty table.
    pub(crate) fn list<T: Listed>(
        self,
        items: &[T],
        format: Format,
        nothing: &str,
    ) -> Result<(), CommandError> {
        match format {
            Format::Table if items.is_empty() => self.note(nothing),
            Format::Name if items.is_empty() => {}
            format => self.print(&list(items, format, self.width())?)?,
        }
        Ok(())
    }

    /// Writes a list that is written again and again: at a terminal in the place of the one before, of which it is told the
    /// lines; elsewhere below it. How many lines it has.
    pub(crate) fn list_again<T: Listed>(
        self,
        items: &[T],
        format: Format,
        lines_before: usize,
    ) -> Result<usize, CommandError> {
        let mut text = list(items, format, self.width())?;
        if let (Some(_), Some((_, rows))) = (self.width(), self.room()) {
            // What is above the window cannot be drawn over.
            let seen = usize::from(rows).saturating_sub(1).max(2);
            text = text.lines().take(seen).collect::<Vec<_>>().join("\n");
        }
        let lines = text.lines().count();
        if self.width().is_some() && self.live() && lines_before > 0 {
            // Up to the first of them, and nothing below it.
            self.write(format!("\x1b[{lines_before}F\x1b[J").as_bytes())?;
        }
        self.print(&text)?;
        Ok(lines)
    }

    /// Writes what was asked about one or more things: a single one stands for itself, several are a list.
    pub(crate) fn inspect<T: Inspected>(self, items: &[T], format: Format) -> Result<(), CommandError> {
        Ok(self.print(&inspection(items, format, self.width())?)?)
    }
}

/// The text of a list.
pub(crate) fn list<T: Listed>(
    items: &[T],
    format: Format,
    width: Option<u16>,
) -> Result<String, CommandError> {
    match format {
        Format::Table => Ok(table::render(
            T::COLUMNS,
            items.iter().map(Listed::cells).collect(),
            width,
        )),
        Format::Name => Ok(items.iter().map(Listed::name).collect::<Vec<_>>().join("\n")),
        Format::Json => json(&items),
        Format::Yaml => yaml(&items),
    }
}

/// The text of an inspection.
pub(crate) fn inspection<T: Inspected>(
    items: &[T],
    format: Format,
    width: Option<u16>,
) -> Result<String, CommandError> {
    let each = |text: &dyn Fn(&T) -> String| items.iter().map(text).collect::<Vec<_>>();
    match (format, items) {
        (Format::Table, _) => Ok(each(&|item| table::facts(item.facts(), width)).join("\n\n")),
        (Format::Name, _) => Ok(each(&|item| item.name().to_owned()).join("\n")),
        (Format::Json, [item]) => json(item),
        (Format::Json, items) => json(&items),
        (Format::Yaml, [item]) => yaml(item),
        (Format::Yaml, items) => yaml(&items),
    }
}

fn json<T: Serialize>(value: &T) -> Result<String, CommandError> {
    serde_json::to_string_pretty(value).map_err(|error| CommandError::host("cannot write JSON", &error))
}

fn yaml<T: Serialize>(value: &T) -> Result<String, CommandError> {
    let yaml =
        serde_saphyr::to_string(value).map_err(|error| CommandError::host("cannot write YAML", &error))?;
    Ok(yaml.trim_end().to_owned())
}

//! `knaller manual FOLDER`: the manual pages, made from the same definitions as the help. For those who package us.

use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, ValueHint};
use clap_mangen::Man;

use crate::error::CommandError;
use crate::ui::Ui;

/// Write the manual pages into a folder.
#[derive(Args, Debug)]
pub(crate) struct ManualArgs {
    #[arg(value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    folder: PathBuf,
}

impl ManualArgs {
    pub(crate) fn run(self, ui: Ui) -> Result<(), CommandError> {
        let mut command = crate::command();
        command.build();
        let written = std::fs::create_dir_all(&self.folder).and_then(|()| write(&command, &self.folder));
        written.map_err(|error| {
            CommandError::host(format!("cannot write to {}", self.folder.display()), &error)
        })?;
        ui.note(format_args!("The manual pages are in {}.", self.folder.display()));
        Ok(())
    }
}

/// The page of `command` and those of all below it.
fn write(command: &clap::Command, folder: &Path) -> io::Result<()> {
    let version = concat!("knaller ", env!("CARGO_PKG_VERSION"));
    Man::new(command.clone())
        .source(version)
        .manual("knaller")
        .generate_to(folder)?;
    command
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
        .try_for_each(|command| write(command, folder))
}

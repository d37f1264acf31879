//! `knaller completion`: what a shell needs to complete our words, machine and kernel names included.
//!
//! The script asks this very program while the user types, so it never grows old. The dialogue between the two is
//! private to a version: scripts belong into the shell's start-up file as a call, not as a copy.

use clap::{Args, ValueEnum};
use clap_complete::env::{Bash, Elvish, EnvCompleter, Fish, Zsh};

use crate::complete;
use crate::error::CommandError;
use crate::ui::Ui;

/// Write a shell's completion script
#[derive(Args, Debug)]
#[command(after_help = "\
Put the line of your shell into its start-up file:

  bash    source <(knaller completion bash)
  zsh     source <(knaller completion zsh)
  fish    knaller completion fish | source
  elvish  eval (knaller completion elvish | slurp)")]
pub(crate) struct CompletionArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
    Elvish,
}

impl CompletionArgs {
    pub(crate) fn run(self, ui: Ui) -> Result<(), CommandError> {
        let shell: &dyn EnvCompleter = match self.shell {
            Shell::Bash => &Bash,
            Shell::Zsh => &Zsh,
            Shell::Fish => &Fish,
            Shell::Elvish => &Elvish,
        };
        let mut script = Vec::new();
        shell.write_registration(complete::VARIABLE, "knaller", "knaller", "knaller", &mut script)?;
        Ok(ui.write(&script)?)
    }
}

//! `knaller help`: of a command, or of a topic.

use clap::Args;
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};

use crate::error::CommandError;
use crate::help::{Topic, exit_codes_document};
use crate::ui::Ui;

/// Help on a command or a topic: exit-codes, environment.
#[derive(Args, Debug)]
pub(crate) struct HelpArgs {
    /// A command or a topic
    #[arg(value_name = "COMMAND|TOPIC", add = ArgValueCandidates::new(subjects))]
    subject: Vec<String>,

    /// The topic exit-codes as docs/exit-codes.md
    #[arg(long, hide = true)]
    markdown: bool,
}

impl HelpArgs {
    pub(crate) fn run(self, ui: Ui) -> Result<(), CommandError> {
        if let [subject] = self.subject.as_slice()
            && let Some(topic) = Topic::ALL.into_iter().find(|topic| topic.name() == subject)
        {
            let text = if self.markdown {
                exit_codes_document()
            } else {
                topic.text()
            };
            return Ok(ui.print(&text)?);
        }
        let mut command = crate::command();
        command.build();
        let mut found = &mut command;
        for word in &self.subject {
            found = found.find_subcommand_mut(word).ok_or_else(|| {
                CommandError::usage(format!(
                    "there is no command and no topic {}",
                    self.subject.join(" ")
                ))
                .hint("`knaller help` shows all")
            })?;
        }
        Ok(ui.print(found.render_help().ansi().to_string().trim_end())?)
    }
}

fn subjects() -> Vec<CompletionCandidate> {
    let command = crate::command();
    let commands = command.get_subcommands().filter(|command| !command.is_hide_set());
    let topics = Topic::ALL
        .iter()
        .map(|topic| CompletionCandidate::new(topic.name()));
    commands
        .map(|command| CompletionCandidate::new(command.get_name()))
        .chain(topics)
        .collect()
}

//! Which options were on the command line, told from those that have what they have anyway. The invariant: a value that
//! somebody gave is never passed over because it is the default.

use std::collections::BTreeSet;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, Error, FromArgMatches};

/// The ids of what was given. It has to be the first field of its command: those before it have taken their values away.
#[derive(Clone, Debug, Default)]
pub(crate) struct Given(BTreeSet<String>);

impl Given {
    /// What of a command was given beside some of its arguments, as the user writes it.
    pub(crate) fn but<T: Args>(&self, known: &[&str]) -> Vec<String> {
        let command = T::augment_args(Command::new("options"));
        let given = command.get_arguments().filter(|argument| {
            let id = argument.get_id().as_str();
            self.0.contains(id) && !known.contains(&id)
        });
        given
            .map(|argument| match argument.get_long() {
                Some(long) => format!("--{long}"),
                None => argument.get_id().to_string(),
            })
            .collect()
    }
}

impl FromArgMatches for Given {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut given = Self::default();
        given.update_from_arg_matches(matches)?;
        Ok(given)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        let ids = matches.ids().map(clap::Id::as_str);
        self.0 = ids
            .filter(|id| matches.value_source(id) == Some(ValueSource::CommandLine))
            .map(str::to_owned)
            .collect();
        Ok(())
    }
}

impl Args for Given {
    fn augment_args(command: Command) -> Command {
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        command
    }
}

//! Which machine, or machines, a command is about.

use clap::Args;
use clap_complete::engine::ArgValueCandidates;
use knaller::{Filter, MachineInfo, Name, State};

use super::filter;
use crate::complete;
use crate::context::Context;
use crate::error::CommandError;

/// One machine.
#[derive(Args, Clone, Debug)]
pub(crate) struct MachineArg {
    /// The machine's name
    #[arg(value_name = "NAME", add = ArgValueCandidates::new(complete::machines))]
    pub(crate) name: Name,
}

/// One machine or several, or all.
#[derive(Args, Clone, Debug)]
pub(crate) struct MachineArgs {
    /// The machines' names
    #[arg(
        value_name = "NAME",
        required_unless_present_any = ["named", "all", "filters"],
        add = ArgValueCandidates::new(complete::machines)
    )]
    names: Vec<Name>,

    /// A machine's name: the first knaller's spelling
    #[arg(long = "name", value_name = "NAME", hide = true)]
    named: Vec<Name>,

    /// All machines there are
    #[arg(short, long, conflicts_with_all = ["names", "named"])]
    all: bool,

    #[arg(long = "filter", value_name = "FILTER", help = filter::MACHINES, value_parser = filter::on_machines(), conflicts_with_all = ["names", "named", "all"])]
    filters: Vec<Filter>,
}

impl MachineArgs {
    /// The names asked for; with `--all`, of all machines.
    pub(crate) async fn existing(self, context: &Context) -> Result<Vec<Name>, CommandError> {
        self.resolve(context, |_| true).await
    }

    /// As [`Self::existing`], with those whose records cannot be read.
    pub(crate) async fn even_damaged(self, context: &Context) -> Result<Vec<Name>, CommandError> {
        let mut names = self.clone().existing(context).await?;
        if self.is_of_many() {
            let damaged = context.knaller.damaged().await?.into_iter();
            let meant = damaged.filter(|machine| Filter::all_match(&self.filters, machine));
            names.extend(meant.map(|machine| machine.name));
            names.sort();
        }
        Ok(names)
    }

    /// The names asked for; with `--all`, of all machines that do not lie stopped.
    pub(crate) async fn running(self, context: &Context) -> Result<Vec<Name>, CommandError> {
        self.which(context, |state| state != State::Stopped).await
    }

    /// The names asked for; with `--all` or `--filter`, of those machines whose state is one of these.
    pub(crate) async fn which(
        self,
        context: &Context,
        wanted: impl Fn(State) -> bool,
    ) -> Result<Vec<Name>, CommandError> {
        self.resolve(context, |machine| wanted(machine.state)).await
    }

    /// Whether it is said which, instead of their names.
    fn is_of_many(&self) -> bool {
        self.all || !self.filters.is_empty()
    }

    async fn resolve(
        self,
        context: &Context,
        wanted: impl Fn(&MachineInfo) -> bool,
    ) -> Result<Vec<Name>, CommandError> {
        if self.is_of_many() {
            let machines = context.knaller.list().await?;
            return Ok(machines
                .into_iter()
                .filter(|machine| wanted(machine) && Filter::all_match(&self.filters, machine))
                .map(|machine| machine.name)
                .collect());
        }
        let mut names = self.names;
        names.extend(self.named);
        names.sort();
        names.dedup();
        Ok(names)
    }
}

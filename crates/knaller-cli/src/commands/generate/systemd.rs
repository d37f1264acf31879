//! `knaller generate systemd`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use clap_complete::engine::ArgValueCandidates;
use knaller::{Class, Name};

use super::unit::{Subject, Unit};
use crate::complete;
use crate::context::Context;
use crate::error::CommandError;

/// What of this environment decides where machines are and what runs them, beside the folders. Nothing that is about registries:
/// no image is fetched for a machine that there is, and what is in those may be secret.
const VARIABLES: [&str; 13] = [
    "PATH",
    "FIRECRACKER",
    "SPARKLER",
    "QEMU",
    "PASTA",
    "KNALLER_NETNS",
    "KNALLER_POWERUNIT",
    "KNALLER_CGROUP",
    "KNALLER_IMAGE_LIMITS",
    "KNALLER_POOL",
    "KNALLER_USERS",
    "KNALLER_LOG",
    "XDG_CONFIG_HOME",
];

/// Write a systemd user unit that keeps a machine, or with no name one that runs `knaller supervise`
#[derive(Args, Debug)]
#[command(after_help = "\
The unit of a machine starts it when the user's services start, stops it in order, and restarts it as its --restart policy says; \
one that runs already it takes over as it is. What this environment says of folders, programs and limits (KNALLER_*, FIRECRACKER and \
the like, PATH) goes into the unit. \
The unit without a name keeps all machines that have a policy. Use one or the other for a machine. The first lines say how the unit is \
installed.

Example:
  knaller generate systemd web > ~/.config/systemd/user/knaller-web.service")]
pub(crate) struct SystemdArgs {
    /// The machine's name
    #[arg(value_name = "NAME", add = ArgValueCandidates::new(complete::machines))]
    name: Option<Name>,
}

impl SystemdArgs {
    pub(crate) async fn run(self, context: Context) -> Result<(), CommandError> {
        let subject = match &self.name {
            None => Subject::Supervisor,
            Some(name) => {
                let info = context.machine(name).await?.info().await?;
                if info.spec.remove_on_exit {
                    let message =
                        format!("{name} goes when it stops (--rm): there is nothing to start again");
                    return Err(CommandError::refused(Class::Conflict, message));
                }
                Subject::Machine {
                    name: name.clone(),
                    restart: info.spec.restart,
                    grace_ms: info.spec.stop_grace_ms,
                }
            }
        };
        let unit = Unit {
            subject,
            program: own_program()?,
            environment: environment(&context),
        };
        Ok(context.ui.print(unit.to_string().trim_end())?)
    }
}

fn own_program() -> Result<PathBuf, CommandError> {
    std::env::current_exe().map_err(|error| CommandError::host("cannot find this program's file", &error))
}

fn environment(context: &Context) -> Vec<(&'static str, OsString)> {
    let paths = &context.knaller.options().paths;
    let mut variables = vec![
        ("KNALLER_DATA", paths.data.clone().into_os_string()),
        ("KNALLER_RUNTIME", paths.runtime.clone().into_os_string()),
    ];
    let set = VARIABLES.map(|name| Some((name, std::env::var_os(name)?)));
    variables.extend(set.into_iter().flatten().filter(|(_, value)| !value.is_empty()));
    variables
}

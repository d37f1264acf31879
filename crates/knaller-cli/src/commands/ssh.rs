//! `knaller ssh`: the system's ssh where there is one, so that its escapes, forwards and agent work; else our own.

use std::io::ErrorKind;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use clap::Args;
use clap_complete::engine::ArgValueCandidates;
use knaller::{ExecRequest, Name, State};

use super::{exec, proxy};
use crate::complete;
use crate::context::Context;
use crate::error::CommandError;
use crate::session::{Attach, attach};
use crate::terminal;

/// Log in to a machine
#[derive(Args, Debug)]
#[command(after_help = "\
What follows NAME goes to ssh as it is: options such as -L 8080:localhost:80 or -A, then a command.")]
pub(crate) struct SshArgs {
    /// The machine's name, or USER@NAME
    #[arg(value_name = "[USER@]NAME", value_parser = target, add = ArgValueCandidates::new(complete::machines))]
    target: Target,

    /// Options and a command for ssh
    #[arg(value_name = "SSH", trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,

    /// Use the built-in client, which takes a command but no options
    #[arg(long)]
    builtin: bool,
}

/// Who logs in where.
#[derive(Clone, Debug)]
struct Target {
    user: String,
    name: Name,
}

fn target(text: &str) -> Result<Target, knaller::InvalidName> {
    let (user, name) = text.rsplit_once('@').unwrap_or(("root", text));
    Ok(Target {
        user: user.to_owned(),
        name: name.parse()?,
    })
}

impl SshArgs {
    pub(crate) async fn run(self, context: Context) -> Result<u8, CommandError> {
        let machine = context.machine(&self.target.name).await?;
        if machine.info().await?.state == State::Stopped {
            return Err(knaller::Error::NotRunning(self.target.name).into());
        }
        if !self.builtin {
            let proxy = proxy::command_line(context.knaller.options(), self.target.name.as_str())?;
            let error = self.stock(&machine.ssh_config(&proxy).await?).exec();
            if error.kind() != ErrorKind::NotFound {
                return Err(CommandError::host("cannot run ssh", &error));
            }
        }
        let tty = self.words.is_empty() || terminal::is_interactive();
        let request = match self.words.as_slice() {
            [] => ExecRequest::shell(),
            words => ExecRequest::line(words.join(" ")),
        };
        let mut request = request.user(&self.target.user);
        if tty {
            request = request.pty(exec::pty());
        }
        let session = machine.exec(request).await?;
        attach(context.ui, session, Attach { stdin: true, tty }).await
    }

    /// ssh with the options of a stanza on its command line, where they win over the user's own files.
    fn stock(&self, stanza: &str) -> Command {
        let mut ssh = Command::new("ssh");
        ssh.arg("-l").arg(&self.target.user);
        for option in stanza.lines().map(str::trim) {
            let keyword = option.split_whitespace().next().unwrap_or_default();
            if !keyword.is_empty() && !keyword.starts_with('#') && !keyword.eq_ignore_ascii_case("Host") {
                ssh.arg("-o").arg(option);
            }
        }
        // Its own options may follow the host's name, a command follows those.
        ssh.arg(self.target.name.as_str()).args(&self.words);
        ssh
    }
}

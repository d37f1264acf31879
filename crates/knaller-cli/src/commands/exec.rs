//! `knaller exec`.

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use knaller::{ExecRequest, Pty};

use crate::args::environment::EnvironmentArgs;
use crate::args::machine::MachineArg;
use crate::context::Context;
use crate::error::CommandError;
use crate::session::{Attach, attach};
use crate::terminal;

/// Run a command in a machine
#[derive(Args, Debug)]
#[command(after_help = "\
The command's exit code is passed on, and signals are. It gets a terminal if all three standard streams are one; -t \
and -T decide otherwise.

Examples:
  knaller exec web uname -a
  knaller exec web sh -c 'cat > /srv/www/index.html' < index.html")]
pub(crate) struct ExecArgs {
    #[command(flatten)]
    machine: MachineArg,

    /// The command, as it is: no shell of yours or the guest's takes it apart
    #[arg(
        value_name = "CMD",
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    command: Vec<String>,

    /// Give the command a terminal
    #[arg(short, long, overrides_with = "no_tty")]
    tty: bool,

    /// Give the command no terminal
    #[arg(short = 'T', long, overrides_with = "tty")]
    no_tty: bool,

    /// Pass standard input on; it always is
    #[arg(short, long, hide = true)]
    interactive: bool,

    /// Leave standard input alone
    #[arg(short, long, conflicts_with = "interactive")]
    no_stdin: bool,

    /// Who runs it: an account of the guest that may log in, by its name or uid
    #[arg(
        short,
        long,
        value_name = "USER",
        default_value = "root",
        value_parser = NonEmptyStringValueParser::new()
    )]
    user: String,

    /// Where it runs
    #[arg(short, long, value_name = "FOLDER")]
    workdir: Option<String>,

    #[command(flatten)]
    environment: EnvironmentArgs,
}

impl ExecArgs {
    pub(crate) async fn run(self, context: Context) -> Result<u8, CommandError> {
        let machine = context.machine(&self.machine.name).await?;
        let tty = if self.no_tty {
            false
        } else {
            self.tty || (!self.no_stdin && terminal::is_interactive())
        };
        let mut request = self.request().user(&self.user);
        for (name, value) in self.environment.read()? {
            request = request.env(name, value);
        }
        if tty {
            request = request.pty(pty());
        }
        let session = machine.exec(request).await?;
        attach(
            context.ui,
            session,
            Attach {
                stdin: !self.no_stdin,
                tty,
            },
        )
        .await
    }

    /// SSH has no notion of a working folder: a shell in the guest goes there first.
    fn request(&self) -> ExecRequest {
        match &self.workdir {
            None => ExecRequest::argv(&self.command),
            Some(folder) => {
                let shell = ["sh", "-c", "cd -- \"$0\" && exec \"$@\"", folder];
                ExecRequest::argv(shell.into_iter().chain(self.command.iter().map(String::as_str)))
            }
        }
    }
}

/// A terminal like ours.
pub(super) fn pty() -> Pty {
    let (columns, rows) = terminal::size();
    Pty {
        term: terminal::kind(),
        columns: columns.into(),
        rows: rows.into(),
    }
}

//! `knaller login`.
//!
//! The invariant: a password comes from a terminal that does not show it, or from standard input when that was asked for; never
//! from the command line, where every user of the machine can read it.

use std::io::{self, IsTerminal as _};

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use images::registry::Secret;

use super::image::registries;
use crate::context::Context;
use crate::error::CommandError;
use crate::input;
use crate::signals::{Signal, Signals};
use crate::terminal;
use crate::ui::{Progress, Ui};

/// Log in to a registry
#[derive(Args, Debug)]
#[command(after_help = "\
The registry is asked first; what it takes is kept in ~/.config/containers/auth.json, where Podman and skopeo find it too, or \
with the credential helper that is configured. Who is logged in with Docker or Podman need not do it again.

Examples:
  knaller login ghcr.io
  pass show ghcr.io | knaller login ghcr.io -u me --password-stdin")]
pub(crate) struct LoginArgs {
    /// The registry: HOST or HOST:PORT; Docker's is docker.io
    #[arg(value_name = "REGISTRY", value_parser = NonEmptyStringValueParser::new())]
    registry: String,

    /// The user's name [default: asked for]
    #[arg(short, long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    username: Option<String>,

    /// Read the password from standard input
    #[arg(long, requires = "username")]
    password_stdin: bool,
}

impl LoginArgs {
    pub(crate) async fn run(self, context: Context) -> Result<(), CommandError> {
        let registries = registries()?;
        let mut signals = Signals::watch(&Signal::ENDINGS)?;
        let (username, password) = self.credentials(context.ui, &mut signals).await?;
        let progress = Progress::start(context.ui, &format!("asking {}", self.registry));
        let logged_in = tokio::select! {
            logged_in = registries.login(&self.registry, &username, &password) => logged_in,
            signal = signals.next() => return Err(CommandError::Ended(signal)),
        };
        drop(progress);
        let place = match logged_in.map_err(knaller::Error::from)?.file {
            Some(file) => format!("in {}", file.display()),
            None => "with the credential helper".to_owned(),
        };
        context.ui.note(format_args!(
            "{username} is logged in to {}; the password is kept {place}",
            self.registry
        ));
        Ok(())
    }

    async fn credentials(&self, ui: Ui, signals: &mut Signals) -> Result<(String, Secret), CommandError> {
        if !self.password_stdin && !io::stdin().is_terminal() {
            let message = "a password is read from standard input only if that is asked for";
            return Err(CommandError::usage(message).hint("say --password-stdin, with --username NAME"));
        }
        let username = match &self.username {
            Some(username) => username.clone(),
            None => {
                ui.prompt(&format!("user at {}: ", self.registry))?;
                without_end(&input::line(signals).await?)
            }
        };
        if username.is_empty() || username.contains(':') {
            return Err(CommandError::usage(
                "a user's name is not empty and has no colon in it",
            ));
        }
        let password = if self.password_stdin {
            without_end(&input::whole(signals).await?)
        } else {
            let hidden = terminal::Hidden::all()?;
            ui.prompt(&format!("password of {username} (not shown): "))?;
            let typed = input::line(signals).await;
            drop(hidden);
            ui.note("");
            without_end(&typed?)
        };
        if password.is_empty() {
            return Err(CommandError::usage("the password is empty"));
        }
        Ok((username, Secret::new(password)))
    }
}

/// What was typed, without the key that ended it.
fn without_end(text: &str) -> String {
    text.strip_suffix('\n')
        .map_or(text, |text| text.strip_suffix('\r').unwrap_or(text))
        .to_owned()
}

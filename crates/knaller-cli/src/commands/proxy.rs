//! `knaller proxy`: standard input and output become a connection to a machine's SSH. For `ProxyCommand`.

use std::ffi::OsString;

use clap::Args;
use knaller::Options;
use tokio::io::{AsyncWriteExt as _, copy, split};

use crate::args::machine::MachineArg;
use crate::context::Context;
use crate::error::CommandError;

/// Connect the standard streams with a machine's SSH
#[derive(Args, Debug)]
pub(crate) struct ProxyArgs {
    #[command(flatten)]
    machine: MachineArg,

    /// The guest's vsock port
    #[arg(long, default_value_t = guest_protocol::SSH_PORT.into())]
    port: u32,
}

impl ProxyArgs {
    pub(crate) async fn run(self, context: Context) -> Result<(), CommandError> {
        let machine = context.machine(&self.machine.name).await?;
        let (mut from_guest, mut to_guest) = split(machine.connect_vsock(self.port).await?);
        let up = async {
            copy(&mut tokio::io::stdin(), &mut to_guest).await?;
            to_guest.shutdown().await
        };
        let down = async {
            let mut stdout = tokio::io::stdout();
            copy(&mut from_guest, &mut stdout).await?;
            stdout.flush().await
        };
        // The guest's end is the end; ours only closes one direction.
        let mut up = std::pin::pin!(up);
        let mut down = std::pin::pin!(down);
        tokio::select! {
            ended = &mut down => ended?,
            ended = &mut up => {
                ended?;
                down.await?;
            }
        }
        Ok(())
    }
}

/// The words that run this command for `name` from anywhere: this very program, and the folders it uses now, which
/// another session's environment may not name.
pub(super) fn command_line(options: &Options, name: &str) -> Result<String, CommandError> {
    let program =
        std::env::current_exe().map_err(|error| CommandError::host("cannot find this program", &error))?;
    let data = OsString::from_iter(["KNALLER_DATA=".as_ref(), options.paths.data.as_os_str()]);
    let runtime = OsString::from_iter(["KNALLER_RUNTIME=".as_ref(), options.paths.runtime.as_os_str()]);
    let words = [data, runtime, program.into_os_string()];
    let quoted = words
        .iter()
        .map(|word| quote(&word.to_string_lossy()))
        .collect::<Vec<_>>();
    Ok(format!("env {} proxy {name}", quoted.join(" ")))
}

/// As one word of the shell that ssh runs a `ProxyCommand` with; ssh itself takes `%` for a token (ssh_config(5)).
fn quote(word: &str) -> String {
    let word = word.replace('%', "%%");
    if word
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "/._-=+@:%".contains(c))
    {
        return word;
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_ssh_are_quoted_only_where_needed() {
        assert_eq!(
            quote("KNALLER_DATA=/home/me/.local/share/knaller"),
            "KNALLER_DATA=/home/me/.local/share/knaller"
        );
        assert_eq!(quote("/a b"), "'/a b'");
        assert_eq!(quote("/it's/100%"), r"'/it'\''s/100%%'");
    }
}

//! `knaller ssh-config`.

use clap::Args;

use super::proxy;
use crate::args::machine::MachineArg;
use crate::context::Context;
use crate::error::CommandError;

/// Show what stock ssh, scp and rsync need to reach a machine
#[derive(Args, Debug)]
#[command(after_help = "\
Write it to a file for `ssh -F FILE NAME`, or append it to ~/.ssh/config: it holds for as long as the machine exists. \
Serves sftp, Ansible and editors as well.")]
pub(crate) struct SshConfigArgs {
    #[command(flatten)]
    machine: MachineArg,
}

impl SshConfigArgs {
    pub(crate) async fn run(self, context: Context) -> Result<(), CommandError> {
        let machine = context.machine(&self.machine.name).await?;
        let proxy = proxy::command_line(context.knaller.options(), self.machine.name.as_str())?;
        let stanza = machine.ssh_config(&proxy).await?;
        Ok(context.ui.print(stanza.trim_end())?)
    }
}

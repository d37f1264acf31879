//! `knaller forward`: ports of a running machine, for as long as the command runs.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use clap::Args;
use futures_util::future::select_all;
use knaller::{Class, Forward, Machine, Protocol};

use crate::args::machine::MachineArg;
use crate::context::Context;
use crate::error::CommandError;
use crate::signals::{Signal, Signals};

/// Forward ports to a running machine until Ctrl-C
#[derive(Args, Debug)]
#[command(after_help = "\
Goes through SSH: it needs no network in the machine and reaches what listens on the guest's own loopback.

Examples:
  knaller forward web 8080:80 127.0.0.1:0:5432")]
pub(crate) struct ForwardArgs {
    #[command(flatten)]
    machine: MachineArg,

    // Attributes, since rustdoc takes the brackets for a link.
    #[arg(
        value_name = "PORTS",
        required = true,
        help = "[ADDR:]HOST:GUEST; HOST 0 for a free one; ADDR is 127.0.0.1 unless given"
    )]
    forwards: Vec<Forward>,
}

impl ForwardArgs {
    pub(crate) async fn run(self, context: Context) -> Result<u8, CommandError> {
        let machine = context.machine(&self.machine.name).await?;
        let mut signals = Signals::watch(&Signal::ENDINGS)?;
        tokio::select! {
            lost = self.hold(&context, &machine) => lost,
            // The usual way to leave.
            signal = signals.next() => match signal {
                Signal::Interrupt => Ok(0),
                signal => Ok(signal.exit_code()),
            },
        }
    }

    /// Until the machine is out of reach.
    async fn hold(&self, context: &Context, machine: &Machine) -> Result<u8, CommandError> {
        let mut held = Vec::new();
        for forward in &self.forwards {
            if forward.protocol == Protocol::Udp {
                return Err(CommandError::usage(format!("{forward}: SSH carries no UDP"))
                    .hint("UDP ports are forwarded from the start on: `knaller start -p HOST:GUEST/udp`"));
            }
            let address = forward.bind.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
            let local = SocketAddr::new(address, forward.host_port);
            let forwarding = machine.forward(local, forward.guest_port).await?;
            let local = forwarding.local();
            context
                .ui
                .print(&format!("{local} -> {}:{}", machine.name(), forward.guest_port))?;
            held.push(forwarding);
        }
        select_all(held.iter_mut().map(|forwarding| Box::pin(forwarding.ended()))).await;
        let message = format!("{} is no longer within reach", machine.name());
        Err(CommandError::refused(Class::Transfer, message))
    }
}

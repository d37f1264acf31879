//! The guest's SSH server on this machine's loopback, to try and to measure it without a guest:
//!
//! ```text
//! cargo run --release -p powerunit --example sshd -- PORT HOST_KEY AUTHORIZED_KEYS POWERUNIT
//! ```
//!
//! It uses this machine's accounts, and runs `POWERUNIT sftp-server` for SFTP.

use std::error::Error;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;

use powerunit::listen::Listener;
use powerunit::machine::{Handle, Root};
use powerunit::ssh::{Settings, serve};
use tokio::sync::{mpsc, watch};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut argument = || {
        arguments
            .next()
            .ok_or("usage: sshd PORT HOST_KEY AUTHORIZED_KEYS POWERUNIT")
    };
    let port = argument()?.parse()?;
    let host_key = std::fs::read_to_string(argument()?)?;
    let keys = std::fs::read_to_string(argument()?)?;
    let keys: Vec<String> = keys.lines().map(str::to_owned).collect();
    let mut settings = Settings::new(&host_key, &keys)?;
    settings.sftp_server.0 = argument()?.into();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    let (_state, root) = watch::channel(Root::Up);
    let (calls, _asked) = mpsc::channel(1);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve(
        vec![Listener::Tcp(listener)],
        watch::channel(Arc::new(settings)).1,
        Handle::new(root, calls),
    ))?;
    Ok(())
}

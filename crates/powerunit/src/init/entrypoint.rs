//! The program that the VM exists for.

use std::path::Path;
use std::process::Stdio;

use guest_protocol::Config;
use rustix::process::{Pid, Uid};

use super::supervise::Entrypoint;
use crate::launch::{self, Found, Launch, Wanted};
use crate::signals;
use crate::users::Accounts;

/// Why the entrypoint does not run.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Launch(#[from] launch::Error),
    #[error("the stop signal `{0}` is none that the kernel knows")]
    StopSignal(String),
}

/// Starts `wanted` with the console as its standard input, output and error.
pub(super) fn start(config: &Config, wanted: &guest_protocol::Entrypoint) -> Result<Entrypoint, Error> {
    let stop_signal = stop_signal(&wanted.stop_signal)?;
    let resolved = Wanted {
        argv: &wanted.argv,
        user: &wanted.user,
        workdir: &wanted.workdir,
        hostname: &config.hostname,
        env: &[&config.env],
    };
    let launch = Launch::resolve(&resolved, &Accounts::load(Path::new("/etc")), Found::at)?;
    let mut command = launch.command()?;
    // /dev/stdout leads to the console's device file, which the program must be allowed to open again.
    let uid = Uid::from_raw(launch.identity.user.uid);
    let _ = rustix::fs::fchown(rustix::stdio::stderr(), Some(uid), None);
    command
        .stdin(Stdio::inherit())
        .stdout(Stdio::inherit())
        .stderr(Stdio::inherit());
    let namespace = launch.namespace()?;
    let child = command.spawn().map_err(|source| launch.failed(source))?;
    drop(namespace);
    // It is waited for by its number, with all other children.
    let pid = Pid::from_child(&child);
    Ok(Entrypoint { pid, stop_signal })
}

fn stop_signal(name: &str) -> Result<i32, Error> {
    match name {
        "" => Ok(libc::SIGTERM),
        name => signals::parse(name).ok_or_else(|| Error::StopSignal(name.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_image_has_a_stop_signal() {
        assert_eq!(stop_signal("").unwrap(), libc::SIGTERM);
        assert_eq!(stop_signal("SIGQUIT").unwrap(), libc::SIGQUIT);
        assert_eq!(stop_signal("SIGRTMIN+3").unwrap(), 37);
        assert!(matches!(stop_signal("SIGNOPE"), Err(Error::StopSignal(_))));
    }
}

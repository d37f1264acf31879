//! Programs that the host runs as the image's own would be ([`guest_protocol::exec`]).

use guest_protocol::exec::{Exec, KILL_AFTER, STOP_SIGNAL, SUBSYSTEM};
use tokio::process::Child;

use super::process;
use super::refusal::Refusal;
use crate::console::chain;
use crate::launch::{Found, Launch, Wanted};
use crate::ssh::settings::Settings;
use crate::sys;
use crate::users::Accounts;

/// Whether a subsystem of that name means this.
pub(super) fn is_asked(name: &str) -> bool {
    name.split(' ').next() == Some(SUBSYSTEM)
}

/// Resolves what the name of the subsystem asks for. What the client asked for by `env` requests plays no part.
pub(super) fn launch(subsystem: &str, settings: &Settings) -> Result<Launch, Refusal> {
    let exec = match Exec::parse(subsystem) {
        Some(Ok(exec)) => exec,
        Some(Err(error)) => return Err(Refusal::not_run(chain(&error))),
        None => return Err(Refusal::not_run(format!("`{subsystem}` names no program"))),
    };
    let uname = rustix::system::uname();
    let wanted = Wanted {
        argv: &exec.argv,
        user: &exec.user,
        workdir: &exec.workdir,
        hostname: &uname.nodename().to_string_lossy(),
        env: &[&settings.environment, &exec.env],
    };
    Ok(Launch::resolve(
        &wanted,
        &Accounts::load(&settings.etc),
        Found::at,
    )?)
}

/// Ends a program whose client is gone, with its process group.
pub(super) async fn end(mut child: Child) {
    let Some(group) = process::group(&child) else {
        return;
    };
    // A group that has just ended needs no signal.
    for signal in [STOP_SIGNAL.into(), libc::SIGCONT] {
        let _ = sys::kill(-group.as_raw_nonzero().get(), signal);
    }
    let _ = tokio::time::timeout(KILL_AFTER, child.wait()).await;
    let _ = sys::kill(-group.as_raw_nonzero().get(), libc::SIGKILL);
    let _ = child.wait().await;
}

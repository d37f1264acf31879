//! Whether a machine's network can be had.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::{Check, Verdict};
use crate::network::direct::{self, Direct};
use crate::network::pasta::{self, Pasta};
use crate::network::routes;
use crate::{Error, Options, Result};

/// How long a namespace may take to be made, by a host that is busy.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) fn route() -> Check {
    let found = match routes::of_host() {
        routes::Routes {
            ipv4: true,
            ipv6: true,
        } => "IPv4 and IPv6",
        routes::Routes {
            ipv4: true,
            ipv6: false,
        } => "IPv4",
        routes::Routes {
            ipv4: false,
            ipv6: true,
        } => "IPv6",
        routes::Routes {
            ipv4: false,
            ipv6: false,
        } => {
            let remedy = "connect the host, or start machines with --network none";
            let found = "the host has no default route, and pasta needs one";
            return Check::bad("route", Verdict::Failed, found, remedy);
        }
    };
    Check::ok("route", format!("the host reaches others by {found}"))
}

/// Whether root's own network mode can be had. None where nobody asks: without root there is no such mode.
pub(super) fn direct(options: &Options) -> Option<Check> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let id = "network-direct";
    if options
        .nft()
        .and_then(|nft| direct::is_torn(&nft))
        .unwrap_or(false)
    {
        let found = "packet rules for machines that run were taken away: they are cut off, or not reached by their ports";
        let remedy = "`knaller prune` makes them again; what loads the host's firewall anew should leave the table inet knaller";
        return Some(Check::bad(id, Verdict::Warning, found, remedy));
    }
    Some(match try_direct(options) {
        Ok(None) => Check::ok(id, "root's machines can have --network direct"),
        Ok(Some(obstacle)) => {
            let remedy = "let it accept what has knaller+ as its interface, or take --network pasta";
            Check::bad(id, Verdict::Warning, obstacle, remedy)
        }
        Err(error) => {
            let remedy = error.hint().unwrap_or_else(|| "take --network pasta".to_owned());
            Check::bad(id, Verdict::Warning, error.headline(), remedy)
        }
    })
}

/// Tries what root's own network mode is made of, and leaves nothing: what of others' rules stands in its way, if it
/// can be had.
pub(crate) fn try_direct(options: &Options) -> Result<Option<String>> {
    let direct = Direct::find(options)?;
    direct.trial()?;
    Ok(direct.obstacle())
}

/// Makes a namespace with everything that a machine's has, and runs nothing in it.
pub(super) async fn trial(options: &Options) -> Check {
    match try_once(options).await {
        Ok(()) => Check::ok("network", "a machine's network namespace can be made"),
        // Its parts were found whole before: this error's own hint would lead back to here.
        Err(error @ Error::Network { .. }) => Check::bad(
            "network",
            Verdict::Failed,
            error.headline(),
            "look for what restricts programs here beside user namespaces: a container's seccomp profile, AppArmor or SELinux, \
             a kernel without nf_tables and NAT; or start with --network none",
        ),
        Err(error) => Check::failed("network", &error),
    }
}

async fn try_once(options: &Options) -> Result<()> {
    let pasta = Pasta::find(options)?;
    let nothing = ["/bin/true".into()];
    let mut command = Command::new(&pasta.program);
    command
        .args(pasta.arguments(&nothing, false, None)?)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let failed = Error::io("run", &pasta.program);
    let what = "pasta";
    let output = match tokio::time::timeout(PATIENCE, command.output()).await {
        Ok(output) => output.map_err(failed)?,
        Err(_) => {
            return Err(Error::Timeout {
                what: what.to_owned(),
                after: PATIENCE,
            });
        }
    };
    if output.status.success() {
        return Ok(());
    }
    let log = String::from_utf8_lossy(&output.stderr);
    let last = log
        .lines()
        .rev()
        .find(|line| !line.is_empty())
        .unwrap_or("it said nothing")
        .to_owned();
    Err(pasta::complaint(&log, &[]).unwrap_or(Error::Network { reason: last }))
}

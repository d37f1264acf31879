//! Whether a VMM's jail can be had, and what it would be without.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::process::Command;
use tokio::time::timeout;

use super::{Check, Verdict};
use crate::helper::{Network, Orders};
use crate::jail::{self, Access, Entry, Plan};
use crate::network::pasta;
use crate::start::{self, First};
use crate::{Error, Options, Result, task};

/// How long a jail may take to be made, by a host that is busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// The most bytes of what a helper says.
const MAX_SAID: u64 = 64 << 10;

/// What is run in it.
const PROGRAM: &str = "/bin/true";

/// Makes a jail as a machine without a network has it, and runs nothing in it.
pub(super) async fn trial(options: &Options) -> Check {
    let without = match try_once(options).await {
        Ok(without) => without,
        Err(error) => {
            return Check::bad(
                "jail",
                Verdict::Failed,
                error.headline(),
                "let this user make user namespaces and mount in them (a container's seccomp profile, AppArmor or SELinux may \
                 forbid it), or start trusted guests with --no-jail",
            );
        }
    };
    let lacking = without.join("; without ");
    if lacking.is_empty() {
        return Check::ok("jail", "a VMM's jail can be made");
    }
    let found = format!("a VMM's jail can be made, without {lacking}");
    let remedy = "machines run in the rest of it; for all of it, use a kernel of Linux 6.12 or later with landlock among its \
                  lsm=, outside of containers";
    Check::bad("jail", Verdict::Warning, found, remedy)
}

async fn try_once(options: &Options) -> Result<Vec<String>> {
    let (helper, home) = (options.netns()?, options.paths.runtime.clone());
    let plan = task::blocking(move |_| {
        let mut entries = jail::loads(PROGRAM.as_ref()).map_err(Error::io("read", PROGRAM))?;
        for (path, access) in [
            (home.clone(), Access::Sockets),
            ("/dev/null".into(), Access::Device),
        ] {
            entries.push(Entry { path, access });
        }
        Ok(Plan::new(home, 0, entries))
    });
    let plan = plan.await?;
    let orders = Orders {
        network: Network::None,
        jail: true,
        disk: None,
    };
    let (input, tells, gate) = start::line()?;
    let mut child = Command::new(&helper)
        .arg(orders.argument()?)
        .arg(PROGRAM)
        .env_clear()
        .stdin(input)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(Error::io("run", &helper))?;
    let says = child.stderr.take();
    let tried = async {
        let mut first = First::left_by(child, tells).await?;
        gate.open(&plan, &[]).await.map_err(io::Error::other)?;
        let mut said = Vec::new();
        if let Some(says) = says {
            says.take(MAX_SAID).read_to_end(&mut said).await?;
        }
        Ok((first.wait().await?, String::from_utf8_lossy(&said).into_owned()))
    };
    let (status, said) = match timeout(PATIENCE, tried).await {
        Ok(tried) => tried.map_err(Error::system("try a jail"))?,
        Err(_) => {
            return Err(Error::Timeout {
                what: "knaller-netns".to_owned(),
                after: PATIENCE,
            });
        }
    };
    if status.success() {
        return Ok(jail::told(&said));
    }
    Err(pasta::complaint(&said, &[]).unwrap_or(Error::Jail {
        reason: said.trim().to_owned(),
    }))
}

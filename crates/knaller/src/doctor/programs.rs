//! The programs that a start runs.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::{Check, Verdict};
use crate::{Options, Result, Vmm, vmm};

pub(super) fn all(options: &Options) -> Vec<Check> {
    let chosen = vmm::choose(Vmm::Auto, options);
    let emulated = !matches!(&chosen, Ok(chosen) if chosen.name == "firecracker");
    let mut checks = vec![match &chosen {
        Ok(chosen) => Check::ok("vmm", format!("{}, since {}", chosen.name, chosen.reason)),
        Err(error) => Check::failed("vmm", error),
    }];
    let mut look = |id: &str, found: Result<PathBuf>, needed: bool| {
        checks.push(match found {
            Ok(path) => Check::ok(id, path.display().to_string()),
            Err(error) if needed => Check::failed(id, &error),
            Err(error) => Check {
                verdict: Verdict::Warning,
                ..Check::failed(id, &error)
            },
        });
    };
    look("qemu", options.qemu(), emulated);
    look("powerunit", options.powerunit(), true);
    look("knaller-netns", options.netns(), true);
    look("nft", options.nft(), true);
    checks.push(pasta(options));
    checks
}

/// The version of Debian 12 (2023-03) works, but for one thing: it answers a guest's SYN-ACK only together with the
/// client's first bytes (fixed in passt's commit 9178a9e3462d, April 2023). Connections from the host's own loopback
/// take another way through it.
fn pasta(options: &Options) -> Check {
    let path = match options.pasta() {
        Ok(path) => path,
        Err(error) => return Check::failed("pasta", &error),
    };
    let shown = path.display();
    // Versions are not told alike everywhere; an option of May 2023 is.
    let help = Command::new(&path).arg("--help").stdin(Stdio::null()).output();
    let text = help
        .map(|help| [help.stdout, help.stderr].concat())
        .unwrap_or_default();
    if String::from_utf8_lossy(&text).contains("--no-copy-routes") {
        return Check::ok("pasta", shown.to_string());
    }
    let found = format!(
        "{shown} is from before May 2023: through a forwarded port, servers that speak first (SMTP, MySQL) do not answer \
         clients but those on the host's loopback"
    );
    Check::bad(
        "pasta",
        Verdict::Warning,
        found,
        "install a later passt (https://passt.top), if you forward such ports",
    )
}

//! The programs that a start runs.

use std::path::PathBuf;

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
    look("pasta", options.pasta(), true);
    look("nft", options.nft(), true);
    checks
}

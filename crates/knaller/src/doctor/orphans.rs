//! VMMs that no machine's record knows, as when a data folder was removed by hand.

use std::collections::HashSet;

use super::{Check, Verdict};
use crate::process::Boot;
use crate::record::Record;
use crate::{Error, Options, Result, damage, heal, layout, process};

pub(super) fn check(options: &Options) -> Check {
    let found = match find(options) {
        Ok(found) => found,
        Err(error) => {
            let remedy = "see to it that the folder can be read";
            return Check::bad("orphans", Verdict::Warning, error.to_string(), remedy);
        }
    };
    let orphans: Vec<String> = found.into_iter().map(|(pid, _)| pid).collect();
    if orphans.is_empty() {
        return Check::ok("orphans", "every VMM belongs to a machine");
    }
    let found = format!("VMMs that belong to no machine: {}", orphans.join(", "));
    let remedy = "run: knaller prune --force";
    Check::bad("orphans", Verdict::Warning, found, remedy)
}

/// Process ids of the VMMs that no machine's record knows, with the boots that they are of. Blocks.
///
/// # Errors
/// This process cannot read a machine's record. Its VMM must not be taken for nobody's.
pub(crate) fn find(options: &Options) -> Result<Vec<(String, Boot)>> {
    let failed = || Error::system("look for a machine's processes");
    // First who runs: a machine that is started meanwhile has its record before its VMM.
    let vmms = process::with_sockets_below(&options.paths.runtime, options.users).map_err(failed())?;
    let mut known = HashSet::new();
    for name in heal::names(&options.paths)? {
        let files = layout::files(&options.paths, &name);
        match Record::load(&files.record()) {
            Ok(record) => {
                known.insert(record.instance);
            }
            // One that is damaged still has the VMM that listens on its socket.
            Err(error) if damage::is_of_the_file(&error) => {
                let behind = process::boot_behind(&files.api_socket(), options.users);
                known.extend(behind.map_err(failed())?.map(|boot| boot.instance));
            }
            Err(error) => return Err(error),
        }
    }
    let orphans = vmms
        .into_iter()
        .filter(|(_, boot)| !known.contains(&boot.instance));
    Ok(orphans
        .map(|(pid, boot)| (pid.as_raw_nonzero().to_string(), boot))
        .collect())
}

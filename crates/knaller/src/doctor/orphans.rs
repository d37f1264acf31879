//! VMMs that no machine's record knows, as when a data folder was removed by hand.

use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt as _;

use super::{Check, Verdict};
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

/// Process ids and instance ids of the VMMs that no machine's record knows. Blocks.
///
/// # Errors
/// This process cannot read a machine's record. Its VMM must not be taken for nobody's.
pub(crate) fn find(options: &Options) -> Result<Vec<(String, String)>> {
    // First who runs: a machine that is started meanwhile has its record before its VMM.
    let vmms = vmms(options);
    let mut known = HashSet::new();
    for name in heal::names(&options.paths)? {
        let files = layout::files(&options.paths, &name);
        match Record::load(&files.record()) {
            Ok(record) => {
                known.insert(record.instance);
            }
            // One that is damaged still has the VMM that listens on its socket.
            Err(error) if damage::is_of_the_file(&error) => {
                let behind = process::instance_behind(&files.api_socket());
                known.extend(behind.map_err(Error::system("look for a machine's processes"))?);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(vmms.into_iter().filter(|(_, id)| !known.contains(id)).collect())
}

/// Process ids and instance ids of the VMMs whose API socket is in the runtime folder.
fn vmms(options: &Options) -> Vec<(String, String)> {
    let prefix = options.paths.runtime.as_os_str().as_bytes();
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|entry| {
            let pid = entry
                .file_name()
                .into_string()
                .ok()
                .filter(|name| name.parse::<u32>().is_ok())?;
            let line = std::fs::read(entry.path().join("cmdline")).ok()?;
            Some((pid, instance(&line, prefix)?))
        })
        .collect()
}

/// The instance id in a command line (/proc/PID/cmdline) whose API socket's path begins with `prefix`.
pub(crate) fn instance(line: &[u8], prefix: &[u8]) -> Option<String> {
    let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
    let after = |flag: &[u8]| {
        let at = words.iter().position(|word| *word == flag)?;
        words.get(at + 1).copied()
    };
    let ours = after(b"--api-sock")?.starts_with(prefix);
    ours.then_some(String::from_utf8_lossy(after(b"--id")?).into_owned())
}

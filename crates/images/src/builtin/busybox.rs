//! The host's static busybox: the one program of the built-in image.

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::kernel::{Arch, program};

/// Overrides where busybox is looked for.
pub const BUSYBOX_VARIABLE: &str = "KNALLER_BUSYBOX";

/// Where Debian's package busybox-static has it, before and after the merge of / and /usr.
const PLACES: [&str; 2] = ["/bin/busybox", "/usr/bin/busybox"];

/// Debian's has 2 MiB.
pub(super) const MAX_SIZE: u64 = 64 << 20;
/// busybox knows about 400.
const MAX_APPLETS: usize = 5000;

/// Why there is no busybox to make an image of.
#[derive(Debug, thiserror::Error)]
pub enum BusyboxError {
    #[error("busybox is not there; looked at {}. Run: sudo apt-get install busybox-static (or set {BUSYBOX_VARIABLE})", .looked_at.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", "))]
    Absent { looked_at: Vec<PathBuf> },
    #[error(
        "{path} is linked dynamically, and the image has no libraries. Run: sudo apt-get install busybox-static (or set {BUSYBOX_VARIABLE} to a static one)"
    )]
    Dynamic { path: PathBuf },
    #[error("{path} is no program for this machine")]
    NoProgram { path: PathBuf },
    #[error("{path} cannot be run")]
    Run { path: PathBuf, source: io::Error },
    #[error(
        "{path} does not say its applets (`busybox --list-full`): it is no busybox, or was built without that"
    )]
    NoList { path: PathBuf },
}

/// Finds busybox: `$KNALLER_BUSYBOX`, else where Debian has it.
pub(super) fn find() -> Result<PathBuf, BusyboxError> {
    let variable = env::var_os(BUSYBOX_VARIABLE).filter(|path| !path.is_empty());
    let looked_at = match variable {
        Some(path) => vec![PathBuf::from(path)],
        None => PLACES.map(PathBuf::from).to_vec(),
    };
    looked_at
        .iter()
        .find(|path| path.is_file())
        .cloned()
        .ok_or(BusyboxError::Absent { looked_at })
}

/// Checks that `bytes`, read from `path`, are a program that runs with nothing else in a guest of this machine.
pub(super) fn check(path: &Path, bytes: &[u8]) -> Result<(), BusyboxError> {
    match program(bytes) {
        Ok(program) if program.dynamic => Err(BusyboxError::Dynamic {
            path: path.to_owned(),
        }),
        Ok(program) if Some(program.arch) == Arch::host() => Ok(()),
        _ => Err(BusyboxError::NoProgram {
            path: path.to_owned(),
        }),
    }
}

/// The applets of the busybox at `path`, as `--list-full` has them: where each one's link belongs, without the leading slash.
pub(super) fn applets(path: &Path) -> Result<Vec<String>, BusyboxError> {
    let output = Command::new(path)
        .arg("--list-full")
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .map_err(|source| BusyboxError::Run {
            path: path.to_owned(),
            source,
        })?;
    let applets = parse(&String::from_utf8_lossy(&output.stdout));
    let has_shell = applets.iter().any(|applet| applet == "bin/sh");
    if output.status.success() && has_shell {
        Ok(applets)
    } else {
        Err(BusyboxError::NoList {
            path: path.to_owned(),
        })
    }
}

/// Only links that belong into the usual folders are taken, and only names that need no quoting anywhere.
fn parse(list: &str) -> Vec<String> {
    let fit = |applet: &&str| {
        let name = ["bin/", "sbin/", "usr/bin/", "usr/sbin/"]
            .iter()
            .find_map(|folder| applet.strip_prefix(folder));
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-[+".contains(&byte);
        name.is_some_and(|name| {
            !matches!(name, "" | "." | ".." | "busybox") && name.len() <= 64 && name.bytes().all(plain)
        })
    };
    let mut applets: Vec<String> = list
        .lines()
        .filter(fit)
        .take(MAX_APPLETS)
        .map(ToOwned::to_owned)
        .collect();
    applets.sort();
    applets.dedup();
    applets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_links_in_the_usual_folders_are_taken() {
        let list = "usr/bin/[\nbin/sh\nbin/busybox\nlinuxrc\n../bin/x\nbin/../x\netc/passwd\nbin/a b\nbin/sh\nsbin/init\n";
        assert_eq!(parse(list), ["bin/sh", "sbin/init", "usr/bin/["]);
    }

    #[test]
    fn what_is_no_static_busybox_is_said() {
        let dynamic = std::env::current_exe().unwrap();
        let error = check(&dynamic, &std::fs::read(&dynamic).unwrap()).unwrap_err();
        assert!(error.to_string().contains("busybox-static"), "{error}");
        assert!(matches!(
            check(Path::new("x"), b"#!/bin/sh\n"),
            Err(BusyboxError::NoProgram { .. })
        ));
        assert!(matches!(
            applets(Path::new("/bin/true")),
            Err(BusyboxError::NoList { .. })
        ));
    }
}

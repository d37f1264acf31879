//! `init: image`: PID 1 becomes the image's own init, and the worker lives on beside it.
//!
//! The invariant: the worker is in a control group of its own, which no init knows, so that none ends it with the services it
//! manages; PID 1 leaves nothing behind but the three descriptors of its console.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::fs::Mode;
use rustix::process::Pid;

use super::entrypoint::{DEFAULT_PATH, Found};
use super::root::UPPER;
use super::switch::Below;
use crate::{files, sys};

/// Where an init is looked for: what the kernel itself would try (init/main.c), and where systemd is without its link.
const CANDIDATES: [&str; 6] = [
    "/sbin/init",
    "/usr/sbin/init",
    "/etc/init",
    "/bin/init",
    "/usr/lib/systemd/systemd",
    "/lib/systemd/systemd",
];

/// The worker's control group.
const GROUP: &str = "/sys/fs/cgroup/powerunit";

/// Where the overlay's disk is shown to it: nobody but root has business there.
const INITRAMFS: &str = "/run/initramfs";
const UPPER_SHOWN: &str = "/run/initramfs/upper";

/// Why the image's init does not run.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("the image has no init: none of {} is an executable file", CANDIDATES.join(", "))]
    None,
    #[error("cannot execute {path}")]
    Execute {
        path: &'static str,
        #[source]
        source: std::io::Error,
    },
}

/// The image's init.
pub(super) fn find() -> Result<&'static str, Error> {
    CANDIDATES
        .into_iter()
        .find(|path| Found::at(Path::new(path)) == Found::Program)
        .ok_or(Error::None)
}

/// Moves the worker into its own control group.
pub(super) fn set_apart(worker: Pid) -> std::io::Result<()> {
    match std::fs::create_dir(GROUP) {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => return Err(e),
        _ => {}
    }
    std::fs::write(
        Path::new(GROUP).join("cgroup.procs"),
        worker.as_raw_nonzero().to_string(),
    )
}

/// Shows the image's init the disk below the overlay that is its root, which it could not name otherwise. An init that ends the
/// machine makes every file system read-only that it knows (systemd-shutdown counts on just such a second name), and only so
/// is the disk's journal closed. Below /run/initramfs, where systemd leaves mounts alone until the very end.
pub(super) fn show_upper(below: &Below) -> std::io::Result<()> {
    files::make_folder(Path::new(INITRAMFS), Mode::from_raw_mode(0o700))?;
    files::make_folder(Path::new(UPPER_SHOWN), Mode::from_raw_mode(0o700))?;
    below.show(UPPER, UPPER_SHOWN)
}

/// Becomes `init`. Comes back only with an error.
pub(super) fn become_init(init: &'static str) -> Error {
    // What is blocked stays blocked through exec, and not every init looks.
    if let Err(source) = sys::unblock_signals() {
        return Error::Execute { path: init, source };
    }
    let name = Path::new(init).file_name().unwrap_or(OsStr::new("init"));
    let source = Command::new(init)
        .arg0(name)
        .env_clear()
        .envs([("PATH", DEFAULT_PATH), ("HOME", "/"), ("TERM", "linux")])
        .exec();
    Error::Execute { path: init, source }
}

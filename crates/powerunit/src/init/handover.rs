//! PID 1 becomes the image's own init, and the worker lives on beside it.
//!
//! The invariant: the worker is in a control group of its own, which no init knows, so that none ends it with the services it
//! manages; PID 1 leaves nothing behind but the three descriptors of its console.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::Mode;
use rustix::process::Pid;

use super::root::UPPER;
use super::successor::Successor;
use super::switch::Below;
use crate::launch::DEFAULT_PATH;
use crate::{files, sys};

/// The worker's control group.
const GROUP: &str = "/sys/fs/cgroup/powerunit";

/// Where the overlay's disk is shown to it: nobody but root has business there.
const INITRAMFS: &str = "/run/initramfs";
const UPPER_SHOWN: &str = "/run/initramfs/upper";

/// Set by images that expect a container's systemd, which leaves to its host what nobody else does in a machine of its own
/// (systemd.io/CONTAINER_INTERFACE).
const CONTAINER: &str = "container";

/// The image's init does not run.
#[derive(Debug, thiserror::Error)]
#[error("cannot execute {path}")]
pub(super) struct Error {
    path: PathBuf,
    #[source]
    source: std::io::Error,
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

/// Becomes `init`, with the image's variables. Comes back only with an error.
pub(super) fn become_init(init: &Successor, env: &BTreeMap<String, String>) -> Error {
    let Successor { path, argv } = init;
    // What is blocked stays blocked through exec, and not every init looks.
    let source = match sys::unblock_signals() {
        Ok(()) => Command::new(path)
            .arg0(argv.first().map_or("init", String::as_str))
            .args(argv.iter().skip(1))
            .env_clear()
            .envs([("PATH", DEFAULT_PATH), ("HOME", "/"), ("TERM", "linux")])
            .envs(env.iter().filter(|(name, _)| *name != CONTAINER))
            .exec(),
        Err(source) => source,
    };
    let path = path.clone();
    Error { path, source }
}

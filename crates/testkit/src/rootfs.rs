//! Debian 12 root file systems as raw ext4 files, made once by mmdebstrap and kept in the target folder.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::target;

/// Which Debian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Debian {
    /// `minbase` with what the SSH tests need inside: rsync, git, python3.
    Minimal,
    /// The same with systemd as `/sbin/init`.
    Systemd,
}

impl Debian {
    fn name(self) -> &'static str {
        match self {
            Self::Minimal => "debian-12-minimal",
            Self::Systemd => "debian-12-systemd",
        }
    }

    fn packages(self) -> &'static str {
        match self {
            Self::Minimal => "rsync,git,python3,openssh-client,procps,iproute2",
            Self::Systemd => "systemd-sysv,dbus,procps,iproute2",
        }
    }
}

/// The file of a Debian root file system: never write to it, start VMs from it. Its making needs root.
///
/// # Panics
/// When it cannot be made; the text says by which command.
#[must_use]
pub fn debian(which: Debian) -> PathBuf {
    let file = target().join("rootfs").join(format!("{}.ext4", which.name()));
    once(&file, |fresh| {
        let tree = fresh.with_extension("tree");
        let _ = std::fs::remove_dir_all(&tree);
        sure(
            Command::new("mmdebstrap")
                .args(["--quiet", "--variant=minbase", "--include", which.packages()])
                // Documentation and translations only make the file large.
                .args([
                    "--dpkgopt=path-exclude=/usr/share/doc/*",
                    "--dpkgopt=path-exclude=/usr/share/locale/*",
                ])
                .args(["--dpkgopt=path-exclude=/usr/share/man/*", "bookworm"])
                .arg(&tree),
        );
        sure(
            Command::new("mke2fs")
                .args(["-q", "-t", "ext4", "-d"])
                .arg(&tree)
                .arg(fresh)
                .arg("700M"),
        );
        std::fs::remove_dir_all(&tree)
            .unwrap_or_else(|error| panic!("cannot remove {}: {error}", tree.display()));
    });
    file
}

/// Makes `path` by `make`, which is given a name beside it to write to, unless it is there; two at once do it once.
pub(crate) fn once(path: &Path, make: impl FnOnce(&Path)) {
    let folder = path
        .parent()
        .unwrap_or_else(|| panic!("{} has no folder", path.display()));
    std::fs::create_dir_all(folder)
        .unwrap_or_else(|error| panic!("cannot make {}: {error}", folder.display()));
    let lock = std::fs::File::create(path.with_extension("lock"))
        .unwrap_or_else(|error| panic!("cannot lock {}: {error}", path.display()));
    lock.lock()
        .unwrap_or_else(|error| panic!("cannot lock {}: {error}", path.display()));
    if path.exists() {
        return;
    }
    let fresh = path.with_extension("fresh");
    let _ = std::fs::remove_dir_all(&fresh);
    make(&fresh);
    std::fs::rename(&fresh, path).unwrap_or_else(|error| panic!("cannot name {}: {error}", path.display()));
}

fn sure(command: &mut Command) {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

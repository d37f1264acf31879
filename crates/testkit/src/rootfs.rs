//! Debian 12 root file systems as raw ext4 files, made once by mmdebstrap and kept in the target folder.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::target;

/// A small Debian: documentation and translations would only make the file large.
const MMDEBSTRAP: [&str; 5] = [
    "--quiet",
    "--variant=minbase",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
    "--dpkgopt=path-exclude=/usr/share/man/*",
];

/// Of the file; it is sparse.
const SIZE: &str = "700M";

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
    let packages = which.packages();
    once(&file, &format!("{MMDEBSTRAP:?} {packages} {SIZE}"), |fresh| {
        let tree = fresh.with_extension("tree");
        remove(&tree);
        sure(
            Command::new("mmdebstrap")
                .args(MMDEBSTRAP)
                .args(["--include", packages, "bookworm"])
                .arg(&tree),
        );
        sure(
            Command::new("mke2fs")
                .args(["-q", "-t", "ext4", "-d"])
                .arg(&tree)
                .arg(fresh)
                .arg(SIZE),
        );
        remove(&tree);
    });
    file
}

/// Makes `path` by `make`, which is given a name beside it to write to, unless it was made by the same `recipe` before.
/// What another recipe made is replaced; two at once do it once.
pub(crate) fn once(path: &Path, recipe: &str, make: impl FnOnce(&Path)) {
    let folder = path
        .parent()
        .unwrap_or_else(|| panic!("{} has no folder", path.display()));
    std::fs::create_dir_all(folder)
        .unwrap_or_else(|error| panic!("cannot make {}: {error}", folder.display()));
    let lock = std::fs::File::create(path.with_extension("lock"))
        .unwrap_or_else(|error| panic!("cannot lock {}: {error}", path.display()));
    lock.lock()
        .unwrap_or_else(|error| panic!("cannot lock {}: {error}", path.display()));
    let note = path.with_extension("recipe");
    if path.exists() && std::fs::read_to_string(&note).is_ok_and(|made_by| made_by == recipe) {
        return;
    }
    let fresh = path.with_extension("fresh");
    for old in [&fresh, &note, path] {
        remove(old);
    }
    make(&fresh);
    std::fs::rename(&fresh, path).unwrap_or_else(|error| panic!("cannot name {}: {error}", path.display()));
    // Last: what has no note counts as half made.
    std::fs::write(&note, recipe).unwrap_or_else(|error| panic!("cannot write {}: {error}", note.display()));
}

/// Removes a file or a folder with all below it, if it is there.
fn remove(path: &Path) {
    let removed = if path.is_dir() {
        std::fs::remove_dir_all(path)
    } else {
        std::fs::remove_file(path)
    };
    if let Err(error) = removed {
        let gone = error.kind() == std::io::ErrorKind::NotFound;
        assert!(gone, "cannot remove {}: {error}", path.display());
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_recipe_replaces_what_there_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("made");
        let mut made = 0;
        for (recipe, times) in [("flour", 1), ("flour", 1), ("rye", 2), ("flour", 3)] {
            once(&path, recipe, |fresh| {
                made += 1;
                std::fs::create_dir(fresh).unwrap();
                std::fs::write(fresh.join("of"), recipe).unwrap();
            });
            assert_eq!(made, times);
            assert_eq!(std::fs::read_to_string(path.join("of")).unwrap(), recipe);
        }
        // Half made: a maker that was killed left no note.
        std::fs::remove_file(path.with_extension("recipe")).unwrap();
        once(&path, "flour", |fresh| std::fs::create_dir(fresh).unwrap());
        assert!(!path.join("of").exists());
    }
}

use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::{Sandbox, is_root};

/// An id no package gives to a user; nothing on the machine belongs to it but what the test hands over.
pub const ORDINARY_USER: u32 = 64_321;

/// Makes `command` run as an ordinary user who owns `sandbox`'s folders; as it is where the test itself is no root.
///
/// The programs under test must be readable by others. The account is a bare id without a passwd entry: what works for
/// it works for every user.
pub fn ordinary_user<'a>(sandbox: &Sandbox, command: &'a mut Command) -> &'a mut Command {
    if !is_root() {
        return command;
    }
    give_away(sandbox.path());
    command.uid(ORDINARY_USER).gid(ORDINARY_USER)
}

/// Gives a path and what is below it to the ordinary user.
///
/// # Panics
/// When the caller is not root.
pub fn give_away(path: &std::path::Path) {
    match std::os::unix::fs::lchown(path, Some(ORDINARY_USER), Some(ORDINARY_USER)) {
        // Another command of the test's removed it meanwhile.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
        given => given.expect("root may give files away"),
    }
    if path.is_dir() && !path.is_symlink() {
        for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
            give_away(&entry.path());
        }
    }
}

use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::{Sandbox, is_root};

/// An id no package gives to a user; nothing on the machine belongs to it but what the test hands over.
const ID: u32 = 64_321;

/// Makes `command` run as an ordinary user who owns `sandbox`'s folders; as it is where the test itself is no root.
///
/// The programs under test must be readable by others. The account is a bare id without a passwd entry: what works for
/// it works for every user.
pub fn ordinary_user<'a>(sandbox: &Sandbox, command: &'a mut Command) -> &'a mut Command {
    if !is_root() {
        return command;
    }
    own(sandbox.path());
    command.uid(ID).gid(ID)
}

/// Gives a folder and what is below it to the user.
fn own(path: &std::path::Path) {
    std::os::unix::fs::lchown(path, Some(ID), Some(ID)).expect("root may give files away");
    if path.is_dir() {
        for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
            own(&entry.path());
        }
    }
}

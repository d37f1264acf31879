//! Whether root's machines get a user of their own each.

use std::path::{Path, PathBuf};

use super::{Check, Verdict};
use crate::Options;
use crate::user::{self, Obstacle};

/// What the check is called.
const ID: &str = "machine-users";

/// Nothing to be said of other users' machines.
pub(super) fn check(options: &Options) -> Option<Check> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    // What is not there is missed by other checks.
    let programs: Vec<PathBuf> = [options.pasta(), options.nft(), options.netns()]
        .into_iter()
        .flatten()
        .collect();
    let programs: Vec<&Path> = programs.iter().map(PathBuf::as_path).collect();
    let data = options.paths.data.clone();
    let obstacle = Obstacle::find(&programs, &[Path::new(user::TUN)], &[data]);
    let obstacle = obstacle.or_else(|| user::take(options.users).err());
    Some(match obstacle {
        None => Check::ok(ID, "each of root's machines has a user of its own"),
        Some(obstacle) => Check::bad(
            ID,
            Verdict::Warning,
            format!("root's machines run without {obstacle}"),
            "see docs/jail.md, With root; or run machines as an ordinary user",
        ),
    })
}

//! Whether this user may make user namespaces, and what to do where it may not.

use std::path::Path;

use super::{Check, Verdict};
use crate::Error;

/// A switch that can forbid them: its file below /proc/sys, what it is when it forbids, and the remedy.
const SWITCHES: [(&str, &str, &str); 3] = [
    // Linux: Documentation/admin-guide/sysctl/user.rst.
    (
        "user/max_user_namespaces",
        "0",
        "sudo sysctl -w user.max_user_namespaces=65536",
    ),
    // Debian's and Ubuntu's own.
    (
        "kernel/unprivileged_userns_clone",
        "0",
        "sudo sysctl -w kernel.unprivileged_userns_clone=1",
    ),
    // Ubuntu 24.04: a namespace can be made, and then gives no capabilities without an AppArmor profile.
    (
        "kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or give pasta a profile with `userns,`",
    ),
];

/// The error for pasta's complaint, with the switch that is to blame if one is.
pub(crate) fn forbidden(complaint: &str) -> Error {
    let (reason, remedy) = culprit(Path::new("/proc/sys")).unwrap_or_else(|| {
        let reason = complaint.trim().to_owned();
        (
            reason,
            "a chroot or container forbids them: run knaller outside, or as root".to_owned(),
        )
    });
    Error::UserNamespaces { reason, remedy }
}

pub(super) fn check() -> Check {
    if rustix::process::geteuid().is_root() {
        return Check::ok("user-namespaces", "root needs none");
    }
    match culprit(Path::new("/proc/sys")) {
        None => Check::ok("user-namespaces", "no switch forbids them"),
        // A profile may allow pasta what is forbidden in general: whether it works is tried in the end.
        Some((found, remedy)) if found.contains("apparmor") => {
            Check::bad("user-namespaces", Verdict::Warning, found, remedy)
        }
        Some((found, remedy)) => Check::bad("user-namespaces", Verdict::Failed, found, remedy),
    }
}

/// The first switch that forbids them: what it is and what to do.
pub(crate) fn culprit(root: &Path) -> Option<(String, String)> {
    SWITCHES.iter().find_map(|(file, value, remedy)| {
        let found = std::fs::read_to_string(root.join(file)).ok()?;
        let name = file.replace('/', ".");
        (found.trim() == *value).then(|| (format!("{name} is {value}"), format!("run: {remedy}")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_switch_to_blame_is_named() {
        let temp = tempfile::tempdir().unwrap();
        assert_eq!(culprit(temp.path()), None);
        let file = temp.path().join("user/max_user_namespaces");
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, "1000\n").unwrap();
        assert_eq!(culprit(temp.path()), None);
        std::fs::write(&file, "0\n").unwrap();
        let (reason, remedy) = culprit(temp.path()).unwrap();
        assert_eq!(reason, "user.max_user_namespaces is 0");
        assert!(remedy.contains("sysctl -w user.max_user_namespaces="));
    }
}

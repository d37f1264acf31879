//! Whether a VMM may make a userfaultfd that serves the kernel's own faults, which are those of a guest (userfaultfd(2)).
//!
//! The invariant: a VMM in its jail has no capability, so that being root is of no help to it. It needs the device, which
//! knaller's user must be able to open, or the kernel's leave for everybody.

use std::fs::{self, OpenOptions};
use std::path::Path;

/// Since Linux 6.1. Who may open it may serve all faults.
pub(crate) const DEVICE: &str = "/dev/userfaultfd";

/// 1: everybody may serve all faults by the system call.
const SWITCH: &str = "/proc/sys/vm/unprivileged_userfaultfd";

/// By what it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Permitted {
    /// The device, which the VMM is to have in its jail.
    Device,
    /// The system call.
    Call,
}

/// `None` if it may not.
pub(crate) fn permitted() -> Option<Permitted> {
    permitted_by(Path::new(DEVICE), Path::new(SWITCH))
}

fn permitted_by(device: &Path, switch: &Path) -> Option<Permitted> {
    if OpenOptions::new().read(true).write(true).open(device).is_ok() {
        return Some(Permitted::Device);
    }
    let on = fs::read_to_string(switch).is_ok_and(|text| text.trim() == "1");
    on.then_some(Permitted::Call)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_device_comes_before_the_switch() {
        let temp = tempfile::tempdir().unwrap();
        let (device, switch) = (temp.path().join("device"), temp.path().join("switch"));
        assert_eq!(permitted_by(&device, &switch), None);
        fs::write(&switch, "0\n").unwrap();
        assert_eq!(permitted_by(&device, &switch), None);
        fs::write(&switch, "1\n").unwrap();
        assert_eq!(permitted_by(&device, &switch), Some(Permitted::Call));
        fs::write(&device, "").unwrap();
        assert_eq!(permitted_by(&device, &switch), Some(Permitted::Device));
    }
}

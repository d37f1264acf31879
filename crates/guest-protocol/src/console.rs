//! The lines on the guest's console that the host reads back.
//!
//! There is no process of ours on the host while a VM runs, so the console log is where the guest leaves word of how
//! the entrypoint ended. Anybody in the guest who may write to its console can forge such a line; it decides nothing
//! but what the VM's owner is told.

use crate::Exit;

/// Starts the line that says how the entrypoint ended.
pub const EXIT: &str = "powerunit: exit: ";

/// Starts the line that says why a boot failed.
pub const FAILED: &str = "powerunit: failed: ";

/// The line, without its end, that says `exit`.
#[must_use]
pub fn exit_line(exit: &Exit) -> String {
    let json = serde_json::to_string(exit).unwrap_or_default();
    format!("{EXIT}{json}")
}

/// The last exit said on a console, if one was.
#[must_use]
pub fn last_exit(console: &str) -> Option<Exit> {
    console.lines().rev().find_map(|line| {
        let (_, json) = line.split_once(EXIT)?;
        serde_json::from_str(json.trim()).ok()
    })
}

/// The first line of a kernel panic on a console, without its time stamp.
#[must_use]
pub fn kernel_panic(console: &str) -> Option<&str> {
    console.lines().find_map(|line| {
        let start = line.find("Kernel panic - not syncing")?;
        line.get(start..).map(str::trim_end)
    })
}

/// Whether the kernel itself ended the machine, for whatever reason: what it then says, it says however quiet it was told
/// to be (Linux, kernel/reboot.c).
#[must_use]
pub fn went_down(console: &str) -> bool {
    let last_words = ["Restarting system", "Power down", "System halted"];
    console
        .lines()
        .filter_map(|line| line.split_once("reboot: "))
        .any(|(_, words)| last_words.iter().any(|last| words.starts_with(last)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_exit_counts() {
        let console = format!(
            "noise\r\n{}\r\n[ 1.0] x {}\r\nmore",
            exit_line(&Exit::Code(3)),
            exit_line(&Exit::Signal(9))
        );
        assert_eq!(last_exit(&console), Some(Exit::Signal(9)));
        assert_eq!(last_exit("powerunit: exit: {broken"), None);
    }

    #[test]
    fn a_panic_is_found_behind_its_time_stamp() {
        let console = "[    1.2] Kernel panic - not syncing: Attempted to kill init!\r\n";
        assert_eq!(
            kernel_panic(console),
            Some("Kernel panic - not syncing: Attempted to kill init!")
        );
    }

    #[test]
    fn a_kernel_says_that_it_goes() {
        assert!(went_down("x\r\n[    1.299707] reboot: Restarting system\r\n"));
        assert!(went_down("reboot: Power down\n"));
        assert!(!went_down("reboot: machine restart\nhalf a li"));
    }
}

//! The processes of the machine, from /proc: who is left, and who is a program and not a thread of the kernel's own.

use std::path::Path;

/// `PF_KTHREAD` of linux/sched.h: a thread of the kernel's own.
pub(crate) const KERNEL_THREAD: u32 = 0x0020_0000;

/// A process that can be ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    /// It has a controlling terminal: probably a shell, which ignores SIGTERM and ends on SIGHUP.
    pub(crate) terminal: bool,
}

/// All processes but PID 1, `except`, the kernel's own and those that have ended.
pub(crate) fn others(except: Option<i32>) -> Vec<Process> {
    others_in(Path::new("/proc"), except)
}

/// Whether that process is a program's and has not ended.
pub(crate) fn is_program(pid: i32) -> bool {
    stat(Path::new("/proc"), pid).is_some()
}

fn stat(proc: &Path, pid: i32) -> Option<Process> {
    let stat = std::fs::read(proc.join(pid.to_string()).join("stat")).ok()?;
    parse(pid, &String::from_utf8_lossy(&stat))
}

fn others_in(proc: &Path, except: Option<i32>) -> Vec<Process> {
    let entries = std::fs::read_dir(proc).into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| *pid > 1 && Some(*pid) != except)
        .filter_map(|pid| stat(proc, pid))
        .collect()
}

/// Reads a line of /proc/PID/stat, proc_pid_stat(5): `pid (name) state ppid pgrp session tty_nr tpgid flags …`. The
/// name may hold anything, brackets and spaces too.
fn parse(pid: i32, stat: &str) -> Option<Process> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    let state = fields.next()?;
    let terminal = fields.nth(3)?.parse::<i32>().ok()? != 0;
    let flags: u32 = fields.nth(1)?.parse().ok()?;
    let ended = matches!(state, "Z" | "X");
    (!ended && flags & KERNEL_THREAD == 0).then_some(Process { pid, terminal })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_cannot_pass_for_fields() {
        let shell = "77 (a) Z 1 (b) S 1 77 77 34816 77 4194560 0 0";
        assert_eq!(
            parse(77, shell),
            Some(Process {
                pid: 77,
                terminal: true
            })
        );
        let daemon = "78 (nginx: master) S 1 78 78 0 -1 4194560 0";
        assert_eq!(
            parse(78, daemon),
            Some(Process {
                pid: 78,
                terminal: false
            })
        );
    }

    #[test]
    fn kernel_threads_and_the_dead_do_not_count() {
        assert_eq!(parse(2, "2 (kthreadd) S 0 0 0 0 -1 2129984 0"), None);
        assert_eq!(parse(9, "9 (sh) Z 1 9 9 0 -1 4194560 0"), None);
    }

    #[test]
    fn this_process_is_found_and_can_be_left_out() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(others(None).iter().any(|process| process.pid == own) && is_program(own));
        assert!(!others(Some(own)).iter().any(|process| process.pid == own));
    }

    proptest! {
        #[test]
        fn foreign_text_never_panics(stat in ".{0,80}") {
            let _ = parse(5, &stat);
        }
    }
}

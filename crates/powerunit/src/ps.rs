//! What runs in the guest, for its host: from /proc alone, so that it is told in images that have no program for it.
//!
//! The invariant: an answer fits a line of the conversation, whatever the processes are called; and one that ends while it is
//! looked at is left out.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use guest_protocol::control::{MAX_COMMAND, MAX_LINE, Process, Processes};

use crate::files;
use crate::processes::KERNEL_THREAD;
use crate::users::Accounts;

/// Clock ticks in a second, as every Linux tells user space (`USER_HZ`, proc(5)).
const TICKS: u64 = 100;

/// The bytes of all processes in one answer: the rest of the line is what is around them.
const ROOM: usize = MAX_LINE - 1024;

/// The processes with a higher id than `after`, as many as fit one answer.
pub(crate) fn after(after: u32) -> Processes {
    let (names, _) = Accounts::load(Path::new("/etc")).names();
    fitting(after_in(Path::new("/proc"), after, &names))
}

fn after_in(proc: &Path, after: u32, names: &HashMap<u32, String>) -> impl Iterator<Item = Process> {
    let entries = std::fs::read_dir(proc).into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let mut pids: Vec<u32> = pids.filter(|pid| *pid > after).collect();
    pids.sort_unstable();
    pids.into_iter()
        .filter_map(|pid| one(&proc.join(pid.to_string()), pid, names))
}

/// As many of them as fit a line.
fn fitting(all: impl Iterator<Item = Process>) -> Processes {
    let mut processes = Processes::default();
    let mut taken = 0;
    for process in all {
        let size = serde_json::to_vec(&process).map_or(ROOM, |json| json.len() + 1);
        if taken + size > ROOM {
            processes.more = true;
            break;
        }
        taken += size;
        processes.list.push(process);
    }
    processes
}

fn one(folder: &Path, pid: u32, names: &HashMap<u32, String>) -> Option<Process> {
    let stat = std::fs::read(folder.join("stat")).ok()?;
    let stat = Stat::parse(&String::from_utf8_lossy(&stat))?;
    // The folder is the process's effective user's.
    let uid = folder.metadata().ok()?.uid();
    let line = files::read_start(&folder.join("cmdline"), MAX_COMMAND as u64).unwrap_or_default();
    Some(Process {
        pid,
        parent: stat.parent,
        user: names.get(&uid).cloned().unwrap_or_else(|| uid.to_string()),
        state: stat.state,
        cpu_ms: stat.cpu_ticks.saturating_mul(1000 / TICKS),
        memory_kib: stat
            .pages
            .saturating_mul(rustix::param::page_size() as u64 / 1024),
        started_us: stat.start_ticks.saturating_mul(1_000_000 / TICKS),
        command: command(&line, &stat.name),
    })
}

/// The words of a command line, which end with a NUL each (proc_pid_cmdline(5)).
fn command(line: &[u8], name: &str) -> String {
    let line = String::from_utf8_lossy(line);
    let words = line.trim_end_matches('\0').replace('\0', " ");
    let mut text = if words.is_empty() {
        format!("[{name}]")
    } else {
        words
    };
    let mut end = MAX_COMMAND.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

/// What is told of a line of /proc/PID/stat (proc_pid_stat(5)).
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    name: String,
    state: char,
    parent: u32,
    cpu_ticks: u64,
    start_ticks: u64,
    pages: u64,
}

impl Stat {
    /// Nothing for a thread of the kernel's own. The name may hold anything, brackets and spaces too.
    fn parse(stat: &str) -> Option<Self> {
        let (before, fields) = stat.rsplit_once(')')?;
        let (_, name) = before.split_once('(')?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        // Its first is the third in the manual.
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        if number(9)? & u64::from(KERNEL_THREAD) != 0 {
            return None;
        }
        Some(Self {
            name: name.to_owned(),
            state: fields.first()?.chars().next()?,
            parent: number(4)?.try_into().ok()?,
            cpu_ticks: number(14)?.saturating_add(number(15)?),
            start_ticks: number(22)?,
            pages: number(24)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SHELL: &str = "77 (a) Z 1 (b) S 1 77 77 34816 77 4194560 9 0 0 0 120 30 0 0 20 0 1 0 4500 1000 256 18446744073709551615";

    #[test]
    fn the_kernels_own_line_is_read() {
        let expected = Stat {
            name: "a) Z 1 (b".to_owned(),
            state: 'S',
            parent: 1,
            cpu_ticks: 150,
            start_ticks: 4500,
            pages: 256,
        };
        assert_eq!(Stat::parse(SHELL), Some(expected));
        assert_eq!(Stat::parse(&SHELL.replace("4194560", "2129984")), None);
        assert_eq!(Stat::parse("9 (sh) Z 1"), None);
    }

    #[test]
    fn a_command_is_its_words_and_never_too_long() {
        assert_eq!(command(b"httpd\0-p\080\0", "httpd"), "httpd -p 80");
        assert_eq!(command(b"", "kdevtmpfs"), "[kdevtmpfs]");
        let long = "ü".repeat(MAX_COMMAND);
        let told = command(long.as_bytes(), "x");
        assert!(told.len() <= MAX_COMMAND && told.starts_with('ü'));
    }

    #[test]
    fn this_process_is_told_and_nothing_before_it() {
        let own = std::process::id();
        let names = HashMap::from([(rustix::process::geteuid().as_raw(), "me".to_owned())]);
        let found: Vec<_> = after_in(Path::new("/proc"), own - 1, &names).collect();
        assert!(found.iter().all(|process| process.pid >= own));
        let this = found.iter().find(|process| process.pid == own).unwrap();
        assert_eq!(this.user, "me");
        assert!(this.memory_kib > 100 && this.started_us > 0, "{this:?}");
        let program = std::env::args().next().unwrap();
        assert!(
            this.command
                .starts_with(&program[..program.len().min(MAX_COMMAND)]),
            "{this:?}"
        );
    }

    proptest! {
        #[test]
        fn an_answer_fits_a_line_and_the_next_begins_where_it_ends(commands in proptest::collection::vec("\\PC{0,300}|[\0-\u{1f}]{0,900}", 0..200)) {
            let all: Vec<Process> = commands
                .iter()
                .zip(1..)
                .map(|(text, pid)| Process {
                    pid,
                    parent: 1,
                    user: "root".to_owned(),
                    state: 'S',
                    cpu_ms: 1,
                    memory_kib: 1,
                    started_us: 1,
                    command: command(text.as_bytes(), "x"),
                })
                .collect();
            let mut told: Vec<Process> = Vec::new();
            loop {
                let after = told.last().map_or(0, |last| last.pid);
                let answer = fitting(all.iter().filter(|process| process.pid > after).cloned());
                let more = answer.more;
                let reply = guest_protocol::control::Reply::Processes(answer.clone());
                prop_assert!(serde_json::to_vec(&reply).unwrap().len() < MAX_LINE);
                prop_assert!(!more || !answer.list.is_empty());
                told.extend(answer.list);
                if !more {
                    break;
                }
            }
            prop_assert_eq!(told, all);
        }

        #[test]
        fn foreign_text_never_panics(stat in ".{0,200}") {
            let _ = Stat::parse(&stat);
        }
    }
}

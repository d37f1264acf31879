//! What a machine uses, as its host sees it and as its guest says.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use guest_protocol::control::Status;
use rustix::process::Pid;
use serde::{Deserialize, Serialize};

use crate::knaller::Inner;
use crate::network::addresses::TAP;
use crate::process::{self, Boot};
use crate::ssh::control;
use crate::{Error, Name, Result, State, list, task};

/// How long a guest may take to tell its own figures.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a machine's processes on the host have used since they began. Two of them, and the time between, give rates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Usage {
    /// CPU time, user and system, in microseconds.
    pub cpu_us: u64,
    /// Memory now, in bytes; what is shared with other processes in equal parts (PSS). 0 where the kernel does not tell.
    pub memory: u64,
    /// Bytes that the processes made the disks of the host read and write.
    pub disk_read: u64,
    pub disk_written: u64,
    /// Bytes that the guest has received and sent. None without a network, or where this user may not look.
    pub network: Option<Traffic>,
    /// How many processes there are.
    pub processes: u32,
}

/// Bytes over the guest's interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    pub received: u64,
    pub sent: u64,
}

/// What a machine uses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Stats {
    pub name: Name,
    /// Nanoseconds since the Unix epoch.
    pub time_ns: u64,
    /// Those that it has now, whatever its next start is to give it.
    pub cpus: u8,
    pub memory_mib: u32,
    pub usage: Usage,
    /// The guest's own figures. None if it did not tell in time.
    pub guest: Option<Status>,
}

pub(crate) async fn stats(inner: &Arc<Inner>, name: &Name) -> Result<Stats> {
    let info = list::one(inner, name).await?;
    // One whose VMM is too busy to answer has its figures all the same: they may say why.
    if matches!(info.state, State::Stopped | State::Starting) {
        return Err(Error::NotRunning(name.clone()));
    }
    let (files, record) = list::load(inner, name)?;
    let boot = record.boot();
    let usage = task::blocking(move |_| of(&boot).map_err(Error::system("look at a machine's processes")));
    let guest = async {
        // A frozen guest says nothing.
        if info.state == State::Paused {
            return None;
        }
        let asked = tokio::time::timeout(PATIENCE, control::status(&files, &record)).await;
        asked.ok()?.ok()
    };
    let (usage, guest) = tokio::join!(usage, guest);
    Ok(Stats {
        name: name.clone(),
        time_ns: crate::start::clock_ns(),
        cpus: info.spec.cpus,
        memory_mib: info.spec.memory_mib,
        usage: usage?,
        guest,
    })
}

/// The usage of a boot's processes and of all that they have started. Blocks.
fn of(boot: &Boot) -> io::Result<Usage> {
    let mut usage = Usage::default();
    for pid in process::family(boot)? {
        // One that ends meanwhile has used what it did; it is left out.
        let Some(one) = process_usage(pid) else { continue };
        usage.cpu_us += one.cpu_us;
        usage.memory += one.memory;
        usage.disk_read += one.disk_read;
        usage.disk_written += one.disk_written;
        usage.network = usage.network.or(one.network);
        usage.processes += 1;
    }
    Ok(usage)
}

fn process_usage(pid: Pid) -> Option<Usage> {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{}/{file}", pid.as_raw_nonzero()));
    let io = read("io").unwrap_or_default();
    Some(Usage {
        cpu_us: cpu_us(&read("stat").ok()?)?,
        memory: field(&read("smaps_rollup").unwrap_or_default(), "Pss:").unwrap_or(0) * 1024,
        disk_read: field(&io, "read_bytes:").unwrap_or(0),
        disk_written: field(&io, "write_bytes:").unwrap_or(0),
        network: traffic(&read("net/dev").unwrap_or_default()),
        processes: 1,
    })
}

/// Fields 14 and 15 of proc_pid_stat(5), in clock ticks; the name in field 2 may hold anything.
fn cpu_us(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let ticks: u64 = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(ticks * 1_000_000 / rustix::param::clock_ticks_per_second())
}

/// The number behind a label, at the start of a line.
fn field(text: &str, label: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(label))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

/// The line of the TAP device: what it receives, the guest has sent.
fn traffic(dev: &str) -> Option<Traffic> {
    let line = dev
        .lines()
        .find_map(|line| line.trim_start().strip_prefix(TAP)?.strip_prefix(':'))?;
    let mut fields = line.split_ascii_whitespace();
    let sent = fields.next()?.parse().ok()?;
    let received = fields.nth(7)?.parse().ok()?;
    Some(Traffic { received, sent })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_in_what_the_kernel_writes() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20";
        let per_second = rustix::param::clock_ticks_per_second();
        assert_eq!(cpu_us(stat), Some(200 * 1_000_000 / per_second));
        assert_eq!(cpu_us("7 (x) S 1"), None);
        assert_eq!(field("Rss: 9 kB\nPss:   1234 kB\n", "Pss:"), Some(1234));
        let dev = "Inter-|  Receive\n face |bytes\n    lo: 1 0 0 0 0 0 0 0 1 0\n  knaller0: 500 3 0 0 0 0 0 0 900 4 0 0 0 0 0 0\n";
        let expected = Traffic {
            received: 900,
            sent: 500,
        };
        assert_eq!(traffic(&dev.replace("knaller0", TAP)), Some(expected));
        assert_eq!(traffic("lo: 1\n"), None);
    }

    #[test]
    fn a_process_of_this_boot_and_its_children_are_counted() {
        let boot = Boot {
            instance: uuid::Uuid::new_v4().to_string(),
            user: None,
        };
        let vmm = process::stand_in::vmm("/run/x/api.sock".as_ref(), &boot.instance);
        let mut parent = process::stand_in::start(vmm, "sleep 1000 &");
        let usage = of(&boot).unwrap();
        assert_eq!(usage.processes, 2, "{usage:?}");
        assert!(usage.memory > 0, "{usage:?}");
        let family = process::family(&boot).unwrap();
        process::end(&boot, Duration::from_secs(60)).unwrap();
        parent.wait().unwrap();
        for pid in family {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

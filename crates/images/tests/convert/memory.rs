//! What converting takes of memory, measured in a process of its own.

use std::io::Read;

use images::Task;
use images::convert::{Limits, convert};
use images::layer::{self, Expected, Layer};
use testkit::run;

use crate::archive::Entry;

/// Entries of the archive: a quarter of a million, since without optimisation more take long.
const ENTRIES: u64 = 250_000;
/// What may be taken, in KiB: for a million it would be 150 MiB, and there is a part that does not grow.
const MOST: u64 = (150 << 10) / 4 + (8 << 10);

/// An archive that is made while it is read: folders of a thousand files.
struct Many {
    header: Vec<u8>,
    next: u64,
    pending: Vec<u8>,
    at: usize,
}

impl Many {
    fn new() -> Self {
        // The header alone, without pax records.
        let header = Entry::file("f", "").bytes().split_off(1024);
        Self {
            header: header[..512].to_vec(),
            next: 0,
            pending: Vec::new(),
            at: 0,
        }
    }

    fn fill(&mut self) {
        self.pending.clear();
        self.at = 0;
        for number in (self.next..ENTRIES).take(1000) {
            let mut header = self.header.clone();
            let name = format!("folder-{:03}/file-{number:07}", number / 1000);
            header[..name.len()].copy_from_slice(name.as_bytes());
            header[148..156].copy_from_slice(b"        ");
            let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
            header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            self.pending.extend(header);
        }
        self.next += 1000;
    }
}

impl Read for Many {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.at == self.pending.len() {
            self.fill();
        }
        let count = (&self.pending[self.at..]).read(buffer)?;
        self.at += count;
        Ok(count)
    }
}

/// The most memory that this process has had, in KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// The child: not a test by itself.
#[test]
#[ignore = "run by the test below in a process of its own"]
fn converts_very_many() {
    let file = tempfile::tempfile().unwrap();
    let layer = Layer::open(Many::new(), Expected::default(), &layer::Limits::default());
    let done = convert([layer], [0; 16], &Limits::default(), &file, &Task::new()).unwrap();
    assert_eq!(done.entries, ENTRIES + ENTRIES / 1000);
    println!("peak={}", peak());
}

#[test]
fn very_many_entries_take_no_more_than_is_said() {
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    let output = run(child.args([
        "--exact",
        "memory::converts_very_many",
        "--ignored",
        "--nocapture",
    ]));
    let peak = output.stdout.lines().find_map(|line| line.strip_prefix("peak="));
    let peak: u64 = peak.unwrap_or_else(|| panic!("{output}")).parse().unwrap();
    assert!(peak < MOST, "{peak} KiB");
}

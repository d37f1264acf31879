//! The guest's console.

use std::path::Path;

use serde_json::{Value, json};

use super::machine::{BOOT_ARGS, Machine};

fn last_line(metrics: &Path) -> Value {
    let lines = std::fs::read_to_string(metrics).unwrap();
    serde_json::from_str(lines.lines().last().unwrap()).unwrap()
}

#[test]
fn what_is_typed_reaches_the_guest_and_its_output_comes_back() {
    let mut machine = Machine::booted(&[]);
    assert_eq!(machine.run("echo $((6 * 7)); false"), ("42".to_owned(), 1));
}

#[test]
fn the_console_can_go_to_a_file() {
    let mut machine = Machine::start(&[]);
    let file = machine.path("console.log");
    machine.put("/serial", &json!({ "serial_out_path": file }));
    machine.boot_source(&format!("{BOOT_ARGS} init=/none rdinit=/none panic=-1"));
    machine.action("InstanceStart");
    assert_eq!(machine.exit_code(), 160, "{}", machine.output);
    let console = std::fs::read_to_string(file).unwrap();
    assert!(console.contains("Kernel panic - not syncing"), "{console}");
    assert!(!machine.output.contains("end Kernel panic"), "{}", machine.output);
}

/// Nobody reads the named pipe while the guest writes more than it, and what waits for it, hold; the guest goes on all
/// the same, and what did not fit is counted.
#[test]
fn a_reader_that_takes_nothing_does_not_stop_the_guest() {
    let mut machine = Machine::start(&[]);
    let fifo = machine.path("console.fifo");
    let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU);
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, kind, mode, 0).unwrap();
    machine.put("/serial", &json!({ "serial_out_path": fifo }));
    let metrics = machine.path("metrics");
    machine.put("/metrics", &json!({ "metrics_path": metrics }));
    machine.boot_source(&format!("{BOOT_ARGS} first=\"yes | head -c 1500000; reboot -f\""));
    machine.action("InstanceStart");
    assert_eq!(machine.exit_code(), 0, "{}", machine.output);
    let uart = last_line(&metrics)["uart"].clone();
    assert!(uart["missed_write_count"].as_u64() > Some(300_000), "{uart}");
    assert!(uart["write_count"].as_u64() > Some(1_000_000), "{uart}");
}

#[test]
fn the_console_can_be_limited() {
    let mut machine = Machine::start(&[]);
    let metrics = machine.path("metrics");
    machine.put("/metrics", &json!({ "metrics_path": metrics }));
    let limiter = json!({ "size": 64, "refill_time": 3_600_000 });
    machine.put("/serial", &json!({ "rate_limiter": limiter }));
    machine.boot_source(&format!("{BOOT_ARGS} rdinit=/none"));
    machine.action("InstanceStart");
    assert_eq!(machine.exit_code(), 160, "{}", machine.output);
    let uart = last_line(&metrics)["uart"].clone();
    assert_eq!(uart["write_count"], 64);
    assert!(uart["rate_limiter_dropped_bytes"].as_u64() > Some(100), "{uart}");
}

/// Standard output is a file here, as under knaller: its end stays where it is, and what is older takes no room.
#[test]
fn of_a_console_in_a_file_only_the_end_is_kept() {
    use std::os::unix::fs::{FileExt, MetadataExt};

    let console = tempfile::NamedTempFile::new().unwrap();
    let limit = 256 << 10;
    let to = console.reopen().unwrap();
    let mut machine = Machine::start_into(to, &["--keep-output", &limit.to_string()]);
    machine.boot_source(&format!("{BOOT_ARGS} first=\"seq 1000000 1150000; reboot -f\""));
    machine.action("InstanceStart");
    assert_eq!(machine.exit_code(), 0);
    let file = console.as_file().metadata().unwrap();
    assert!(file.len() > 1 << 20, "{} bytes", file.len());
    assert!(file.blocks() * 512 < 2 * limit, "{} blocks", file.blocks());
    let mut end = vec![0; 128 << 10];
    let from = file.len() - end.len() as u64;
    console.as_file().read_exact_at(&mut end, from).unwrap();
    let end = String::from_utf8(end).unwrap();
    let numbers: Vec<u32> = end.lines().skip(1).map_while(|line| line.parse().ok()).collect();
    assert!(numbers.len() > 10_000, "{} lines", numbers.len());
    assert!(numbers.is_sorted_by(|one, next| one + 1 == *next), "{end}");
}

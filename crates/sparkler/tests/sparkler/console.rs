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

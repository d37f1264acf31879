//! The log, the metrics, the balloon's statistics: what is told of a machine.

use std::fs;
use std::time::Instant;

use serde_json::{Value, json};

use super::machine::{BOOT_ARGS, Machine, PATIENCE};

fn lines(path: &std::path::Path) -> Vec<Value> {
    fs::read_to_string(path)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn metrics_are_lines_with_every_group() {
    let mut machine = Machine::start(&["--id", "counted"]);
    let path = machine.path("metrics");
    let config = json!({ "metrics_path": path, "emit_id": true, "properties": { "customer": "7" } });
    machine.put("/metrics", &config);
    let twice = machine.refused("PUT", "/metrics", &config);
    assert_eq!(
        twice,
        "Metrics error: Cannot initialize the metrics system due to bad user input: Reinitialization of metrics not allowed."
    );
    let disk = machine.file("disk", &vec![7; 1 << 20]);
    machine.put(
        "/drives/a",
        &json!({ "drive_id": "a", "path_on_host": disk, "is_root_device": false }),
    );
    machine.boot_source(BOOT_ARGS);
    machine.go();
    assert_eq!(lines(&path).len(), 1, "the start writes the first line");
    machine.sh("dd if=/dev/vda of=/dev/null bs=64k count=4 iflag=direct");
    machine.sh("dd if=/dev/zero of=/dev/vda bs=4k count=2 oflag=direct; sync");
    machine.patch("/vm", &json!({ "state": "Paused" }));
    machine.patch("/vm", &json!({ "state": "Resumed" }));
    machine.action("FlushMetrics");
    machine.action("FlushMetrics");
    let told = lines(&path);
    assert_eq!(told.len(), 3);
    let groups = [
        "api_server",
        "balloon",
        "block",
        "block_a",
        "deprecated_api",
        "get_api_requests",
        "i8042",
        "uart",
        "latencies_us",
        "logger",
        "mmds",
        "net",
        "patch_api_requests",
        "put_api_requests",
        "seccomp",
        "vcpu",
        "vmm",
        "signals",
        "vsock",
        "entropy",
        "pmem",
        "interrupts",
        "memory_hotplug",
    ];
    for (line, group) in told.iter().flat_map(|line| groups.map(|group| (line, group))) {
        assert!(line[group].is_object(), "no {group} in {line}");
    }
    assert_eq!(
        (&told[0]["id"], &told[0]["properties"]["customer"]),
        (&json!("counted"), &json!("7"))
    );
    assert!(told[0]["utc_timestamp_ms"].as_u64() > Some(1_600_000_000_000));
    assert_eq!(told[0]["put_api_requests"]["metrics_count"], 2);
    assert!(
        told[1]["block_a"]["read_bytes"].as_u64() >= Some(4 << 16),
        "{}",
        told[1]["block_a"]
    );
    assert_eq!(
        (
            &told[1]["block_a"]["write_bytes"],
            &told[1]["block"]["write_bytes"]
        ),
        (&json!(8192), &json!(8192))
    );
    assert!(told[1]["latencies_us"]["pause_vm"].as_u64() > Some(0));
    assert!(told[1]["uart"]["read_count"].as_u64() > Some(10));
    // Nothing happened between the last two but the second action.
    assert_eq!(told[2]["block_a"]["read_bytes"], 0);
    assert_eq!(told[2]["put_api_requests"]["actions_count"], 1);
    let raw = fs::read_to_string(&path).unwrap();
    assert!(raw.starts_with("{\"utc_timestamp_ms\":"));
    machine.type_line("reboot -f");
    assert_eq!(machine.exit_code(), 0);
    assert_eq!(lines(&path).len(), 4, "the end writes the last line");
}

#[test]
fn the_log_is_where_and_as_it_was_asked_for() {
    let mut machine = Machine::start(&["--id", "logged", "--boot-timer", "--no-seccomp"]);
    let path = machine.path("log");
    let logger = json!({ "log_path": path, "level": "Debug", "show_level": true, "show_log_origin": true });
    machine.put("/logger", &logger);
    let refused = machine.refused("PUT", "/logger", &json!({ "log_path": "/nowhere/log" }));
    assert_eq!(
        refused,
        "Logger error: Failed to open target file: No such file or directory (os error 2)"
    );
    machine.boot_source(BOOT_ARGS);
    machine.go();
    let log = fs::read_to_string(&path).unwrap();
    assert!(
        log.contains("[logged:main:INFO:crates/firecracker-api/src/server/service.rs:"),
        "{log}"
    );
    assert!(
        machine
            .output
            .contains("--boot-timer has no effect: QEMU has no boot timer device")
    );
    assert!(machine.output.contains("--no-seccomp has no effect"));
}

#[test]
fn the_balloon_takes_memory_and_tells_of_it() {
    let mut machine = Machine::start(&[]);
    machine.put(
        "/machine-config",
        &json!({ "vcpu_count": 1, "mem_size_mib": 256 }),
    );
    let balloon = json!({ "amount_mib": 64, "deflate_on_oom": true, "stats_polling_interval_s": 1 });
    machine.put("/balloon", &balloon);
    machine.boot_source(BOOT_ARGS);
    machine.go();
    let free = |machine: &mut Machine| -> u64 {
        let line = machine.sh("grep MemFree /proc/meminfo");
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    // The guest gives pages up in its own time.
    let statistics = |machine: &mut Machine, wanted: u64| {
        let start = Instant::now();
        loop {
            let statistics = machine.get("/balloon/statistics");
            if statistics["actual_mib"] == wanted && statistics["free_memory"].is_u64() {
                return statistics;
            }
            assert!(start.elapsed() < PATIENCE, "{statistics}");
            machine.sh("sleep 0.2");
        }
    };
    let full = statistics(&mut machine, 64);
    assert_eq!(
        (&full["target_mib"], &full["target_pages"]),
        (&json!(64), &json!(16384))
    );
    let before = free(&mut machine);
    machine.patch("/balloon", &json!({ "amount_mib": 16 }));
    assert_eq!(machine.get("/balloon")["amount_mib"], 16);
    statistics(&mut machine, 16);
    let after = free(&mut machine);
    assert!(
        after > before + (40 << 10),
        "{before} KiB free before, {after} after"
    );
    machine.patch("/balloon/statistics", &json!({ "stats_polling_interval_s": 2 }));
    let off = machine.refused(
        "PATCH",
        "/balloon/statistics",
        &json!({ "stats_polling_interval_s": 0 }),
    );
    assert_eq!(
        off,
        "Balloon update error: Balloon: Statistics cannot be enabled/disabled after activation."
    );
}

#[test]
fn entropy_reaches_the_guest() {
    let mut machine = Machine::start(&[]);
    let limiter = json!({ "bandwidth": { "size": 4096, "refill_time": 100 } });
    machine.put("/entropy", &json!({ "rate_limiter": limiter }));
    machine.boot_source(BOOT_ARGS);
    machine.go();
    assert!(
        machine
            .sh("cat /sys/class/misc/hw_random/rng_current")
            .starts_with("virtio_rng")
    );
    assert_eq!(machine.sh("head -c 256 /dev/hwrng | wc -c"), "256");
}

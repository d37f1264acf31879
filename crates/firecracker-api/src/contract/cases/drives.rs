//! Block devices.
//!
//! Sources: `src/vmm/src/vmm_config/drive.rs`, `src/vmm/src/devices/virtio/block/` (`mod.rs`, `device.rs`,
//! `virtio/mod.rs`), `src/vmm/src/device_manager/mod.rs` (hot-plug), `src/vmm/src/rpc_interface.rs`
//! (`update_block_device`).

use serde_json::{Value, json};

use super::NO_DEVICE;
use crate::contract::Files;
use crate::contract::case::{Case, Phase, Step, delete, get, patch, put};

pub(super) const CASES: &[Case] = &[
    Case::new("drives/set and replaced", Phase::NotStarted, set),
    Case::new("drives/limits", Phase::NotStarted, limits),
    Case::new("drives/the root is first and one", Phase::NotStarted, root),
    Case::new("drives/a file or a process", Phase::NotStarted, file_or_process),
    Case::new("drives/malformed", Phase::NotStarted, malformed),
    Case::new(
        "drives/changed before the start",
        Phase::NotStarted,
        changed_early,
    ),
    Case::new("drives/changed", Phase::Running, changed).prepared(one_drive),
    Case::new("drives/changed while paused", Phase::Paused, changed_file).prepared(one_drive),
    Case::new("drives/changed for the worse", Phase::Running, changed_badly).prepared(one_drive),
    Case::new("drives/plugged without PCI", Phase::Running, plugged),
];

fn drive(id: &str, path: &str, root: bool) -> Value {
    json!({"drive_id": id, "path_on_host": path, "is_root_device": root, "is_read_only": false})
}

/// The drive as `GET /vm/config` shows it.
fn shown(id: &str, path: &str, root: bool) -> Value {
    json!({
        "drive_id": id, "partuuid": null, "is_root_device": root, "cache_type": "Unsafe", "is_read_only": false,
        "path_on_host": path, "rate_limiter": null, "io_engine": "Sync", "socket": null,
    })
}

fn one_drive(files: &Files) -> Vec<Step> {
    vec![put("/drives/d", drive("d", &files.drive, false)).done()]
}

fn set(files: &Files) -> Vec<Step> {
    let mut detailed = drive("a", &files.other_drive, false);
    detailed["is_read_only"] = json!(true);
    detailed["partuuid"] = json!("0eaa91a0-01");
    detailed["cache_type"] = json!("Writeback");
    detailed["io_engine"] = json!("Sync");
    let mut shown_detailed = shown("a", &files.other_drive, false);
    for name in ["is_read_only", "partuuid", "cache_type"] {
        shown_detailed[name] = detailed[name].clone();
    }
    vec![
        put(
            "/drives/a",
            json!({"drive_id": "a", "path_on_host": files.drive, "is_root_device": false}),
        )
        .done(),
        get("/vm/config").members([("/drives", json!([shown("a", &files.drive, false)]))]),
        put("/drives/b", drive("b", &files.drive, false)).done(),
        put("/drives/a", detailed).done(),
        get("/vm/config").members([(
            "/drives",
            json!([shown_detailed, shown("b", &files.drive, false)]),
        )]),
    ]
}

fn limits(files: &Files) -> Vec<Step> {
    let limited = |limiter: Value| {
        let mut drive = drive("a", &files.drive, false);
        drive["rate_limiter"] = limiter;
        put("/drives/a", drive).done()
    };
    let shows = |limiter: Value| get("/vm/config").members([("/drives/0/rate_limiter", limiter)]);
    let bucket = json!({"size": 1_000_000, "one_time_burst": 5, "refill_time": 100});
    vec![
        limited(json!({"bandwidth": bucket})),
        shows(json!({"bandwidth": bucket, "ops": null})),
        // A burst of nothing is none; a bucket that cannot limit is none either.
        limited(json!({
            "bandwidth": {"size": 0, "refill_time": 100},
            "ops": {"size": 10, "one_time_burst": 0, "refill_time": 100},
        })),
        shows(json!({"bandwidth": null, "ops": {"size": 10, "one_time_burst": null, "refill_time": 100}})),
        limited(json!({"ops": {"size": 10, "refill_time": 0}})),
        shows(json!(null)),
        limited(json!({"ops": {"size": 10, "refill_time": 18_446_744_073_710_u64}})),
        shows(json!(null)),
        limited(json!({})),
        shows(json!(null)),
    ]
}

fn root(files: &Files) -> Vec<Step> {
    vec![
        put("/drives/data", drive("data", &files.drive, false)).done(),
        put("/drives/root", drive("root", &files.drive, true)).done(),
        get("/vm/config").members([
            ("/drives/0/drive_id", json!("root")),
            ("/drives/1/drive_id", json!("data")),
        ]),
        put("/drives/data", drive("data", &files.drive, true))
            .fault("Drive config error: A root block device already exists!"),
        put("/drives/third", drive("third", &files.drive, true))
            .fault("Drive config error: A root block device already exists!"),
        put("/drives/root", drive("root", &files.other_drive, false)).done(),
        put("/drives/data", drive("data", &files.drive, true)).done(),
        get("/vm/config").members([(
            "/drives",
            json!([
                shown("data", &files.drive, true),
                shown("root", &files.other_drive, false),
            ]),
        )]),
    ]
}

fn file_or_process(files: &Files) -> Vec<Step> {
    let missing = format!("{}/contract-missing", files.folder);
    let wrong = "Drive config error: Unable to create the virtio block device: Invalid block config.";
    let with = |mut drive: Value, name: &str, value: Value| {
        drive[name] = value;
        drive
    };
    let process = json!({"drive_id": "a", "is_root_device": false, "socket": missing});
    vec![
        put("/drives/a", json!({"drive_id": "a", "is_root_device": false})).fault(wrong),
        put("/drives/a", with(drive("a", &files.drive, false), "socket", json!("s"))).fault(wrong),
        put("/drives/a", with(process.clone(), "is_read_only", json!(true))).fault(wrong),
        put("/drives/a", with(process.clone(), "io_engine", json!("Sync"))).fault(wrong),
        put("/drives/a", with(process, "rate_limiter", json!({}))).fault(wrong),
        put("/drives/a", drive("a", &missing, false)).fault(format!(
            "Drive config error: Unable to create the virtio block device: Virtio backend error: Error manipulating the \
             backing file: No such file or directory (os error 2) {missing}"
        )),
        get("/vm/config").members([("/drives", json!([]))]),
    ]
}

fn malformed(_: &Files) -> Vec<Step> {
    vec![
        put("/drives/a", r#"{"drive_id":"a"}"#)
            .malformed("missing field `is_root_device` at line 1 column 16"),
        put("/drives/a", r#"{"drive_id":"a","is_root_device":1}"#)
            .malformed("invalid type: integer `1`, expected a boolean at line 1 column 34"),
        put("/drives/a", r#"{"drive_id":"a","is_root_device":true,"size":1}"#).malformed(
            "unknown field `size`, expected one of `drive_id`, `partuuid`, `is_root_device`, `cache_type`, \
             `is_read_only`, `path_on_host`, `rate_limiter`, `io_engine`, `socket` at line 1 column 44",
        ),
        put(
            "/drives/a",
            r#"{"drive_id":"a","is_root_device":true,"cache_type":"Fast"}"#,
        )
        .malformed("unknown variant `Fast`, expected `Unsafe` or `Writeback` at line 1 column 57"),
        put(
            "/drives/a",
            r#"{"drive_id":"a","is_root_device":true,"io_engine":"Fast"}"#,
        )
        .malformed("unknown variant `Fast`, expected `Async` or `Sync` at line 1 column 56"),
        put(
            "/drives/a",
            r#"{"drive_id":"a","is_root_device":true,"rate_limiter":{"iops":{}}}"#,
        )
        .malformed("unknown field `iops`, expected `bandwidth` or `ops` at line 1 column 60"),
        put(
            "/drives/a",
            r#"{"drive_id":"a","is_root_device":true,"rate_limiter":{"ops":{"size":1}}}"#,
        )
        .malformed("missing field `refill_time` at line 1 column 70"),
    ]
}

fn changed_early(files: &Files) -> Vec<Step> {
    vec![
        put("/drives/d", drive("d", &files.drive, false)).done(),
        patch("/drives/d", json!({"drive_id": "d", "path_on_host": files.drive})).not_before_start(),
        delete("/drives/d").not_before_start(),
    ]
}

fn changed_file(files: &Files) -> Vec<Step> {
    vec![
        get("/vm/config").members([("/drives", json!([shown("d", &files.drive, false)]))]),
        patch(
            "/drives/d",
            json!({"drive_id": "d", "path_on_host": files.other_drive}),
        )
        .done(),
        get("/vm/config").members([("/drives", json!([shown("d", &files.other_drive, false)]))]),
    ]
}

fn changed(files: &Files) -> Vec<Step> {
    let bandwidth = json!({"size": 1_000_000, "one_time_burst": null, "refill_time": 100});
    let ops = json!({"size": 50, "one_time_burst": 7, "refill_time": 1000});
    let shows = |limiter: Value| get("/vm/config").members([("/drives/0/rate_limiter", limiter)]);
    let limit = |limiter: Value| patch("/drives/d", json!({"drive_id": "d", "rate_limiter": limiter})).done();
    let mut steps = changed_file(files);
    steps.extend([
        limit(json!({"bandwidth": bandwidth})),
        shows(json!({"bandwidth": bandwidth, "ops": null})),
        // Bucket by bucket: what is not named stays.
        limit(json!({"ops": ops})),
        shows(json!({"bandwidth": bandwidth, "ops": ops})),
        limit(json!({"bandwidth": {"size": 0, "refill_time": 0}})),
        shows(json!({"bandwidth": null, "ops": ops})),
        limit(json!({"ops": {"size": 0, "refill_time": 0}})),
        shows(json!(null)),
    ]);
    steps
}

fn changed_badly(files: &Files) -> Vec<Step> {
    let missing = format!("{}/contract-missing", files.folder);
    let unable = |why: &str| {
        format!(
            "Drive config error: Unable to patch the block device: {why} Please verify the request arguments."
        )
    };
    vec![
        patch("/drives/none", json!({"drive_id": "none", "path_on_host": files.drive})).fault(unable(NO_DEVICE)),
        patch("/drives/d", r#"{"drive_id":"d"}"#)
            .fault(unable("Block: Running method expected different backend.")),
        patch("/drives/d", json!({"drive_id": "d", "path_on_host": missing})).fault(unable(&format!(
            "Block: Virtio backend error: Error manipulating the backing file: No such file or directory (os error 2) \
             {missing}"
        ))),
        patch("/drives/d", r#"{"drive_id":"d","is_read_only":true}"#).malformed(
            "unknown field `is_read_only`, expected one of `drive_id`, `path_on_host`, `rate_limiter` at line 1 column 30",
        ),
        patch("/drives/d", "{}").malformed("missing field `drive_id` at line 1 column 2"),
        get("/vm/config").members([("/drives", json!([shown("d", &files.drive, false)]))]),
    ]
}

/// `--enable-pci` was not given.
fn plugged(files: &Files) -> Vec<Step> {
    vec![
        put("/drives/d", drive("d", &files.drive, false)).fault("PCI is not enabled"),
        delete("/drives/d").fault("PCI is not enabled"),
        get("/vm/config").members([("/drives", json!([]))]),
    ]
}

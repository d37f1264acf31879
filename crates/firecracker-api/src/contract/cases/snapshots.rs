//! Snapshots.
//!
//! Sources: `src/firecracker/src/api_server/request/snapshot.rs`, `src/vmm/src/vmm_config/snapshot.rs`,
//! `src/vmm/src/persist.rs`, `src/vmm/src/vstate/vcpu.rs`, `src/vmm/src/rpc_interface.rs` (`LoadSnapshotError`).

use serde_json::{Value, json};

use super::small_machine;
use crate::contract::case::{Case, Phase, Step, get, patch, put};
use crate::contract::{Capability, Files};

pub(super) const CASES: &[Case] = &[
    Case::new("snapshot/malformed", Phase::NotStarted, malformed),
    Case::new("snapshot/made before the start", Phase::NotStarted, made_early),
    Case::new("snapshot/made while running", Phase::Running, made_running).needs(&[Capability::Snapshots]),
    Case::new("snapshot/made", Phase::Paused, made).needs(&[Capability::Snapshots]),
    Case::new("snapshot/made and loaded", Phase::Paused, made_once)
        .needs(&[Capability::Snapshots])
        .then(loaded),
    Case::new(
        "snapshot/made and loaded to run at once",
        Phase::Paused,
        made_once,
    )
    .needs(&[Capability::Snapshots])
    .then(loaded_running_at_once),
    Case::new("snapshot/made of what was written", Phase::Paused, made_diff)
        .needs(&[Capability::Snapshots])
        .then(loaded),
    Case::new("snapshot/loaded with unknown devices", Phase::Paused, made_once)
        .needs(&[Capability::Snapshots])
        .then(loaded_with_unknown_network),
    Case::new(
        "snapshot/loaded with a socket it has no device for",
        Phase::Paused,
        made_once,
    )
    .needs(&[Capability::Snapshots])
    .then(loaded_with_unknown_vsock),
    Case::new("snapshot/loaded without its memory", Phase::Paused, made_once)
        .needs(&[Capability::Snapshots])
        .then(loaded_without_memory),
    Case::new(
        "snapshot/loaded with a socket of its own",
        Phase::Paused,
        made_once,
    )
    .prepared(vsock)
    .needs(&[Capability::Snapshots])
    .then(loaded_with_other_vsock),
    Case::new("snapshot/loaded with its drive", Phase::Paused, made_once)
        .prepared(drive)
        .needs(&[Capability::Snapshots])
        .then(loaded_with_other_drive),
    Case::new("snapshot/that cannot be made", Phase::Paused, not_made).lacks(Capability::Snapshots),
    Case::new(
        "snapshot/loaded after other things",
        Phase::NotStarted,
        loaded_late,
    )
    .needs(&[Capability::Snapshots]),
    Case::new(
        "snapshot/loaded after a drive",
        Phase::NotStarted,
        loaded_after_a_drive,
    )
    .needs(&[Capability::Snapshots]),
    Case::new(
        "snapshot/loaded after metadata",
        Phase::NotStarted,
        loaded_after_metadata,
    )
    .needs(&[Capability::Snapshots]),
    Case::new(
        "snapshot/loaded from nowhere",
        Phase::NotStarted,
        loaded_from_nowhere,
    )
    .needs(&[Capability::Snapshots]),
    Case::new(
        "snapshot/loaded by an old name",
        Phase::NotStarted,
        loaded_by_an_old_name,
    )
    .needs(&[Capability::Snapshots]),
    Case::new("snapshot/that cannot be loaded", Phase::NotStarted, not_loaded).lacks(Capability::Snapshots),
    Case::new("snapshot/loaded while running", Phase::Running, loaded_running),
];

fn target(files: &Files) -> Value {
    json!({
        "snapshot_path": format!("{}/contract-state", files.folder),
        "mem_file_path": format!("{}/contract-memory", files.folder),
    })
}

fn source(files: &Files) -> Value {
    json!({
        "snapshot_path": format!("{}/contract-missing", files.folder),
        "mem_backend": {"backend_type": "File", "backend_path": format!("{}/contract-missing", files.folder)},
    })
}

fn malformed(_: &Files) -> Vec<Step> {
    let create = |body: &str| put("/snapshot/create", body);
    let load = |body: &str| put("/snapshot/load", body);
    vec![
        create(r#"{"snapshot_path":"s"}"#).malformed("missing field `mem_file_path` at line 1 column 21"),
        create(r#"{"snapshot_path":"s","mem_file_path":"m","snapshot_type":"Half"}"#)
            .malformed("unknown variant `Half`, expected `Diff` or `Full` at line 1 column 63"),
        create(r#"{"snapshot_path":"s","mem_file_path":"m","version":"1.0"}"#).malformed(
            "unknown field `version`, expected one of `snapshot_type`, `snapshot_path`, `mem_file_path` at line 1 column \
             50",
        ),
        load(r#"{"snapshot_path":"s"}"#)
            .malformed("missing field: either `mem_backend` or `mem_file_path` is required"),
        load(r#"{"snapshot_path":"s","mem_file_path":"m","mem_backend":{"backend_type":"File","backend_path":"m"}}"#)
            .malformed("too many fields: either `mem_backend` or `mem_file_path` exclusively is required"),
        load(r#"{"mem_file_path":"m"}"#).malformed("missing field `snapshot_path` at line 1 column 21"),
        load(r#"{"snapshot_path":"s","mem_backend":{"backend_path":"m"}}"#)
            .malformed("missing field `backend_type` at line 1 column 55"),
        load(r#"{"snapshot_path":"s","mem_backend":{"backend_type":"foo","backend_path":"m"}}"#)
            .malformed("unknown variant `foo`, expected `File` or `Uffd` at line 1 column 56"),
        load(r#"{"snapshot_path":"s","mem_file_path":"m","huge_pages":"1G"}"#).malformed(
            "unknown variant `1G`, expected one of `Snapshot`, `None`, `Transparent`, `2M` at line 1 column 58",
        ),
        load(r#"{"snapshot_path":"s","mem_file_path":"m","pause":true}"#)
            .malformed_beginning("unknown field `pause`, expected one of `snapshot_path`, `mem_file_path`, "),
    ]
}

fn made_early(files: &Files) -> Vec<Step> {
    vec![put("/snapshot/create", target(files)).not_before_start()]
}

fn made_running(files: &Files) -> Vec<Step> {
    vec![put("/snapshot/create", target(files)).fault(
        "Create snapshot error: Cannot save the microVM state: Operation not allowed: save/restore unavailable while \
         running",
    )]
}

fn made(files: &Files) -> Vec<Step> {
    let mut nowhere = target(files);
    nowhere["snapshot_path"] = json!(format!("{}/contract-missing/state", files.folder));
    vec![
        put("/snapshot/create", nowhere).fault(
            "Create snapshot error: Cannot perform open on the snapshot backing file: No such file or directory (os \
             error 2)",
        ),
        put("/snapshot/create", target(files)).done(),
        get("/").members([("/state", json!("Paused"))]),
        put("/snapshot/create", target(files)).done(),
    ]
}

fn made_once(files: &Files) -> Vec<Step> {
    vec![put("/snapshot/create", target(files)).done()]
}

fn made_source(files: &Files) -> Value {
    json!({
        "snapshot_path": target(files)["snapshot_path"],
        "mem_backend": {"backend_type": "File", "backend_path": target(files)["mem_file_path"]},
    })
}

fn loaded(files: &Files) -> Vec<Step> {
    vec![
        put("/snapshot/load", made_source(files)).done(),
        get("/").members([("/state", json!("Paused"))]),
        get("/machine-config").members([("/vcpu_count", json!(1)), ("/mem_size_mib", json!(256))]),
        put("/snapshot/load", made_source(files)).not_after_start(),
        patch("/vm", r#"{"state":"Resumed"}"#).done(),
        get("/").members([("/state", json!("Running"))]),
    ]
}

/// The memory of a guest that was booted, as far as it was written, is all of it.
fn made_diff(files: &Files) -> Vec<Step> {
    let mut target = target(files);
    target["snapshot_type"] = json!("Diff");
    vec![put("/snapshot/create", target).done()]
}

fn loaded_with_unknown_network(files: &Files) -> Vec<Step> {
    let mut source = made_source(files);
    source["network_overrides"] = json!([{"iface_id": "nobody", "host_dev_name": "tap0"}]);
    vec![put("/snapshot/load", source).fault(
        "Load snapshot error: Failed to restore from snapshot: Failed to get snapshot state from file: Unknown Network \
         Device.",
    )]
}

fn loaded_with_unknown_vsock(files: &Files) -> Vec<Step> {
    let mut source = made_source(files);
    source["vsock_override"] = json!({"uds_path": format!("{}/contract-other", files.folder)});
    vec![put("/snapshot/load", source).fault(
        "Load snapshot error: Failed to restore from snapshot: Failed to get snapshot state from file: Unknown Vsock \
         Device.",
    )]
}

fn loaded_without_memory(files: &Files) -> Vec<Step> {
    let mut source = made_source(files);
    source["mem_backend"]["backend_path"] = json!(format!("{}/contract-missing", files.folder));
    vec![put("/snapshot/load", source).fault(
        "Load snapshot error: Failed to restore from snapshot: Failed to load guest memory: Error creating guest memory \
         from file: Failed to load guest memory: No such file or directory (os error 2)",
    )]
}

fn vsock(files: &Files) -> Vec<Step> {
    let path = format!("{}/contract-vsock", files.folder);
    vec![put("/vsock", json!({"guest_cid": 3, "uds_path": path})).done()]
}

fn loaded_with_other_vsock(files: &Files) -> Vec<Step> {
    let other = format!("{}/contract-other", files.folder);
    let mut source = made_source(files);
    source["vsock_override"] = json!({ "uds_path": other });
    vec![
        put("/snapshot/load", source).done(),
        get("/vm/config").members([("/vsock/uds_path", json!(other)), ("/vsock/guest_cid", json!(3))]),
    ]
}

fn drive(files: &Files) -> Vec<Step> {
    let body = json!({"drive_id": "data", "path_on_host": files.drive, "is_root_device": false});
    vec![put("/drives/data", body).done()]
}

/// A guest that was loaded may get another drive before it goes on.
fn loaded_with_other_drive(files: &Files) -> Vec<Step> {
    let other = json!({"drive_id": "data", "path_on_host": files.other_drive});
    vec![
        put("/snapshot/load", made_source(files)).done(),
        get("/vm/config").members([("/drives/0/path_on_host", json!(files.drive))]),
        patch("/drives/data", other).done(),
        get("/vm/config").members([("/drives/0/path_on_host", json!(files.other_drive))]),
        patch("/vm", r#"{"state":"Resumed"}"#).done(),
    ]
}

fn loaded_running_at_once(files: &Files) -> Vec<Step> {
    let mut source = made_source(files);
    source["resume_vm"] = json!(true);
    vec![
        put("/snapshot/load", source).done(),
        get("/").members([("/state", json!("Running"))]),
        patch("/vm", r#"{"state":"Paused"}"#).done(),
    ]
}

fn not_made(files: &Files) -> Vec<Step> {
    vec![
        put("/snapshot/create", target(files)).refused(),
        get("/").members([("/state", json!("Paused"))]),
    ]
}

fn loaded_late(files: &Files) -> Vec<Step> {
    vec![
        put("/machine-config", small_machine()).done(),
        put("/snapshot/load", source(files)).fault(
            "Load snapshot error: Loading a microVM snapshot not allowed after configuring boot-specific resources.",
        ),
        get("/").members([("/state", json!("Not started"))]),
    ]
}

fn loaded_after_a_drive(files: &Files) -> Vec<Step> {
    let mut steps = drive(files);
    steps.push(put("/snapshot/load", source(files)).fault(
        "Load snapshot error: Loading a microVM snapshot not allowed after configuring boot-specific resources.",
    ));
    steps
}

/// Metadata are no part of a snapshot and may be there before.
fn loaded_after_metadata(files: &Files) -> Vec<Step> {
    let mut steps = vec![put("/mmds", r#"{"a":"b"}"#).done()];
    steps.extend(loaded_from_nowhere(files));
    steps
}

/// The server may end after this answer.
fn loaded_from_nowhere(files: &Files) -> Vec<Step> {
    vec![put("/snapshot/load", source(files)).fault(
        "Load snapshot error: Failed to restore from snapshot: Failed to get snapshot state from file: Failed to open \
         snapshot file: No such file or directory (os error 2)",
    )]
}

fn loaded_by_an_old_name(files: &Files) -> Vec<Step> {
    let missing = format!("{}/contract-missing", files.folder);
    vec![
        put("/machine-config", small_machine()).done(),
        put(
            "/snapshot/load",
            json!({"snapshot_path": missing, "mem_file_path": missing}),
        )
        .fault_beginning("Load snapshot error: Loading a microVM snapshot not allowed")
        .deprecated(),
    ]
}

fn not_loaded(files: &Files) -> Vec<Step> {
    vec![put("/snapshot/load", source(files)).refused()]
}

fn loaded_running(files: &Files) -> Vec<Step> {
    vec![put("/snapshot/load", source(files)).not_after_start()]
}

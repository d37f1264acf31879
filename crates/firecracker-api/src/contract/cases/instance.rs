//! The VM as a whole.
//!
//! Sources: `src/vmm/src/vmm_config/instance_info.rs`, `src/vmm/src/resources.rs` (`VmmConfig`),
//! `src/firecracker/src/api_server/request/{actions,snapshot,version}.rs`, `src/vmm/src/rpc_interface.rs`,
//! `src/vmm/src/builder.rs` (`StartMicrovmError`).

use serde_json::json;

use super::{boot_source, small_machine};
use crate::contract::case::{Case, Phase, Step, get, patch, put};
use crate::contract::{Capability, Files};

pub(super) const CASES: &[Case] = &[
    Case::new("instance/before the start", Phase::NotStarted, fresh),
    Case::new(
        "instance/a fresh configuration",
        Phase::NotStarted,
        fresh_configuration,
    ),
    Case::new("instance/running", Phase::Running, running),
    Case::new("instance/pausing and resuming", Phase::Running, pausing),
    Case::new("instance/paused", Phase::Paused, paused),
    Case::new("actions/malformed", Phase::NotStarted, malformed),
    Case::new("actions/before the start", Phase::NotStarted, actions_before),
    Case::new(
        "actions/start without a kernel",
        Phase::NotStarted,
        start_without_kernel,
    ),
    Case::new("actions/after the start", Phase::Running, actions_after),
    Case::new("actions/the keyboard", Phase::Running, keyboard).needs(&[Capability::Keyboard]),
    Case::new("vm/malformed", Phase::Running, vm_malformed),
];

fn fresh(_: &Files) -> Vec<Step> {
    vec![
        get("/").members([
            ("/state", json!("Not started")),
            ("/app_name", json!("Firecracker")),
        ]),
        get("/version").members([]),
        patch("/vm", r#"{"state":"Paused"}"#).not_before_start(),
        patch("/vm", r#"{"state":"Resumed"}"#).not_before_start(),
    ]
}

fn fresh_configuration(_: &Files) -> Vec<Step> {
    vec![get("/vm/config").json(json!({
        "balloon": null,
        "drives": [],
        "boot-source": {"kernel_image_path": "", "initrd_path": null, "boot_args": null},
        "cpu-config": null,
        "logger": null,
        "machine-config": {
            "vcpu_count": 1, "mem_size_mib": 128, "smt": false, "track_dirty_pages": false, "huge_pages": "None",
        },
        "metrics": null,
        "mmds-config": null,
        "network-interfaces": [],
        "vsock": null,
        "entropy": null,
        "pmem": [],
        "memory-hotplug": null,
    }))]
}

fn running(files: &Files) -> Vec<Step> {
    let mut source = boot_source(files);
    source["initrd_path"] = json!(files.initrd);
    vec![
        get("/").members([("/state", json!("Running"))]),
        get("/version").members([]),
        get("/machine-config").json(json!({
            "vcpu_count": 1, "mem_size_mib": 256, "smt": false, "track_dirty_pages": false, "huge_pages": "None",
        })),
        get("/vm/config").members([
            ("/boot-source", source),
            ("/machine-config/mem_size_mib", json!(256)),
            ("/drives", json!([])),
            ("/balloon", json!(null)),
        ]),
    ]
}

/// Pausing what is paused and resuming what runs is no fault (`src/vmm/src/vstate/vcpu.rs`).
fn pausing(_: &Files) -> Vec<Step> {
    let pause = || patch("/vm", r#"{"state":"Paused"}"#).done();
    let resume = || patch("/vm", r#"{"state":"Resumed"}"#).done();
    let state = |state: &str| get("/").members([("/state", json!(state))]);
    vec![
        resume(),
        state("Running"),
        pause(),
        state("Paused"),
        pause(),
        state("Paused"),
        resume(),
        state("Running"),
    ]
}

fn paused(_: &Files) -> Vec<Step> {
    vec![
        get("/").members([("/state", json!("Paused"))]),
        get("/vm/config").members([("/machine-config/vcpu_count", json!(1))]),
        put("/actions", r#"{"action_type":"InstanceStart"}"#).not_after_start(),
        patch("/vm", r#"{"state":"Resumed"}"#).done(),
        get("/").members([("/state", json!("Running"))]),
    ]
}

fn malformed(_: &Files) -> Vec<Step> {
    vec![
        put("/actions", r#"{"action_type":"Stop"}"#).malformed(
            "unknown variant `Stop`, expected one of `FlushMetrics`, `InstanceStart`, `SendCtrlAltDel` at line 1 column \
             21",
        ),
        put("/actions", r#"{"action_type":"InstanceStart","when":"now"}"#)
            .malformed("unknown field `when`, expected `action_type` at line 1 column 37"),
        put("/actions", "{}").malformed("missing field `action_type` at line 1 column 2"),
        put("/actions", r#"{"action_type":1}"#).malformed_beginning("expected value"),
    ]
}

fn actions_before(_: &Files) -> Vec<Step> {
    let mut steps = vec![put("/actions", r#"{"action_type":"FlushMetrics"}"#).not_before_start()];
    if cfg!(target_arch = "x86_64") {
        steps.push(put("/actions", r#"{"action_type":"SendCtrlAltDel"}"#).not_before_start());
    } else {
        steps.push(
            put("/actions", r#"{"action_type":"SendCtrlAltDel"}"#)
                .fault("SendCtrlAltDel does not supported on aarch64."),
        );
    }
    steps
}

fn start_without_kernel(_: &Files) -> Vec<Step> {
    vec![
        put("/machine-config", small_machine()).done(),
        put("/actions", r#"{"action_type":"InstanceStart"}"#)
            .fault("Start microvm error: Cannot start microvm without kernel configuration."),
        get("/").members([("/state", json!("Not started"))]),
        put("/machine-config", small_machine()).done(),
    ]
}

fn actions_after(_: &Files) -> Vec<Step> {
    vec![
        put("/actions", r#"{"action_type":"InstanceStart"}"#).not_after_start(),
        put("/actions", r#"{"action_type":"FlushMetrics"}"#).done(),
        put("/actions", r#"{"action_type":"Stop"}"#).malformed_beginning("unknown variant `Stop`"),
    ]
}

fn keyboard(_: &Files) -> Vec<Step> {
    vec![put("/actions", r#"{"action_type":"SendCtrlAltDel"}"#).done()]
}

fn vm_malformed(_: &Files) -> Vec<Step> {
    vec![
        patch("/vm", r#"{"state":"Stopped"}"#)
            .malformed("unknown variant `Stopped`, expected `Paused` or `Resumed` at line 1 column 18"),
        patch("/vm", r#"{"state":"Paused","now":true}"#)
            .malformed("unknown field `now`, expected `state` at line 1 column 23"),
        patch("/vm", "{}").malformed("missing field `state` at line 1 column 2"),
        get("/").members([("/state", json!("Running"))]),
    ]
}

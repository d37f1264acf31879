//! Persistent memory devices.
//!
//! Sources: `src/vmm/src/vmm_config/pmem.rs`, `src/vmm/src/rpc_interface.rs` (`update_pmem_device`).

use serde_json::{Value, json};

use super::NO_DEVICE;
use crate::contract::case::{Case, Phase, Step, delete, get, patch, put};
use crate::contract::{Capability, Files};

pub(super) const CASES: &[Case] = &[
    Case::new("pmem/malformed", Phase::NotStarted, malformed),
    Case::new("pmem/changed before the start", Phase::NotStarted, changed_early),
    Case::new("pmem/set and replaced", Phase::NotStarted, set).needs(&[Capability::Pmem]),
    Case::new("pmem/the root is one", Phase::NotStarted, root).needs(&[Capability::Pmem]),
    Case::new("pmem/that cannot be had", Phase::NotStarted, refused).lacks(Capability::Pmem),
    Case::new("pmem/changed", Phase::Running, changed)
        .needs(&[Capability::Pmem])
        .prepared(one_device),
    Case::new("pmem/changed for the worse", Phase::Running, changed_badly).needs(&[Capability::Pmem]),
    Case::new("pmem/plugged without PCI", Phase::Running, plugged),
];

fn pmem(id: &str, path: &str, root: bool) -> Value {
    json!({"id": id, "path_on_host": path, "root_device": root})
}

fn malformed(_: &Files) -> Vec<Step> {
    vec![
        put("/pmem/p", r#"{"id":"p"}"#).malformed("missing field `path_on_host` at line 1 column 10"),
        put("/pmem/p", r#"{"id":"p","path_on_host":"f","size":1}"#).malformed(
            "unknown field `size`, expected one of `id`, `path_on_host`, `root_device`, `read_only`, `rate_limiter` at \
             line 1 column 35",
        ),
        patch("/pmem/p", r#"{"id":"p","path_on_host":"f"}"#)
            .malformed("unknown field `path_on_host`, expected `id` or `rate_limiter` at line 1 column 24"),
    ]
}

fn changed_early(_: &Files) -> Vec<Step> {
    vec![
        patch("/pmem/p", r#"{"id":"p"}"#).not_before_start(),
        delete("/pmem/p").not_before_start(),
    ]
}

fn set(files: &Files) -> Vec<Step> {
    let bucket = json!({"size": 5, "one_time_burst": null, "refill_time": 100});
    vec![
        put(
            "/pmem/p",
            json!({"id": "p", "path_on_host": files.drive, "rate_limiter": {"ops": bucket}}),
        )
        .done(),
        get("/vm/config").members([(
            "/pmem",
            json!([{
                "id": "p", "path_on_host": files.drive, "root_device": false, "read_only": false,
                "rate_limiter": {"bandwidth": null, "ops": bucket},
            }]),
        )]),
        put(
            "/pmem/p",
            json!({"id": "p", "path_on_host": files.drive, "read_only": true}),
        )
        .done(),
        get("/vm/config").members([(
            "/pmem",
            json!([{
                "id": "p", "path_on_host": files.drive, "root_device": false, "read_only": true, "rate_limiter": null,
            }]),
        )]),
    ]
}

fn root(files: &Files) -> Vec<Step> {
    let drive = json!({"drive_id": "d", "path_on_host": files.drive, "is_root_device": true});
    vec![
        put("/pmem/p", pmem("p", &files.drive, true)).done(),
        put("/pmem/q", pmem("q", &files.drive, true)).fault("Pmem config error: A root pmem device already exist"),
        put("/drives/d", drive.clone()).fault(
            "Drive config error: Attempt to add block as a root device while the root device defined as a pmem device",
        ),
        put("/pmem/p", pmem("p", &files.drive, false)).done(),
        put("/drives/d", drive).done(),
        put("/pmem/q", pmem("q", &files.drive, true)).fault(
            "Pmem config error: Attempt to add pmem as a root device while the root device defined as a block device",
        ),
    ]
}

fn refused(files: &Files) -> Vec<Step> {
    vec![put("/pmem/p", pmem("p", &files.drive, false)).refused()]
}

fn one_device(files: &Files) -> Vec<Step> {
    vec![put("/pmem/p", pmem("p", &files.drive, false)).done()]
}

fn changed(_: &Files) -> Vec<Step> {
    let bucket = json!({"size": 5000, "one_time_burst": null, "refill_time": 100});
    vec![
        patch("/pmem/p", json!({"id": "p", "rate_limiter": {"bandwidth": bucket}})).done(),
        patch("/pmem/p", r#"{"id":"p"}"#).done(),
        patch("/pmem/none", json!({"id": "none", "rate_limiter": {"bandwidth": bucket}})).fault(format!(
            "Pmem config error: Unable to patch the pmem device: {NO_DEVICE} Please verify the request arguments."
        )),
    ]
}

fn changed_badly(_: &Files) -> Vec<Step> {
    vec![
        patch("/pmem/p", r#"{"id":"p","rate_limiter":{}}"#).fault(format!(
            "Pmem config error: Unable to patch the pmem device: {NO_DEVICE} Please verify the request arguments."
        )),
        // Nothing to change is nothing to look for.
        patch("/pmem/p", r#"{"id":"p"}"#).done(),
    ]
}

fn plugged(files: &Files) -> Vec<Step> {
    vec![
        put("/pmem/p", pmem("p", &files.drive, false)).fault("PCI is not enabled"),
        delete("/pmem/p").fault("PCI is not enabled"),
    ]
}

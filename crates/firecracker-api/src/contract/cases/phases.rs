//! What may be asked when: everything that only a guest that was not started allows, with values that are good.
//!
//! Source: `src/vmm/src/rpc_interface.rs` (`handle_preboot_request`, `RuntimeApiController::handle_request`).

use serde_json::json;

use super::{boot_source, small_machine};
use crate::contract::Files;
use crate::contract::case::{Case, Phase, Step, get, patch, put};

pub(super) const CASES: &[Case] = &[
    Case::new("phases/too late while running", Phase::Running, too_late),
    Case::new("phases/too late while paused", Phase::Paused, too_late),
    Case::new(
        "phases/bad values are told first",
        Phase::Running,
        bad_values_first,
    ),
];

fn too_late(files: &Files) -> Vec<Step> {
    let path = format!("{}/contract-late", files.folder);
    vec![
        put("/actions", r#"{"action_type":"InstanceStart"}"#).not_after_start(),
        put("/boot-source", boot_source(files)).not_after_start(),
        put("/machine-config", small_machine()).not_after_start(),
        patch("/machine-config", r#"{"vcpu_count":2}"#).not_after_start(),
        put("/cpu-config", "{}").not_after_start(),
        put("/vsock", json!({"guest_cid": 3, "uds_path": path})).not_after_start(),
        put("/entropy", "{}").not_after_start(),
        put("/serial", json!({"serial_out_path": path})).not_after_start(),
        put("/balloon", r#"{"amount_mib":1,"deflate_on_oom":true}"#).not_after_start(),
        put("/hotplug/memory", r#"{"total_size_mib":1024}"#).not_after_start(),
        put("/mmds/config", r#"{"network_interfaces":["n"],"version":"V2"}"#).not_after_start(),
        put("/logger", json!({"log_path": path})).not_after_start(),
        put("/metrics", json!({"metrics_path": path})).not_after_start(),
        get("/vm/config").members([("/vsock", json!(null)), ("/machine-config/vcpu_count", json!(1))]),
    ]
}

/// A body that cannot be understood is told before the phase is; a value that is merely wrong, after.
fn bad_values_first(_: &Files) -> Vec<Step> {
    vec![
        put("/boot-source", "{}").malformed_beginning("missing field `kernel_image_path`"),
        patch("/machine-config", "{}").fault("Empty PATCH request."),
        patch("/machine-config", r#"{"vcpu_count":0}"#).not_after_start(),
        patch("/machine-config", r#"{"cpu_template":"None"}"#)
            .not_after_start()
            .deprecated(),
        put("/balloon", r#"{"amount_mib":99999,"deflate_on_oom":true}"#).not_after_start(),
    ]
}

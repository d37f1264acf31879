//! vsock, entropy and the serial console.
//!
//! Sources: `src/vmm/src/vmm_config/{vsock,entropy,serial}.rs`, `src/vmm/src/devices/virtio/vsock/unix/mod.rs`.

use serde_json::json;

use crate::contract::Files;
use crate::contract::case::{Case, Phase, Step, get, put};

pub(super) const CASES: &[Case] = &[
    Case::new("vsock/set and replaced", Phase::NotStarted, vsock),
    Case::new("vsock/paths that cannot be used", Phase::NotStarted, vsock_paths),
    Case::new("vsock/malformed", Phase::NotStarted, vsock_malformed),
    Case::new("vsock/running", Phase::Running, vsock_running).prepared(a_vsock),
    Case::new("entropy/set and replaced", Phase::NotStarted, entropy),
    Case::new("entropy/malformed", Phase::NotStarted, entropy_malformed),
    Case::new("entropy/running", Phase::Running, entropy_running).prepared(an_entropy_device),
    Case::new("serial/set", Phase::NotStarted, serial),
    Case::new("serial/malformed", Phase::NotStarted, serial_malformed),
    Case::new("serial/running", Phase::Running, serial_running).prepared(serial),
];

fn vsock_path(files: &Files, name: &str) -> String {
    format!("{}/contract-{name}.sock", files.folder)
}

fn a_vsock(files: &Files) -> Vec<Step> {
    vec![
        put(
            "/vsock",
            json!({"guest_cid": 3, "uds_path": vsock_path(files, "v")}),
        )
        .done(),
    ]
}

fn vsock(files: &Files) -> Vec<Step> {
    let path = |name| vsock_path(files, name);
    vec![
        put("/vsock", json!({"guest_cid": 15, "uds_path": path("a")})).done(),
        get("/vm/config").members([("/vsock", json!({"guest_cid": 15, "uds_path": path("a")}))]),
        put("/vsock", json!({"guest_cid": 16, "uds_path": path("a")})).done(),
        put(
            "/vsock",
            json!({"vsock_id": "v", "guest_cid": 17, "uds_path": path("b")}),
        )
        .done()
        .deprecated(),
        get("/vm/config").members([("/vsock", json!({"guest_cid": 17, "uds_path": path("b")}))]),
    ]
}

fn vsock_paths(files: &Files) -> Vec<Step> {
    let at = |path: &str| put("/vsock", json!({"guest_cid": 3, "uds_path": path}));
    let binding = "Vsock config error: Cannot create backend for vsock device: Error binding to the host-side Unix socket:";
    vec![
        at(&files.drive).fault(format!("{binding} Address already in use (os error 98)")),
        at(&format!("{}/contract-missing/v", files.folder))
            .fault(format!("{binding} No such file or directory (os error 2)")),
        at(&format!("{}/{}", files.folder, "v".repeat(108)))
            .fault(format!("{binding} path must be shorter than SUN_LEN")),
        get("/vm/config").members([("/vsock", json!(null))]),
    ]
}

fn vsock_malformed(_: &Files) -> Vec<Step> {
    vec![
        put("/vsock", r#"{"guest_cid":3}"#).malformed("missing field `uds_path` at line 1 column 15"),
        put("/vsock", r#"{"guest_cid":-3,"uds_path":"v"}"#)
            .malformed("invalid value: integer `-3`, expected u32 at line 1 column 15"),
        put("/vsock", r#"{"guest_cid":4294967296,"uds_path":"v"}"#)
            .malformed("invalid value: integer `4294967296`, expected u32 at line 1 column 23"),
        put("/vsock", r#"{"guest_cid":3,"uds_path":"v","port":1}"#).malformed(
            "unknown field `port`, expected one of `vsock_id`, `guest_cid`, `uds_path` at line 1 column 36",
        ),
    ]
}

fn vsock_running(files: &Files) -> Vec<Step> {
    vec![
        get("/vm/config").members([(
            "/vsock",
            json!({"guest_cid": 3, "uds_path": vsock_path(files, "v")}),
        )]),
        put(
            "/vsock",
            json!({"guest_cid": 3, "uds_path": vsock_path(files, "w")}),
        )
        .not_after_start(),
    ]
}

fn an_entropy_device(_: &Files) -> Vec<Step> {
    vec![
        put(
            "/entropy",
            r#"{"rate_limiter":{"ops":{"size":9,"refill_time":100}}}"#,
        )
        .done(),
    ]
}

fn entropy(_: &Files) -> Vec<Step> {
    let bucket = json!({"size": 1000, "one_time_burst": 5, "refill_time": 100});
    vec![
        put("/entropy", "{}").done(),
        get("/vm/config").members([("/entropy", json!({"rate_limiter": null}))]),
        put("/entropy", json!({"rate_limiter": {"bandwidth": bucket}})).done(),
        get("/vm/config").members([(
            "/entropy",
            json!({"rate_limiter": {"bandwidth": bucket, "ops": null}}),
        )]),
        put("/entropy", r#"{"rate_limiter":{}}"#).done(),
        get("/vm/config").members([("/entropy", json!({"rate_limiter": null}))]),
    ]
}

fn entropy_malformed(_: &Files) -> Vec<Step> {
    vec![
        put("/entropy", r#"{"source":"urandom"}"#)
            .malformed("unknown field `source`, expected `rate_limiter` at line 1 column 9"),
        put("/entropy", r#"{"rate_limiter":{"bandwidth":{"refill_time":1}}}"#)
            .malformed("missing field `size` at line 1 column 46"),
        put("/entropy", r#"{"rate_limiter":7}"#)
            .malformed("invalid type: integer `7`, expected struct RateLimiterConfig at line 1 column 17"),
    ]
}

fn entropy_running(_: &Files) -> Vec<Step> {
    let ops = json!({"size": 9, "one_time_burst": null, "refill_time": 100});
    vec![
        get("/vm/config").members([(
            "/entropy",
            json!({"rate_limiter": {"bandwidth": null, "ops": ops}}),
        )]),
        put("/entropy", "{}").not_after_start(),
    ]
}

/// Where the console goes is shown nowhere.
fn serial(files: &Files) -> Vec<Step> {
    let path = format!("{}/contract-console", files.folder);
    vec![
        put(
            "/serial",
            json!({"serial_out_path": path, "rate_limiter": {"size": 1000, "refill_time": 10}}),
        )
        .done(),
        put("/serial", json!({"serial_out_path": path})).done(),
    ]
}

fn serial_malformed(_: &Files) -> Vec<Step> {
    vec![
        put("/serial", r#"{"path":"c"}"#).malformed(
            "unknown field `path`, expected `serial_out_path` or `rate_limiter` at line 1 column 7",
        ),
        put("/serial", r#"{"serial_out_path":1}"#)
            .malformed("invalid type: integer `1`, expected path string at line 1 column 20"),
        put("/serial", r#"{"rate_limiter":{"size":1}}"#)
            .malformed("missing field `refill_time` at line 1 column 26"),
    ]
}

fn serial_running(_: &Files) -> Vec<Step> {
    vec![put("/serial", "{}").not_after_start()]
}

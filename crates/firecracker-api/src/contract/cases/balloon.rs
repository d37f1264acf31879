//! The memory balloon.
//!
//! Sources: `src/vmm/src/vmm_config/balloon.rs`, `src/vmm/src/resources.rs` (`set_balloon_device`),
//! `src/vmm/src/devices/virtio/balloon/{mod,device}.rs`.

use serde_json::{Value, json};

use super::NO_DEVICE;
use crate::contract::case::{Case, Phase, Step, get, patch, put};
use crate::contract::{Capability, Files};

pub(super) const CASES: &[Case] = &[
    Case::new("balloon/set and replaced", Phase::NotStarted, set),
    Case::new("balloon/too large", Phase::NotStarted, too_large),
    Case::new("balloon/malformed", Phase::NotStarted, malformed),
    Case::new(
        "balloon/changed before the start",
        Phase::NotStarted,
        changed_early,
    ),
    Case::new("balloon/running without one", Phase::Running, without),
    Case::new("balloon/running with one", Phase::Running, with).prepared(one_balloon),
    Case::new("balloon/statistics", Phase::Running, statistics).prepared(with_statistics),
    Case::new("balloon/hinting where it is off", Phase::Running, hinting_off).prepared(one_balloon),
    Case::new("balloon/hinting and reporting", Phase::NotStarted, hinting).needs(&[Capability::PageHinting]),
    Case::new("balloon/hinting while running", Phase::Running, hinting_running)
        .needs(&[Capability::PageHinting])
        .prepared(with_hinting),
    Case::new(
        "balloon/hinting that cannot be had",
        Phase::NotStarted,
        no_hinting,
    )
    .lacks(Capability::PageHinting),
];

fn shown(amount_mib: u32, deflate_on_oom: bool, interval_s: u16) -> Value {
    json!({
        "amount_mib": amount_mib, "deflate_on_oom": deflate_on_oom, "stats_polling_interval_s": interval_s,
        "free_page_hinting": false, "free_page_reporting": false,
    })
}

fn one_balloon(_: &Files) -> Vec<Step> {
    vec![put("/balloon", r#"{"amount_mib":3,"deflate_on_oom":true}"#).done()]
}

fn set(_: &Files) -> Vec<Step> {
    vec![
        get("/balloon").fault("Balloon config error: No balloon device found."),
        put("/balloon", r#"{"amount_mib":1,"deflate_on_oom":true}"#).done(),
        get("/balloon").json(shown(1, true, 0)),
        put(
            "/balloon",
            r#"{"amount_mib":128,"deflate_on_oom":false,"stats_polling_interval_s":5}"#,
        )
        .done(),
        get("/balloon").json(shown(128, false, 5)),
        get("/vm/config").members([("/balloon", shown(128, false, 5))]),
    ]
}

fn too_large(_: &Files) -> Vec<Step> {
    vec![
        put("/balloon", r#"{"amount_mib":129,"deflate_on_oom":false}"#)
            .fault("Balloon config error: Amount of pages requested is too large."),
        get("/balloon").fault("Balloon config error: No balloon device found."),
    ]
}

fn malformed(_: &Files) -> Vec<Step> {
    vec![
        put("/balloon", r#"{"amount_mib":1}"#)
            .malformed("missing field `deflate_on_oom` at line 1 column 16"),
        put(
            "/balloon",
            r#"{"amount_mib":1,"deflate_on_oom":true,"must_tell_host":true}"#,
        )
        .malformed(
            "unknown field `must_tell_host`, expected one of `amount_mib`, `deflate_on_oom`, \
             `stats_polling_interval_s`, `free_page_hinting`, `free_page_reporting` at line 1 column 54",
        ),
        put(
            "/balloon",
            r#"{"amount_mib":1,"deflate_on_oom":true,"stats_polling_interval_s":65536}"#,
        )
        .malformed("invalid value: integer `65536`, expected u16 at line 1 column 70"),
        patch("/balloon", r#"{"amount_mb":1}"#)
            .malformed("unknown field `amount_mb`, expected `amount_mib` at line 1 column 12"),
        patch("/balloon/statistics", r#"{"amount_mib":1}"#)
            .malformed("unknown field `amount_mib`, expected `stats_polling_interval_s` at line 1 column 13"),
    ]
}

fn changed_early(_: &Files) -> Vec<Step> {
    vec![
        put(
            "/balloon",
            r#"{"amount_mib":1,"deflate_on_oom":true,"stats_polling_interval_s":1}"#,
        )
        .done(),
        patch("/balloon", r#"{"amount_mib":2}"#).not_before_start(),
        get("/balloon/statistics").not_before_start(),
        patch("/balloon/statistics", r#"{"stats_polling_interval_s":2}"#).not_before_start(),
        patch("/balloon/hinting/start", "{}").not_before_start(),
        get("/balloon/hinting/status").not_before_start(),
        patch("/balloon/hinting/stop", "{}").not_before_start(),
    ]
}

fn without(_: &Files) -> Vec<Step> {
    let internal = format!("Internal VMM error: {NO_DEVICE}");
    let update = format!("Balloon update error: {NO_DEVICE}");
    vec![
        get("/balloon").fault(internal.clone()),
        get("/balloon/statistics").fault(internal),
        patch("/balloon", r#"{"amount_mib":2}"#).fault(update.clone()),
        patch("/balloon/statistics", r#"{"stats_polling_interval_s":2}"#).fault(update.clone()),
        patch("/balloon/hinting/start", "{}").fault(update.clone()),
        get("/balloon/hinting/status").fault(update.clone()),
        patch("/balloon/hinting/stop", "{}").fault(update),
        put("/balloon", r#"{"amount_mib":1,"deflate_on_oom":true}"#).not_after_start(),
    ]
}

fn with(_: &Files) -> Vec<Step> {
    vec![
        get("/balloon").json(shown(3, true, 0)),
        get("/balloon/statistics")
            .fault("Internal VMM error: Balloon: Received stats query when stats are disabled."),
        patch("/balloon/statistics", r#"{"stats_polling_interval_s":0}"#).done(),
        patch("/balloon/statistics", r#"{"stats_polling_interval_s":2}"#)
            .fault("Balloon update error: Balloon: Statistics cannot be enabled/disabled after activation."),
        put("/balloon", r#"{"amount_mib":1,"deflate_on_oom":true}"#).not_after_start(),
        get("/balloon").json(shown(3, true, 0)),
    ]
}

fn with_statistics(_: &Files) -> Vec<Step> {
    vec![
        put(
            "/balloon",
            r#"{"amount_mib":3,"deflate_on_oom":true,"stats_polling_interval_s":1}"#,
        )
        .done(),
    ]
}

/// What the guest says is absent until it has said it; the target is known at once.
fn statistics(_: &Files) -> Vec<Step> {
    vec![
        get("/balloon/statistics").members([("/target_mib", json!(3)), ("/target_pages", json!(768))]),
        patch("/balloon/statistics", r#"{"stats_polling_interval_s":0}"#)
            .fault("Balloon update error: Balloon: Statistics cannot be enabled/disabled after activation."),
        patch("/balloon/statistics", r#"{"stats_polling_interval_s":1}"#).done(),
        get("/balloon").json(shown(3, true, 1)),
    ]
}

fn hinting_off(_: &Files) -> Vec<Step> {
    let off = "Balloon update error: Balloon: Attempting to use hinting when not enabled";
    vec![
        patch("/balloon/hinting/start", r#"{"acknowledge_on_stop":false}"#).fault(off),
        get("/balloon/hinting/status").fault(off),
        patch("/balloon/hinting/stop", "{}").fault(off),
        patch("/balloon/hinting/start", r#"{"acknowledge_on_stop":1}"#)
            .malformed("invalid type: integer `1`, expected a boolean at line 1 column 24"),
    ]
}

fn hinting(_: &Files) -> Vec<Step> {
    vec![
        put(
            "/balloon",
            r#"{"amount_mib":1,"deflate_on_oom":true,"free_page_hinting":true,"free_page_reporting":true}"#,
        )
        .done(),
        get("/balloon").members([
            ("/free_page_hinting", json!(true)),
            ("/free_page_reporting", json!(true)),
        ]),
    ]
}

fn with_hinting(_: &Files) -> Vec<Step> {
    vec![
        put(
            "/balloon",
            r#"{"amount_mib":1,"deflate_on_oom":true,"free_page_hinting":true}"#,
        )
        .done(),
    ]
}

fn hinting_running(_: &Files) -> Vec<Step> {
    vec![get("/balloon/hinting/status").json(json!({"host_cmd": 0, "guest_cmd": null}))]
}

fn no_hinting(_: &Files) -> Vec<Step> {
    vec![
        put(
            "/balloon",
            r#"{"amount_mib":1,"deflate_on_oom":true,"free_page_hinting":true}"#,
        )
        .refused(),
        get("/balloon").fault("Balloon config error: No balloon device found."),
    ]
}

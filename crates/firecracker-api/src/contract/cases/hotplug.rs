//! Hot-pluggable memory.
//!
//! Sources: `src/vmm/src/vmm_config/memory_hotplug.rs`, `src/vmm/src/lib.rs` (`memory_hotplug_status`).

use serde_json::json;

use super::NO_DEVICE;
use crate::contract::case::{Case, Phase, Step, get, patch, put};
use crate::contract::{Capability, Files};

pub(super) const CASES: &[Case] = &[
    Case::new("hotplug/malformed", Phase::NotStarted, malformed),
    Case::new("hotplug/asked before the start", Phase::NotStarted, asked_early),
    Case::new("hotplug/set and replaced", Phase::NotStarted, set).needs(&[Capability::MemoryHotplug]),
    Case::new("hotplug/sizes", Phase::NotStarted, sizes).needs(&[Capability::MemoryHotplug]),
    Case::new("hotplug/that cannot be had", Phase::NotStarted, refused).lacks(Capability::MemoryHotplug),
    Case::new("hotplug/running", Phase::Running, running)
        .needs(&[Capability::MemoryHotplug])
        .prepared(a_region),
    Case::new("hotplug/running without it", Phase::Running, without),
];

fn malformed(_: &Files) -> Vec<Step> {
    vec![
        put("/hotplug/memory", "{}").malformed("missing field `total_size_mib` at line 1 column 2"),
        put("/hotplug/memory", r#"{"total_size_mib":4294967296}"#)
            .malformed("invalid value: integer `4294967296`, expected u32 at line 1 column 28"),
        put("/hotplug/memory", r#"{"total_size_mib":1024,"numa":0}"#).malformed(
            "unknown field `numa`, expected one of `total_size_mib`, `block_size_mib`, `slot_size_mib` at line 1 column 29",
        ),
        patch("/hotplug/memory", r#"{"size_mib":0}"#)
            .malformed("unknown field `size_mib`, expected `requested_size_mib` at line 1 column 11"),
    ]
}

fn asked_early(_: &Files) -> Vec<Step> {
    vec![
        get("/hotplug/memory").not_before_start(),
        patch("/hotplug/memory", r#"{"requested_size_mib":0}"#).not_before_start(),
    ]
}

fn set(_: &Files) -> Vec<Step> {
    vec![
        put(
            "/hotplug/memory",
            r#"{"total_size_mib":1024,"block_size_mib":128,"slot_size_mib":1024}"#,
        )
        .done(),
        get("/vm/config").members([(
            "/memory-hotplug",
            json!({"total_size_mib": 1024, "block_size_mib": 128, "slot_size_mib": 1024}),
        )]),
        put("/hotplug/memory", r#"{"total_size_mib":256}"#).done(),
        get("/vm/config").members([(
            "/memory-hotplug",
            json!({"total_size_mib": 256, "block_size_mib": 2, "slot_size_mib": 128}),
        )]),
    ]
}

fn sizes(_: &Files) -> Vec<Step> {
    let of = |total: u32, block: u32, slot: u32, why: &str| {
        let sizes = json!({"total_size_mib": total, "block_size_mib": block, "slot_size_mib": slot});
        put("/hotplug/memory", sizes).fault(format!("Memory hotplug config error: {why}"))
    };
    vec![
        of(1024, 1, 128, "Block size must not be lower than 2 MiB"),
        of(1024, 3, 128, "Block size must be a power of 2"),
        of(1024, 2, 64, "Slot size must not be lower than 128 MiB"),
        of(
            1024,
            256,
            384,
            "Slot size must be a multiple of block size (256 MiB)",
        ),
        of(
            64,
            2,
            128,
            "Total size must not be lower than slot size (128 MiB)",
        ),
        of(
            200,
            2,
            128,
            "Total size must be a multiple of slot size (128 MiB)",
        ),
        get("/vm/config").members([("/memory-hotplug", json!(null))]),
    ]
}

fn refused(_: &Files) -> Vec<Step> {
    vec![put("/hotplug/memory", r#"{"total_size_mib":1024}"#).refused()]
}

fn a_region(_: &Files) -> Vec<Step> {
    vec![put("/hotplug/memory", r#"{"total_size_mib":256}"#).done()]
}

fn running(_: &Files) -> Vec<Step> {
    vec![
        get("/hotplug/memory").json(json!({
            "block_size_mib": 2, "total_size_mib": 256, "slot_size_mib": 128, "plugged_size_mib": 0,
            "requested_size_mib": 0,
        })),
        get("/vm/config").members([(
            "/memory-hotplug",
            json!({"total_size_mib": 256, "block_size_mib": 2, "slot_size_mib": 128}),
        )]),
    ]
}

fn without(_: &Files) -> Vec<Step> {
    vec![
        get("/hotplug/memory").fault(format!("Internal VMM error: {NO_DEVICE}")),
        patch("/hotplug/memory", r#"{"requested_size_mib":0}"#)
            .fault(format!("Memory hotplug update error: {NO_DEVICE}")),
        put("/hotplug/memory", r#"{"total_size_mib":1024}"#).not_after_start(),
    ]
}

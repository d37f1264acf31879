//! Custom CPU templates.
//!
//! Sources: `src/vmm/src/cpu_config/templates.rs`, `templates_serde.rs`, `x86_64/custom_cpu_template.rs`,
//! `aarch64/custom_cpu_template.rs`.

use serde_json::json;

use crate::contract::case::{Case, Phase, Step, get, put};
use crate::contract::{Capability, Files};

pub(super) const CASES: &[Case] = &[
    Case::new("cpu-config/malformed", Phase::NotStarted, malformed),
    Case::new("cpu-config/set", Phase::NotStarted, set).needs(&[Capability::CpuTemplates]),
    Case::new("cpu-config/that cannot be had", Phase::NotStarted, refused).lacks(Capability::CpuTemplates),
];

fn malformed(_: &Files) -> Vec<Step> {
    let mut steps = vec![
        put("/cpu-config", r#"{"foo":false}"#).malformed_beginning(
            "unknown field `foo`, expected one of `kvm_capabilities`, ",
        ),
        put("/cpu-config", r#"{"kvm_capabilities":["x"]}"#).malformed_beginning(
            "Failed to parse string [x] as a kvm capability - can not convert to numeric: invalid digit found in string",
        ),
    ];
    if cfg!(target_arch = "x86_64") {
        let msr = |addr: &str, bitmap: &str| json!({"msr_modifiers": [{"addr": addr, "bitmap": bitmap}]});
        let register = json!({"cpuid_modifiers": [{
            "leaf": "0x1", "subleaf": "0x0", "flags": 0, "modifiers": [{"register": "rax", "bitmap": "0b1"}],
        }]});
        steps.extend([
            put("/cpu-config", msr("16", "0b1"))
                .malformed_beginning("No supported number system prefix found in value [16]. "),
            put("/cpu-config", msr("0xg", "0b1"))
                .malformed_beginning("Failed to parse string [0xg] as a number for CPU template - "),
            put("/cpu-config", msr("0x10", "0b2"))
                .malformed_beginning("Failed to parse string [0b2] as a bitmap - unknown character: 50"),
            put("/cpu-config", msr("0x10", &"1".repeat(65))).malformed_beginning("Failed to parse string [1"),
            put("/cpu-config", register)
                .malformed_beginning("Invalid CPUID register. Must be one of [eax, ebx, ecx, edx]"),
            put("/cpu-config", r#"{"reg_modifiers":[]}"#)
                .malformed_beginning("unknown field `reg_modifiers`"),
        ]);
    } else {
        steps.push(
            put("/cpu-config", r#"{"cpuid_modifiers":[]}"#)
                .malformed_beginning("unknown field `cpuid_modifiers`"),
        );
    }
    steps
}

fn set(_: &Files) -> Vec<Step> {
    vec![
        put("/cpu-config", r#"{"kvm_capabilities":["!110"]}"#).done(),
        // Neither of the two answers shows a custom template.
        get("/vm/config").members([("/cpu-config", json!(null))]),
        get("/machine-config").json(json!({
            "vcpu_count": 1, "mem_size_mib": 128, "smt": false, "track_dirty_pages": false, "huge_pages": "None",
        })),
    ]
}

fn refused(_: &Files) -> Vec<Step> {
    vec![put("/cpu-config", r#"{"kvm_capabilities":["110"]}"#).refused()]
}

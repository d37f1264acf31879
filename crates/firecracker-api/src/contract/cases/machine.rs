//! vCPUs and memory.
//!
//! Sources: `src/vmm/src/vmm_config/machine_config.rs`, `src/vmm/src/resources.rs` (`update_machine_config`),
//! `src/firecracker/src/api_server/request/machine_configuration.rs`.

use serde_json::{Value, json};

use crate::contract::case::{Case, Phase, Step, get, patch, put};
use crate::contract::{Capability, Files};

pub(super) const CASES: &[Case] = &[
    Case::new("machine-config/set and changed", Phase::NotStarted, set),
    Case::new("machine-config/vcpus", Phase::NotStarted, vcpus),
    Case::new("machine-config/memory", Phase::NotStarted, memory),
    Case::new(
        "machine-config/memory and balloon",
        Phase::NotStarted,
        memory_and_balloon,
    ),
    Case::new("machine-config/malformed", Phase::NotStarted, malformed),
    Case::new(
        "machine-config/a template of none",
        Phase::NotStarted,
        template_of_none,
    ),
    Case::new("machine-config/a template", Phase::NotStarted, template).needs(&[Capability::CpuTemplates]),
    Case::new(
        "machine-config/a template that cannot be had",
        Phase::NotStarted,
        no_template,
    )
    .lacks(Capability::CpuTemplates),
    Case::new("machine-config/huge pages", Phase::NotStarted, huge_pages).needs(&[Capability::HugePages]),
    Case::new(
        "machine-config/huge pages that cannot be had",
        Phase::NotStarted,
        no_huge_pages,
    )
    .lacks(Capability::HugePages),
];

fn machine(vcpus: u8, memory: u32, smt: bool, track: bool) -> Value {
    json!({
        "vcpu_count": vcpus, "mem_size_mib": memory, "smt": smt, "track_dirty_pages": track, "huge_pages": "None",
    })
}

fn set(_: &Files) -> Vec<Step> {
    let smt = cfg!(target_arch = "x86_64");
    vec![
        get("/machine-config").json(machine(1, 128, false, false)),
        put("/machine-config", machine(4, 512, smt, true)).done(),
        get("/machine-config").json(machine(4, 512, smt, true)),
        patch("/machine-config", r#"{"mem_size_mib":300}"#).done(),
        get("/machine-config").json(machine(4, 300, smt, true)),
        patch(
            "/machine-config",
            r#"{"vcpu_count":2,"smt":false,"track_dirty_pages":null}"#,
        )
        .done(),
        get("/machine-config").json(machine(2, 300, false, true)),
        // What a PUT does not name gets its default.
        put("/machine-config", r#"{"vcpu_count":3,"mem_size_mib":64}"#).done(),
        get("/machine-config").json(machine(3, 64, false, false)),
        get("/vm/config").members([("/machine-config", machine(3, 64, false, false))]),
    ]
}

fn vcpus(_: &Files) -> Vec<Step> {
    let wrong = "Machine config error: The number of vCPUs must be greater than 0, less than 32 and must be 1 or an \
                 even number if SMT is enabled.";
    let mut steps = vec![
        patch("/machine-config", r#"{"vcpu_count":32}"#).done(),
        patch("/machine-config", r#"{"vcpu_count":0}"#).fault(wrong),
        patch("/machine-config", r#"{"vcpu_count":33}"#).fault(wrong),
        put("/machine-config", r#"{"vcpu_count":255,"mem_size_mib":128}"#).fault(wrong),
        get("/machine-config").members([("/vcpu_count", json!(32))]),
    ];
    if cfg!(target_arch = "x86_64") {
        steps.extend([
            patch("/machine-config", r#"{"vcpu_count":3,"smt":true}"#).fault(wrong),
            patch("/machine-config", r#"{"vcpu_count":1,"smt":true}"#).done(),
            patch("/machine-config", r#"{"vcpu_count":5}"#).fault(wrong),
        ]);
    } else {
        steps.push(patch("/machine-config", r#"{"smt":true}"#).fault(
            "Machine config error: Enabling simultaneous multithreading is not supported on aarch64.",
        ));
    }
    steps
}

fn memory(_: &Files) -> Vec<Step> {
    let wrong = "Machine config error: The memory size (MiB) is either 0, or not a multiple of the configured page size.";
    vec![
        patch("/machine-config", r#"{"mem_size_mib":0}"#).fault(wrong),
        put(
            "/machine-config",
            r#"{"vcpu_count":1,"mem_size_mib":3,"huge_pages":"2M"}"#,
        )
        .fault(wrong),
        put(
            "/machine-config",
            r#"{"vcpu_count":1,"mem_size_mib":3,"huge_pages":"Transparent"}"#,
        )
        .fault(wrong),
        get("/machine-config").json(machine(1, 128, false, false)),
    ]
}

fn memory_and_balloon(_: &Files) -> Vec<Step> {
    vec![
        put("/balloon", r#"{"amount_mib":100,"deflate_on_oom":false}"#).done(),
        patch("/machine-config", r#"{"mem_size_mib":99}"#).fault(
            "Machine config error: The memory size (MiB) is smaller than the previously set balloon device target size.",
        ),
        patch("/machine-config", r#"{"mem_size_mib":100}"#).done(),
    ]
}

fn malformed(_: &Files) -> Vec<Step> {
    vec![
        put("/machine-config", r#"{"vcpu_count":1}"#).malformed("missing field `mem_size_mib` at line 1 column 16"),
        put("/machine-config", r#"{"mem_size_mib":1}"#).malformed("missing field `vcpu_count` at line 1 column 18"),
        put("/machine-config", r#"{"vcpu_count":256,"mem_size_mib":1}"#)
            .malformed("invalid value: integer `256`, expected u8 at line 1 column 17"),
        put("/machine-config", r#"{"vcpu_count":1,"mem_size_mib":-1}"#)
            .malformed("invalid value: integer `-1`, expected usize at line 1 column 33"),
        patch("/machine-config", r#"{"vcpu_count":"1"}"#)
            .malformed("invalid type: string \"1\", expected u8 at line 1 column 17"),
        put("/machine-config", r#"{"vcpu_count":1,"mem_size_mib":1,"ht_enabled":true}"#).malformed(
            "unknown field `ht_enabled`, expected one of `vcpu_count`, `mem_size_mib`, `smt`, `cpu_template`, \
             `track_dirty_pages`, `huge_pages` at line 1 column 45",
        ),
        patch("/machine-config", r#"{"cpus":1}"#).malformed(
            "unknown field `cpus`, expected one of `vcpu_count`, `mem_size_mib`, `smt`, `cpu_template`, \
             `track_dirty_pages`, `huge_pages` at line 1 column 7",
        ),
        patch("/machine-config", r#"{"huge_pages":"1G"}"#).malformed(
            "unknown variant `1G`, expected one of `None`, `Transparent`, `2M` at line 1 column 18",
        ),
        patch("/machine-config", "{}").fault("Empty PATCH request."),
        patch("/machine-config", r#"{"smt":null}"#).fault("Empty PATCH request."),
    ]
}

fn template_of_none(_: &Files) -> Vec<Step> {
    vec![
        put(
            "/machine-config",
            r#"{"vcpu_count":1,"mem_size_mib":128,"cpu_template":"None"}"#,
        )
        .done()
        .deprecated(),
        patch("/machine-config", r#"{"cpu_template":"None"}"#)
            .done()
            .deprecated(),
        // The header comes with refusals too, once the body was understood.
        patch("/machine-config", r#"{"cpu_template":"None","vcpu_count":0}"#)
            .fault_beginning("Machine config error: The number of vCPUs")
            .deprecated(),
        patch("/machine-config", r#"{"cpu_template":"Z80"}"#)
            .malformed_beginning("unknown variant `Z80`, expected "),
        get("/machine-config").json(machine(1, 128, false, false)),
    ]
}

fn some_template() -> &'static str {
    if cfg!(target_arch = "x86_64") {
        "T2"
    } else {
        "V1N1"
    }
}

fn template(_: &Files) -> Vec<Step> {
    let name = some_template();
    vec![
        patch("/machine-config", json!({"cpu_template": name}))
            .done()
            .deprecated(),
        get("/machine-config").members([("/cpu_template", json!(name))]),
        // A PUT without a template keeps it.
        put("/machine-config", r#"{"vcpu_count":1,"mem_size_mib":128}"#).done(),
        get("/machine-config").members([("/cpu_template", json!(name))]),
        patch("/machine-config", r#"{"cpu_template":"None"}"#)
            .done()
            .deprecated(),
        get("/machine-config").json(machine(1, 128, false, false)),
    ]
}

fn no_template(_: &Files) -> Vec<Step> {
    vec![
        patch("/machine-config", json!({"cpu_template": some_template()}))
            .refused()
            .deprecated(),
    ]
}

fn huge_pages(_: &Files) -> Vec<Step> {
    vec![
        patch("/machine-config", r#"{"huge_pages":"2M"}"#).done(),
        patch("/machine-config", r#"{"mem_size_mib":129}"#)
            .fault_beginning("Machine config error: The memory size"),
        get("/machine-config").members([("/huge_pages", json!("2M")), ("/mem_size_mib", json!(128))]),
        patch("/machine-config", r#"{"huge_pages":"Transparent"}"#).done(),
        get("/machine-config").members([("/huge_pages", json!("Transparent"))]),
    ]
}

fn no_huge_pages(_: &Files) -> Vec<Step> {
    vec![
        patch("/machine-config", r#"{"huge_pages":"2M"}"#).refused(),
        get("/machine-config").members([("/huge_pages", json!("None"))]),
    ]
}

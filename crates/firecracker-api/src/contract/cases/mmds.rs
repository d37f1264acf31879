//! The metadata service, from the host's side.
//!
//! Sources: `src/vmm/src/mmds/data_store.rs`, `src/vmm/src/mmds/mod.rs` (`json_patch`), `src/vmm/src/resources.rs`
//! (`set_mmds_network_stack_config`), `src/vmm/src/vmm_config/mmds.rs`.

use serde_json::{Value, json};

use crate::contract::case::{Case, Phase, Step, get, patch, put};
use crate::contract::{Capability, Files};

pub(super) const CASES: &[Case] = &[
    Case::new("mmds/put, patched and asked for", Phase::NotStarted, contents),
    Case::new("mmds/any json", Phase::NotStarted, any_json),
    Case::new("mmds/too large", Phase::NotStarted, too_large),
    Case::new(
        "mmds/config without interfaces",
        Phase::NotStarted,
        config_without,
    ),
    Case::new("mmds/config malformed", Phase::NotStarted, config_malformed),
    Case::new("mmds/config", Phase::NotStarted, config).needs(&[Capability::Tap]),
    Case::new(
        "mmds/running without an interface",
        Phase::Running,
        running_without,
    )
    .prepared(some_contents),
    Case::new("mmds/running", Phase::Running, running)
        .needs(&[Capability::Tap])
        .prepared(served),
];

const UNINITIALIZED: &str = "MMDS error: The MMDS data store is not initialized.";

fn some_contents(_: &Files) -> Vec<Step> {
    vec![put("/mmds", r#"{"a":{"b":1}}"#).done()]
}

fn contents(_: &Files) -> Vec<Step> {
    vec![
        get("/mmds").json(json!({})),
        patch("/mmds", r#"{"a":1}"#).fault(UNINITIALIZED),
        put("/mmds", r#"{"a":{"b":1,"c":"x"},"d":[1,2]}"#).done(),
        get("/mmds").json(json!({"a": {"b": 1, "c": "x"}, "d": [1, 2]})),
        patch("/mmds", r#"{"a":{"b":null,"e":{"f":null}},"d":{"g":true}}"#).done(),
        get("/mmds").json(json!({"a": {"c": "x", "e": {}}, "d": {"g": true}})),
        put("/mmds", r#"{"z":null}"#).done(),
        get("/mmds").json(json!({"z": null})),
        get("/mmds/config").json(json!({"z": null})),
        put("/mmds", r#"{"a":"#).malformed("EOF while parsing a value at line 1 column 5"),
        patch("/mmds", "x").malformed("expected value at line 1 column 1"),
    ]
}

fn any_json(_: &Files) -> Vec<Step> {
    vec![
        put("/mmds", "[1,2]").done(),
        get("/mmds").json(json!([1, 2])),
        patch("/mmds", r#"{"a":1}"#).done(),
        get("/mmds").json(json!({"a": 1})),
        patch("/mmds", "\"text\"").done(),
        get("/mmds").json(json!("text")),
        put("/mmds", "null").done(),
        get("/mmds").json(json!({})),
        patch("/mmds", r#"{"a":1}"#).done(),
    ]
}

/// `--mmds-size-limit` is `--http-api-max-payload-size` unless given, and that is 51,200 bytes.
fn too_large(_: &Files) -> Vec<Step> {
    let words = "MMDS limit exceeded error: The MMDS patch request doesn't fit.";
    let of = |name: &str, bytes: usize| json!({name: "x".repeat(bytes)});
    vec![
        put("/mmds", of("a", 40_000)).done(),
        patch("/mmds", of("b", 20_000)).too_large(words),
        get("/mmds").json(of("a", 40_000)),
        patch("/mmds", of("b", 10_000)).done(),
    ]
}

fn config_without(_: &Files) -> Vec<Step> {
    vec![
        put("/mmds/config", r#"{"network_interfaces":[],"version":"V2"}"#).fault(
            "MMMDS config error: The list of network interface IDs that allow forwarding MMDS requests is empty.",
        ),
        put("/mmds/config", r#"{"network_interfaces":["foo"]}"#)
            .fault(
                "MMMDS config error: The list of network interface IDs provided contains at least one ID that does not \
                 correspond to any existing network interface.",
            )
            .deprecated(),
        put("/mmds/config", r#"{"network_interfaces":[],"version":"V2","ipv4_address":"10.0.0.1"}"#)
            .fault("MMMDS config error: The MMDS IPv4 address is not link local."),
        put("/mmds/config", r#"{"network_interfaces":[],"version":"V2","ipv4_address":"169.254.0.1"}"#)
            .fault("MMMDS config error: The MMDS IPv4 address is not link local."),
        get("/vm/config").members([("/mmds-config", json!(null))]),
    ]
}

fn config_malformed(_: &Files) -> Vec<Step> {
    vec![
        put("/mmds/config", "{}").malformed("missing field `network_interfaces` at line 1 column 2"),
        put("/mmds/config", r#"{"network_interfaces":["a"],"version":"V3"}"#)
            .malformed("unknown variant `V3`, expected `V1` or `V2` at line 1 column 42"),
        put("/mmds/config", r#"{"network_interfaces":["a"],"ipv4_address":"1.1"}"#)
            .malformed("invalid IPv4 address syntax at line 1 column 48"),
        put("/mmds/config", r#"{"network_interfaces":["a"],"token":1}"#).malformed(
            "unknown field `token`, expected one of `version`, `network_interfaces`, `ipv4_address`, `imds_compat` at \
             line 1 column 35",
        ),
    ]
}

fn interface(files: &Files) -> Step {
    put(
        "/network-interfaces/n",
        json!({"iface_id": "n", "host_dev_name": files.tap}),
    )
    .done()
}

fn shows(config: Value) -> Step {
    get("/vm/config").members([("/mmds-config", config)])
}

fn config(files: &Files) -> Vec<Step> {
    vec![
        interface(files),
        put("/mmds/config", r#"{"network_interfaces":["n","foo"],"version":"V2"}"#)
            .fault_beginning("MMMDS config error: The list of network interface IDs provided"),
        shows(json!(null)),
        put("/mmds/config", r#"{"network_interfaces":["n"]}"#).done().deprecated(),
        shows(json!({
            "version": "V1", "network_interfaces": ["n"], "ipv4_address": "169.254.169.254", "imds_compat": false,
        })),
        put(
            "/mmds/config",
            r#"{"network_interfaces":["n"],"version":"V2","ipv4_address":"169.254.169.250","imds_compat":true}"#,
        )
        .done(),
        shows(json!({
            "version": "V2", "network_interfaces": ["n"], "ipv4_address": "169.254.169.250", "imds_compat": true,
        })),
    ]
}

/// After the start metadata are kept only where an interface serves them (`Vmm::get_mmds`).
fn running_without(_: &Files) -> Vec<Step> {
    vec![
        get("/mmds").fault(UNINITIALIZED),
        put("/mmds", "{}").fault(UNINITIALIZED),
        patch("/mmds", "{}").fault(UNINITIALIZED),
        put("/mmds/config", r#"{"network_interfaces":[],"version":"V2"}"#).not_after_start(),
    ]
}

fn served(files: &Files) -> Vec<Step> {
    vec![
        interface(files),
        put("/mmds/config", r#"{"network_interfaces":["n"],"version":"V2"}"#).done(),
        put("/mmds", r#"{"a":1}"#).done(),
    ]
}

fn running(_: &Files) -> Vec<Step> {
    vec![
        get("/mmds").json(json!({"a": 1})),
        patch("/mmds", r#"{"b":2}"#).done(),
        get("/mmds").json(json!({"a": 1, "b": 2})),
        put("/mmds", r#"{"c":3}"#).done(),
        get("/mmds").json(json!({"c": 3})),
        shows(json!({
            "version": "V2", "network_interfaces": ["n"], "ipv4_address": "169.254.169.254", "imds_compat": false,
        })),
        put("/mmds/config", r#"{"network_interfaces":["n"],"version":"V2"}"#).not_after_start(),
    ]
}

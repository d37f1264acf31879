//! Network interfaces.
//!
//! Sources: `src/vmm/src/vmm_config/net.rs`, `src/vmm/src/utils/net/mac.rs`, `src/vmm/src/devices/virtio/net/`
//! (`NetError`, `TapError`), `src/vmm/src/rpc_interface.rs` (`update_net_rate_limiters`).

use serde_json::{Value, json};

use super::NO_DEVICE;
use crate::contract::case::{Case, Phase, Step, delete, get, patch, put};
use crate::contract::{Capability, Files};

pub(super) const CASES: &[Case] = &[
    Case::new("network-interfaces/malformed", Phase::NotStarted, malformed),
    Case::new("network-interfaces/a long name", Phase::NotStarted, long_name),
    Case::new("network-interfaces/set and replaced", Phase::NotStarted, set).needs(&[Capability::Tap]),
    Case::new(
        "network-interfaces/addresses are taken once",
        Phase::NotStarted,
        addresses,
    )
    .needs(&[Capability::Tap]),
    Case::new("network-interfaces/mtu", Phase::NotStarted, mtu).needs(&[Capability::Tap]),
    Case::new(
        "network-interfaces/changed before the start",
        Phase::NotStarted,
        changed_early,
    ),
    Case::new("network-interfaces/changed", Phase::Running, changed)
        .needs(&[Capability::Tap])
        .prepared(one_interface),
    Case::new(
        "network-interfaces/changed for the worse",
        Phase::Running,
        changed_badly,
    ),
    Case::new("network-interfaces/plugged without PCI", Phase::Running, plugged),
];

fn interface(files: &Files) -> Value {
    json!({"iface_id": "n", "host_dev_name": files.tap})
}

fn one_interface(files: &Files) -> Vec<Step> {
    vec![put("/network-interfaces/n", interface(files)).done()]
}

fn malformed(_: &Files) -> Vec<Step> {
    let put = |body: &str| put("/network-interfaces/n", body);
    vec![
        put(r#"{"iface_id":"n"}"#).malformed("missing field `host_dev_name` at line 1 column 16"),
        put(r#"{"iface_id":"n","host_dev_name":"t","guest_mac":"12:34:56:78:9a"}"#)
            .malformed("The provided MAC address is invalid. at line 1 column 65"),
        put(r#"{"iface_id":"n","host_dev_name":"t","mtu":70000}"#)
            .malformed("invalid value: integer `70000`, expected u16 at line 1 column 47"),
        put(r#"{"iface_id":"n","host_dev_name":"t","allow_mmds_requests":true}"#).malformed(
            "unknown field `allow_mmds_requests`, expected one of `iface_id`, `host_dev_name`, `guest_mac`, `mtu`, \
             `rx_rate_limiter`, `tx_rate_limiter` at line 1 column 57",
        ),
    ]
}

fn long_name(_: &Files) -> Vec<Step> {
    vec![
        put("/network-interfaces/n", r#"{"iface_id":"n","host_dev_name":"a-name-too-long-"}"#).fault(
            "Network config error: Could not create the network device: Open tap device failed: Invalid interface name",
        ),
        get("/vm/config").members([("/network-interfaces", json!([]))]),
    ]
}

fn set(files: &Files) -> Vec<Step> {
    let bucket = json!({"size": 1_000_000, "one_time_burst": null, "refill_time": 100});
    let mut detailed = interface(files);
    detailed["guest_mac"] = json!("06:00:00:00:00:0A");
    detailed["mtu"] = json!(1400);
    detailed["rx_rate_limiter"] = json!({"bandwidth": bucket});
    detailed["tx_rate_limiter"] = json!({});
    vec![
        put("/network-interfaces/n", detailed).done(),
        get("/vm/config").members([(
            "/network-interfaces",
            json!([{
                "iface_id": "n", "host_dev_name": files.tap, "guest_mac": "06:00:00:00:00:0a", "mtu": 1400,
                "rx_rate_limiter": {"bandwidth": bucket, "ops": null}, "tx_rate_limiter": null,
            }]),
        )]),
        put("/network-interfaces/n", interface(files)).done(),
        get("/vm/config").members([(
            "/network-interfaces",
            json!([{
                "iface_id": "n", "host_dev_name": files.tap, "guest_mac": null, "mtu": null, "rx_rate_limiter": null,
                "tx_rate_limiter": null,
            }]),
        )]),
    ]
}

fn addresses(files: &Files) -> Vec<Step> {
    let mut first = interface(files);
    first["guest_mac"] = json!("06:00:00:00:00:01");
    let second = json!({"iface_id": "m", "host_dev_name": files.tap, "guest_mac": "06:00:00:00:00:01"});
    vec![
        put("/network-interfaces/n", first.clone()).done(),
        put("/network-interfaces/m", second)
            .fault("Network config error: The MAC address is already in use: 06:00:00:00:00:01"),
        put("/network-interfaces/n", first).done(),
    ]
}

fn mtu(files: &Files) -> Vec<Step> {
    let mut interface = interface(files);
    interface["mtu"] = json!(67);
    vec![put("/network-interfaces/n", interface).fault(
        "Network config error: Could not create the network device: MTU 67 is out of range [68, 65535]",
    )]
}

fn changed_early(_: &Files) -> Vec<Step> {
    vec![
        patch("/network-interfaces/n", r#"{"iface_id":"n"}"#).not_before_start(),
        delete("/network-interfaces/n").not_before_start(),
    ]
}

fn changed(_: &Files) -> Vec<Step> {
    let bandwidth = json!({"size": 1_000_000, "one_time_burst": 3, "refill_time": 100});
    let shows = |way: &'static str, limiter: Value| get("/vm/config").members([(way, limiter)]);
    let (rx, tx) = (
        "/network-interfaces/0/rx_rate_limiter",
        "/network-interfaces/0/tx_rate_limiter",
    );
    vec![
        shows(rx, json!(null)),
        patch(
            "/network-interfaces/n",
            json!({"iface_id": "n", "rx_rate_limiter": {"bandwidth": bandwidth}}),
        )
        .done(),
        shows(rx, json!({"bandwidth": bandwidth, "ops": null})),
        shows(tx, json!(null)),
        patch("/network-interfaces/n", r#"{"iface_id":"n"}"#).done(),
        shows(rx, json!({"bandwidth": bandwidth, "ops": null})),
        patch(
            "/network-interfaces/n",
            r#"{"iface_id":"n","rx_rate_limiter":{"bandwidth":{"size":0,"refill_time":0}}}"#,
        )
        .done(),
        shows(rx, json!(null)),
    ]
}

fn changed_badly(_: &Files) -> Vec<Step> {
    vec![
        patch("/network-interfaces/n", r#"{"iface_id":"n"}"#)
            .fault(format!("Network config error: Unable to update the net device: {NO_DEVICE}")),
        patch("/network-interfaces/n", r#"{"iface_id":"n","host_dev_name":"t"}"#).malformed(
            "unknown field `host_dev_name`, expected one of `iface_id`, `rx_rate_limiter`, `tx_rate_limiter` at line 1 \
             column 31",
        ),
    ]
}

fn plugged(_: &Files) -> Vec<Step> {
    vec![
        put(
            "/network-interfaces/n",
            r#"{"iface_id":"n","host_dev_name":"contract"}"#,
        )
        .fault("PCI is not enabled"),
        delete("/network-interfaces/n").fault("PCI is not enabled"),
    ]
}

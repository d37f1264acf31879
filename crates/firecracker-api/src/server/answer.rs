//! Results as bytes.
//!
//! The invariant: an answer has every member that Firecracker's has. The models leave out what is absent, for the sake of
//! requests to older servers; Firecracker's answers have `null` (or `false`) there, and clients read them.

use hyper::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};

use super::Fault;
use crate::models::{
    Balloon, BalloonHintingStatus, BalloonStats, FullVmConfiguration, InstanceInfo, MachineConfiguration,
    MemoryHotplugStatus,
};

/// What a request comes to.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// It was done and there is nothing to say (status 204).
    Done,
    /// To `GET /`.
    Instance(InstanceInfo),
    /// To `GET /version`: the version without a leading `v`.
    Version(String),
    /// To `GET /vm/config`.
    VmConfig(Box<FullVmConfiguration>),
    /// To `GET /machine-config`.
    MachineConfig(MachineConfiguration),
    /// To `GET /balloon`.
    Balloon(Balloon),
    /// To `GET /balloon/statistics`.
    BalloonStatistics(Box<BalloonStats>),
    /// To `GET /balloon/hinting/status`.
    BalloonHinting(BalloonHintingStatus),
    /// To `GET /hotplug/memory`.
    MemoryHotplug(MemoryHotplugStatus),
    /// To `GET /mmds`. Null, as before anything was put, is answered as an empty object.
    Mmds(Value),
    /// It was refused.
    Fault(Fault),
}

impl From<Result<Answer, Fault>> for Answer {
    fn from(result: Result<Answer, Fault>) -> Self {
        result.unwrap_or_else(Self::Fault)
    }
}

impl Answer {
    /// The status and, where there is one, the body.
    #[must_use]
    pub fn render(&self) -> (StatusCode, Option<Vec<u8>>) {
        let value = match self {
            Self::Done => return (StatusCode::NO_CONTENT, None),
            Self::Fault(fault) => {
                let status = StatusCode::from_u16(fault.status).unwrap_or(StatusCode::BAD_REQUEST);
                return (status, Some(fault.to_body()));
            }
            Self::Instance(info) => complete("", info),
            Self::Version(version) => json!({ "firecracker_version": version }),
            Self::VmConfig(config) => complete("vm-config", config),
            Self::MachineConfig(machine) => complete("", machine),
            Self::Balloon(balloon) => complete("balloon", balloon),
            Self::BalloonStatistics(statistics) => complete("", statistics),
            Self::BalloonHinting(status) => complete("hinting", status),
            Self::MemoryHotplug(status) => complete("", status),
            Self::Mmds(Value::Null) => json!({}),
            Self::Mmds(contents) => contents.clone(),
        };
        (StatusCode::OK, Some(value.to_string().into_bytes()))
    }
}

/// `model` with the members that Firecracker never leaves out. `name` is the member it stands under.
fn complete(name: &str, model: &impl Serialize) -> Value {
    // The models hold nothing that JSON cannot: only a path that is not UTF-8, and that came from JSON.
    let mut value = serde_json::to_value(model).unwrap_or_default();
    fill(name, &mut value);
    value
}

fn fill(name: &str, value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| fill(name, item)),
        Value::Object(members) => {
            for (name, value) in members.iter_mut() {
                fill(name, value);
            }
            for member in never_null_but_off(name) {
                members.entry(*member).or_insert(json!(false));
            }
            for member in null_when_absent(name) {
                members.entry(*member).or_insert(Value::Null);
            }
        }
        _ => {}
    }
}

/// Optional members that Firecracker writes as `null`, by the member their object (or array) stands under.
fn null_when_absent(name: &str) -> &'static [&'static str] {
    match name {
        "vm-config" => &[
            "balloon",
            "cpu-config",
            "logger",
            "machine-config",
            "metrics",
            "mmds-config",
            "vsock",
            "entropy",
            "memory-hotplug",
        ],
        "boot-source" => &["initrd_path", "boot_args"],
        "drives" => &[
            "partuuid",
            "is_read_only",
            "path_on_host",
            "rate_limiter",
            "io_engine",
            "socket",
        ],
        "network-interfaces" => &["guest_mac", "mtu", "rx_rate_limiter", "tx_rate_limiter"],
        "pmem" | "entropy" => &["rate_limiter"],
        "mmds-config" => &["ipv4_address"],
        "rate_limiter" | "rx_rate_limiter" | "tx_rate_limiter" => &["bandwidth", "ops"],
        "bandwidth" | "ops" => &["one_time_burst"],
        "hinting" => &["guest_cmd"],
        _ => &[],
    }
}

/// Switches that the models leave out when they are off.
fn never_null_but_off(name: &str) -> &'static [&'static str] {
    match name {
        "balloon" => &["free_page_hinting", "free_page_reporting"],
        "mmds-config" => &["imds_compat"],
        _ => &[],
    }
}

//! A request to the VMM's API, as `METHOD PATH`, a line feed and the body: understood or refused, then judged by the rules.

use firecracker_api::models::{InstanceState, MachineConfiguration, PartialMachineConfiguration};
use firecracker_api::server::{ApiRequest, Method, route, rules};
use serde_json::json;

const STATES: [InstanceState; 3] = [
    InstanceState::NotStarted,
    InstanceState::Running,
    InstanceState::Paused,
];

/// The most bytes of metadata.
const LIMIT: usize = 51_200;

pub(crate) fn run(bytes: &[u8]) {
    let end = bytes
        .iter()
        .position(|byte| *byte == b'\n')
        .unwrap_or(bytes.len());
    let (line, body) = bytes.split_at(end);
    let body = body.get(1..).unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let Some((method, path)) = line.split_once(' ') else {
        return;
    };
    let method = match method {
        "PUT" => Method::Put,
        "PATCH" => Method::Patch,
        "DELETE" => Method::Delete,
        _ => Method::Get,
    };
    let Ok(routed) = route(method, path, body) else {
        return;
    };
    for state in STATES {
        let _ = routed.request.admit(state);
    }
    judge(routed.request);
}

/// The rules of the request's kind, beside a device like itself.
fn judge(request: ApiRequest) {
    use ApiRequest as R;
    match request {
        R::UpdateMachineConfig(change) => {
            let current = MachineConfiguration::default();
            if let Ok(next) = rules::machine_config(&current, &change, Some(64)) {
                let again = PartialMachineConfiguration::default();
                assert_eq!(rules::machine_config(&next, &again, Some(64)), Ok(next));
            }
        }
        R::PutBalloon(balloon) => drop(rules::balloon(&balloon, 128)),
        R::PatchBalloon(update) => drop(rules::balloon_size(update.amount_mib, 128)),
        R::PutDrive(drive) => {
            let mut drives = vec![drive.clone()];
            let _ = rules::drive(&drive, &drives, &[]);
            rules::place_drive(&mut drives, drive);
            assert_eq!(drives.len(), 1, "a drive of the same id replaces the other");
        }
        R::PutPmem(pmem) => drop(rules::pmem(&pmem, std::slice::from_ref(&pmem), &[])),
        R::PutNetworkInterface(interface) => {
            let _ = rules::network_interface(&interface, std::slice::from_ref(&interface));
            let _ = rules::mtu(interface.mtu);
        }
        R::PutVsock(vsock) => drop(rules::vsock(&vsock)),
        R::PutMmdsConfig(config) => drop(rules::mmds_config(&config, &["eth0"])),
        R::PutMmds(contents) => drop(rules::put_mmds(contents, LIMIT)),
        R::PatchMmds(patch) => drop(rules::patch_mmds(Some(&json!({"a": {"b": "c"}})), &patch, LIMIT)),
        R::PutMemoryHotplug(config) => drop(rules::memory_hotplug(&config)),
        _ => {}
    }
}

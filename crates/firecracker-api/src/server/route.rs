//! Method, path and body to a request (`parsed_request.rs` and `request/*.rs` of Firecracker's API server).
//!
//! The invariant: no bytes panic, and the order of the judgements is Firecracker's, since a request may be wrong in
//! several ways and the client is told of the first.

use std::fmt;
use std::str::SplitTerminator;

use serde::de::{DeserializeOwned, Error as _};

use super::{ApiRequest, DeviceKind, Fault, SnapshotLoad};
use crate::models::{
    ActionType, BalloonStartCmd, Drive, InstanceActionInfo, MachineConfiguration, MemoryBackend,
    MemoryBackendType, MmdsConfig, MmdsVersion, NetworkInterface, PartialDrive, PartialMachineConfiguration,
    PartialNetworkInterface, PartialPmem, Pmem, SnapshotLoadParams, Vm, Vsock,
};

/// The methods of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Asks.
    Get,
    /// Sets.
    Put,
    /// Changes.
    Patch,
    /// Removes.
    Delete,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Get => "GET",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        })
    }
}

/// A request that was understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Routed {
    /// What is asked for.
    pub request: ApiRequest,
    /// What is deprecated about it: goes to the log, and the answer gets a `Deprecation` header.
    pub deprecation: Option<&'static str>,
}

impl From<ApiRequest> for Routed {
    fn from(request: ApiRequest) -> Self {
        Self {
            request,
            deprecation: None,
        }
    }
}

/// The parts of a path behind the first.
type Rest<'p> = SplitTerminator<'p, char>;

/// Understands a request. `path` is what stands in the request line, query included; an empty `body` is none.
///
/// # Errors
/// The fault to answer with.
pub fn route(method: Method, path: &str, body: &[u8]) -> Result<Routed, Fault> {
    use ApiRequest as R;
    let mut rest = path.trim_start_matches('/').split_terminator('/');
    let first = rest.next().unwrap_or_default();
    let has_body = !body.is_empty();

    let request = match (method, first, has_body) {
        (Method::Get, _, true) => return Err(Fault::bad_request("GET request cannot have a body.")),
        (Method::Put, _, false) => return Err(Fault::bad_request("Empty PUT request.")),
        (Method::Delete, _, true) => return Err(Fault::bad_request("Empty Delete request.")),

        (Method::Get, "", _) => R::GetInstance,
        (Method::Get, "version", _) => R::GetVersion,
        (Method::Get, "vm", _) if rest.next() == Some("config") => R::GetVmConfig,
        (Method::Get, "machine-config", _) => R::GetMachineConfig,
        (Method::Get, "mmds", _) => R::GetMmds,
        (Method::Get, "balloon", _) => get_balloon(rest)?,
        (Method::Get, "hotplug", _) if rest.next() == Some("memory") => R::GetMemoryHotplug,

        (Method::Put, "actions", _) => action(body)?,
        (Method::Put, "boot-source", _) => R::PutBootSource(json(body)?),
        (Method::Put, "machine-config", _) => return put_machine_config(body),
        (Method::Put, "cpu-config", _) => R::PutCpuConfig(json(body)?),
        (Method::Put, "drives", _) => {
            R::PutDrive(with_id(rest, body, |drive: &Drive| &drive.drive_id, ids_differ)?)
        }
        (Method::Put, "pmem", _) => R::PutPmem(with_id(rest, body, |pmem: &Pmem| &pmem.id, ids_differ)?),
        (Method::Put, "network-interfaces", _) => R::PutNetworkInterface(with_id(
            rest,
            body,
            |net: &NetworkInterface| &net.iface_id,
            interface_ids_differ,
        )?),
        (Method::Put, "vsock", _) => return put_vsock(body),
        (Method::Put, "entropy", _) => R::PutEntropy(json(body)?),
        (Method::Put, "serial", _) => R::PutSerial(json(body)?),
        (Method::Put, "balloon", _) => R::PutBalloon(json(body)?),
        (Method::Put, "hotplug", _) if rest.next() == Some("memory") => R::PutMemoryHotplug(json(body)?),
        (Method::Put, "mmds", _) => return put_mmds(rest, body),
        (Method::Put, "logger", _) => R::PutLogger(json(body)?),
        (Method::Put, "metrics", _) => R::PutMetrics(json(body)?),
        (Method::Put, "snapshot", _) => return put_snapshot(rest, body),

        (Method::Patch, "balloon", _) => patch_balloon(rest, body)?,
        (Method::Patch, _, false) => return Err(empty_patch()),
        (Method::Patch, "machine-config", _) => return patch_machine_config(body),
        (Method::Patch, "vm", _) => R::PatchVm(json::<Vm>(body)?.state),
        (Method::Patch, "drives", _) => R::PatchDrive(with_id(
            rest,
            body,
            |drive: &PartialDrive| &drive.drive_id,
            ids_differ,
        )?),
        (Method::Patch, "pmem", _) => {
            R::PatchPmem(with_id(rest, body, |pmem: &PartialPmem| &pmem.id, ids_differ)?)
        }
        (Method::Patch, "network-interfaces", _) => R::PatchNetworkInterface(with_id(
            rest,
            body,
            |net: &PartialNetworkInterface| &net.iface_id,
            interface_ids_differ,
        )?),
        (Method::Patch, "mmds", _) => R::PatchMmds(json(body)?),
        (Method::Patch, "hotplug", _) if rest.next() == Some("memory") => R::PatchMemoryHotplug(json(body)?),

        (Method::Delete, "drives", _) => unplug(DeviceKind::Drive, rest)?,
        (Method::Delete, "pmem", _) => unplug(DeviceKind::Pmem, rest)?,
        (Method::Delete, "network-interfaces", _) => unplug(DeviceKind::NetworkInterface, rest)?,

        (method, unknown, _) => return Err(no_such_path(method, unknown)),
    };
    Ok(request.into())
}

fn no_such_path(method: Method, path: &str) -> Fault {
    Fault::bad_request(format!("Invalid request method and/or path: {method} {path}."))
}

fn empty_patch() -> Fault {
    Fault::bad_request("Empty PATCH request.")
}

fn malformed(error: &serde_json::Error) -> Fault {
    Fault::bad_request(format!(
        "An error occurred when deserializing the json body of a request: {error}."
    ))
}

fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(body).map_err(|error| malformed(&error))
}

/// The id at the end of a path. Letters and digits of any script will do.
fn checked_id(mut rest: Rest<'_>) -> Result<&str, Fault> {
    match rest.next() {
        None | Some("") => Err(Fault::bad_request("The ID cannot be empty.")),
        Some(id) if id.chars().all(|c| c == '_' || c.is_alphanumeric()) => Ok(id),
        Some(_) => Err(Fault::bad_request(
            "API Resource IDs can only contain alphanumeric characters and underscores.",
        )),
    }
}

fn with_id<T: DeserializeOwned>(
    rest: Rest<'_>,
    body: &[u8],
    id_of: fn(&T) -> &str,
    differ: fn(&str, &str) -> String,
) -> Result<T, Fault> {
    let id = checked_id(rest)?;
    let device = json(body)?;
    if id_of(&device) == id {
        Ok(device)
    } else {
        Err(Fault::bad_request(differ(id, id_of(&device))))
    }
}

fn ids_differ(_path: &str, _body: &str) -> String {
    "The id from the path does not match the id from the body!".to_owned()
}

fn interface_ids_differ(path: &str, body: &str) -> String {
    format!("The id from the path [{path}] does not match the id from the body [{body}]!")
}

fn unplug(kind: DeviceKind, rest: Rest<'_>) -> Result<ApiRequest, Fault> {
    Ok(ApiRequest::UnplugDevice {
        kind,
        id: checked_id(rest)?.to_owned(),
    })
}

fn action(body: &[u8]) -> Result<ApiRequest, Fault> {
    match json::<InstanceActionInfo>(body)?.action_type {
        ActionType::FlushMetrics => Ok(ApiRequest::FlushMetrics),
        ActionType::InstanceStart => Ok(ApiRequest::InstanceStart),
        ActionType::SendCtrlAltDel if cfg!(target_arch = "aarch64") => Err(Fault::bad_request(
            "SendCtrlAltDel does not supported on aarch64.",
        )),
        ActionType::SendCtrlAltDel => Ok(ApiRequest::SendCtrlAltDel),
    }
}

fn put_machine_config(body: &[u8]) -> Result<Routed, Fault> {
    let machine: MachineConfiguration = json(body)?;
    Ok(Routed {
        deprecation: machine
            .cpu_template
            .is_some()
            .then_some("PUT /machine-config: cpu_template field is deprecated."),
        request: ApiRequest::UpdateMachineConfig(machine.into()),
    })
}

fn patch_machine_config(body: &[u8]) -> Result<Routed, Fault> {
    let change: PartialMachineConfiguration = json(body)?;
    if change == PartialMachineConfiguration::default() {
        return Err(empty_patch());
    }
    Ok(Routed {
        deprecation: change
            .cpu_template
            .is_some()
            .then_some("PATCH /machine-config: cpu_template field is deprecated."),
        request: ApiRequest::UpdateMachineConfig(change),
    })
}

fn put_vsock(body: &[u8]) -> Result<Routed, Fault> {
    let vsock: Vsock = json(body)?;
    Ok(Routed {
        deprecation: vsock
            .vsock_id
            .is_some()
            .then_some("PUT /vsock: vsock_id field is deprecated."),
        request: ApiRequest::PutVsock(vsock),
    })
}

fn get_balloon(mut rest: Rest<'_>) -> Result<ApiRequest, Fault> {
    match rest.next() {
        None => Ok(ApiRequest::GetBalloon),
        Some("statistics") => Ok(ApiRequest::GetBalloonStatistics),
        Some("hinting") => match rest.next() {
            Some("status") => Ok(ApiRequest::GetBalloonHintingStatus),
            other => Err(no_such_balloon(Method::Get, &hinting(other))),
        },
        Some(other) => Err(no_such_balloon(Method::Get, other)),
    }
}

fn patch_balloon(mut rest: Rest<'_>, body: &[u8]) -> Result<ApiRequest, Fault> {
    match rest.next() {
        Some("hinting") => match rest.next() {
            Some("start") if body.is_empty() => {
                Ok(ApiRequest::StartBalloonHinting(BalloonStartCmd::default()))
            }
            Some("start") => Ok(ApiRequest::StartBalloonHinting(json(body)?)),
            Some("stop") => Ok(ApiRequest::StopBalloonHinting),
            other => Err(no_such_balloon(Method::Patch, &hinting(other))),
        },
        _ if body.is_empty() => Err(empty_patch()),
        Some("statistics") => Ok(ApiRequest::PatchBalloonStatistics(json(body)?)),
        _ => Ok(ApiRequest::PatchBalloon(json(body)?)),
    }
}

fn hinting(rest: Option<&str>) -> String {
    format!("/hinting/{}", rest.unwrap_or_default())
}

fn no_such_balloon(method: Method, path: &str) -> Fault {
    Fault::bad_request(format!("Unrecognized {method} request path `{path}`."))
}

fn put_mmds(mut rest: Rest<'_>, body: &[u8]) -> Result<Routed, Fault> {
    match rest.next() {
        None => Ok(ApiRequest::PutMmds(json(body)?).into()),
        Some("config") => {
            let config: MmdsConfig = json(body)?;
            Ok(Routed {
                deprecation: (config.version == MmdsVersion::V1)
                    .then_some("PUT /mmds/config: V1 is deprecated. Use V2 instead."),
                request: ApiRequest::PutMmdsConfig(config),
            })
        }
        Some(other) => Err(Fault::bad_request(format!(
            "Unrecognized PUT request path `{other}`."
        ))),
    }
}

fn put_snapshot(mut rest: Rest<'_>, body: &[u8]) -> Result<Routed, Fault> {
    match rest.next() {
        None => Err(Fault::bad_request("Missing snapshot operation type.")),
        Some("create") => Ok(ApiRequest::CreateSnapshot(json(body)?).into()),
        Some("load") => load_snapshot(json(body)?),
        Some(other) => Err(no_such_path(Method::Put, &format!("/snapshot/{other}"))),
    }
}

fn load_snapshot(params: SnapshotLoadParams) -> Result<Routed, Fault> {
    let is_old = params.mem_file_path.is_some() || params.enable_diff_snapshots;
    let complaint = |text| malformed(&serde_json::Error::custom(text));
    let mem_backend = match (params.mem_backend, params.mem_file_path) {
        (Some(backend), None) => backend,
        (None, Some(backend_path)) => MemoryBackend {
            backend_path,
            backend_type: MemoryBackendType::File,
        },
        (Some(_), Some(_)) => {
            return Err(complaint(
                "too many fields: either `mem_backend` or `mem_file_path` exclusively is required",
            ));
        }
        (None, None) => {
            return Err(complaint(
                "missing field: either `mem_backend` or `mem_file_path` is required",
            ));
        }
    };
    Ok(Routed {
        deprecation: is_old
            .then_some("PUT /snapshot/load: mem_file_path and enable_diff_snapshots fields are deprecated."),
        request: ApiRequest::LoadSnapshot(SnapshotLoad {
            snapshot_path: params.snapshot_path,
            mem_backend,
            track_dirty_pages: params.track_dirty_pages || params.enable_diff_snapshots,
            resume_vm: params.resume_vm,
            network_overrides: params.network_overrides,
            vsock_override: params.vsock_override,
            clock_realtime: params.clock_realtime,
            huge_pages: params.huge_pages,
        }),
    })
}

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::models::{
    BalloonStartCmd, BalloonUpdate, CpuTemplate, InstanceState, MachineConfiguration, MemoryBackend,
    MemoryBackendType, PartialMachineConfiguration, SnapshotHugePages, VmState,
};
use crate::server::{ApiRequest, DeviceKind, Fault, Method, Routed, SnapshotLoad, route};

use Method::{Delete, Get, Patch, Put};

fn understood(method: Method, path: &str, body: &str) -> Routed {
    route(method, path, body.as_bytes()).unwrap_or_else(|fault| panic!("{method} {path} {body}: {fault}"))
}

fn refused(method: Method, path: &str, body: &str) -> String {
    match route(method, path, body.as_bytes()) {
        Err(Fault { status: 400, message }) => message,
        other => panic!("{method} {path} {body}: {other:?}"),
    }
}

#[test]
fn questions() {
    for (path, request) in [
        ("/", ApiRequest::GetInstance),
        ("", ApiRequest::GetInstance),
        ("//", ApiRequest::GetInstance),
        ("/version", ApiRequest::GetVersion),
        ("/version/", ApiRequest::GetVersion),
        ("/version/of/what", ApiRequest::GetVersion),
        ("/vm/config", ApiRequest::GetVmConfig),
        ("/machine-config", ApiRequest::GetMachineConfig),
        ("/mmds", ApiRequest::GetMmds),
        ("/mmds/config", ApiRequest::GetMmds),
        ("/balloon", ApiRequest::GetBalloon),
        ("/balloon/statistics", ApiRequest::GetBalloonStatistics),
        ("/balloon/hinting/status", ApiRequest::GetBalloonHintingStatus),
        ("/hotplug/memory", ApiRequest::GetMemoryHotplug),
    ] {
        assert_eq!(understood(Get, path, ""), request.into(), "{path}");
        assert_eq!(refused(Get, path, "{}"), "GET request cannot have a body.");
    }
}

#[test]
fn paths_that_lead_nowhere() {
    for (method, path, body, words) in [
        (Get, "/vm", "", "Invalid request method and/or path: GET vm."),
        (
            Get,
            "/vm/state",
            "",
            "Invalid request method and/or path: GET vm.",
        ),
        (
            Get,
            "/drives/a",
            "",
            "Invalid request method and/or path: GET drives.",
        ),
        (
            Get,
            "/version?x=1",
            "",
            "Invalid request method and/or path: GET version?x=1.",
        ),
        (
            Get,
            "/hotplug",
            "",
            "Invalid request method and/or path: GET hotplug.",
        ),
        (Put, "/", "{}", "Invalid request method and/or path: PUT ."),
        (
            Put,
            "/nothing/here",
            "{}",
            "Invalid request method and/or path: PUT nothing.",
        ),
        (
            Put,
            "/hotplug/cpu",
            "{}",
            "Invalid request method and/or path: PUT hotplug.",
        ),
        (
            Put,
            "/snapshot/delete",
            "{}",
            "Invalid request method and/or path: PUT /snapshot/delete.",
        ),
        (Put, "/snapshot", "{}", "Missing snapshot operation type."),
        (Put, "/mmds/tree", "{}", "Unrecognized PUT request path `tree`."),
        (Put, "/nothing", "", "Empty PUT request."),
        (Patch, "/nothing", "", "Empty PATCH request."),
        (
            Patch,
            "/boot-source",
            "{}",
            "Invalid request method and/or path: PATCH boot-source.",
        ),
        (Patch, "/balloon", "", "Empty PATCH request."),
        (Patch, "/balloon/statistics", "", "Empty PATCH request."),
        (
            Patch,
            "/balloon/hinting",
            "",
            "Unrecognized PATCH request path `/hinting/`.",
        ),
        (
            Patch,
            "/balloon/hinting/status",
            "",
            "Unrecognized PATCH request path `/hinting/status`.",
        ),
        (Get, "/balloon/size", "", "Unrecognized GET request path `size`."),
        (
            Get,
            "/balloon/hinting",
            "",
            "Unrecognized GET request path `/hinting/`.",
        ),
        (
            Get,
            "/balloon/hinting/start",
            "",
            "Unrecognized GET request path `/hinting/start`.",
        ),
        (
            Delete,
            "/vsock",
            "",
            "Invalid request method and/or path: DELETE vsock.",
        ),
        (Delete, "/vsock", "{}", "Empty Delete request."),
        (Delete, "/drives/a", "{}", "Empty Delete request."),
    ] {
        assert_eq!(refused(method, path, body), words, "{method} {path}");
    }
}

#[test]
fn ids_are_there_plain_and_the_same_twice() {
    let drive = r#"{"drive_id":"a_1","is_root_device":false}"#;
    let net = r#"{"iface_id":"a_1","host_dev_name":"t"}"#;
    let pmem = r#"{"id":"a_1","path_on_host":"p"}"#;
    for (method, path, body) in [
        (Put, "/drives", drive),
        (Put, "/pmem", pmem),
        (Put, "/network-interfaces", net),
        (Patch, "/drives", r#"{"drive_id":"a_1"}"#),
        (Patch, "/pmem", r#"{"id":"a_1"}"#),
        (Patch, "/network-interfaces", r#"{"iface_id":"a_1"}"#),
        (Delete, "/drives", ""),
        (Delete, "/pmem", ""),
        (Delete, "/network-interfaces", ""),
    ] {
        understood(method, &format!("{path}/a_1"), body);
        understood(method, &format!("{path}/a_1/more"), body);
        for none in ["", "/", "//"] {
            assert_eq!(
                refused(method, &format!("{path}{none}"), body),
                "The ID cannot be empty."
            );
        }
        for odd in ["a-1", "a%31", "a.1", "a?"] {
            assert_eq!(
                refused(method, &format!("{path}/{odd}"), body),
                "API Resource IDs can only contain alphanumeric characters and underscores."
            );
        }
        let differ = match path {
            _ if method == Delete => continue,
            "/network-interfaces" => {
                "The id from the path [b] does not match the id from the body [a_1]!".to_owned()
            }
            _ => "The id from the path does not match the id from the body!".to_owned(),
        };
        assert_eq!(refused(method, &format!("{path}/b"), body), differ);
    }
    assert_eq!(
        understood(Delete, "/network-interfaces/é1", "").request,
        ApiRequest::UnplugDevice {
            kind: DeviceKind::NetworkInterface,
            id: "é1".into()
        }
    );
}

#[test]
fn the_id_is_judged_before_the_body_and_the_body_before_both_ids() {
    assert_eq!(refused(Put, "/drives", "{"), "The ID cannot be empty.");
    assert_eq!(
        refused(Put, "/drives/b", r#"{"drive_id":"a"}"#),
        "An error occurred when deserializing the json body of a request: missing field `is_root_device` at line 1 \
         column 16."
    );
}

#[test]
fn bodies_that_are_no_json() {
    let malformed = |body| refused(Put, "/boot-source", body);
    assert_eq!(
        malformed("{"),
        "An error occurred when deserializing the json body of a request: EOF while parsing an object at line 1 \
         column 1."
    );
    assert_eq!(
        malformed(r#"{"kernel_image_path":"k"} x"#),
        "An error occurred when deserializing the json body of a request: trailing characters at line 1 column 27."
    );
    assert_eq!(
        malformed(r#"{"kernel_image_path":"k","kernel_image_path":"k"}"#),
        "An error occurred when deserializing the json body of a request: duplicate field `kernel_image_path` at line \
         1 column 44."
    );
    let deep = "[".repeat(200);
    assert!(refused(Put, "/mmds", &deep).contains("recursion limit exceeded"));
}

#[test]
fn changes_of_the_machine() {
    let whole = r#"{"vcpu_count":2,"mem_size_mib":64}"#;
    let machine = MachineConfiguration {
        vcpu_count: 2,
        mem_size_mib: 64,
        ..Default::default()
    };
    assert_eq!(
        understood(Put, "/machine-config", whole),
        ApiRequest::UpdateMachineConfig(machine.into()).into()
    );
    for empty in ["{}", r#"{"smt":null}"#] {
        assert_eq!(refused(Patch, "/machine-config", empty), "Empty PATCH request.");
    }
    assert_eq!(
        understood(Patch, "/machine-config", r#"{"cpu_template":"None"}"#),
        Routed {
            request: ApiRequest::UpdateMachineConfig(PartialMachineConfiguration {
                cpu_template: Some(CpuTemplate::None),
                ..Default::default()
            }),
            deprecation: Some("PATCH /machine-config: cpu_template field is deprecated."),
        }
    );
    let template = r#"{"vcpu_count":2,"mem_size_mib":64,"cpu_template":"None"}"#;
    assert_eq!(
        understood(Put, "/machine-config", template).deprecation,
        Some("PUT /machine-config: cpu_template field is deprecated.")
    );
}

#[test]
fn deprecated_fields_are_noticed() {
    let vsock = understood(Put, "/vsock", r#"{"vsock_id":"v","guest_cid":3,"uds_path":"u"}"#);
    assert_eq!(
        vsock.deprecation,
        Some("PUT /vsock: vsock_id field is deprecated.")
    );
    assert_eq!(
        understood(Put, "/vsock", r#"{"guest_cid":3,"uds_path":"u"}"#).deprecation,
        None
    );
    let v1 = understood(Put, "/mmds/config", r#"{"network_interfaces":[]}"#);
    assert_eq!(
        v1.deprecation,
        Some("PUT /mmds/config: V1 is deprecated. Use V2 instead.")
    );
    let v2 = understood(Put, "/mmds/config", r#"{"network_interfaces":[],"version":"V2"}"#);
    assert_eq!(v2.deprecation, None);
}

#[test]
fn snapshots_are_loaded_from_one_memory() {
    let old = r#"{"snapshot_path":"s","mem_file_path":"m","enable_diff_snapshots":true}"#;
    let routed = understood(Put, "/snapshot/load", old);
    assert_eq!(
        routed.deprecation,
        Some("PUT /snapshot/load: mem_file_path and enable_diff_snapshots fields are deprecated.")
    );
    let load = SnapshotLoad {
        snapshot_path: "s".into(),
        mem_backend: MemoryBackend {
            backend_path: "m".into(),
            backend_type: MemoryBackendType::File,
        },
        track_dirty_pages: true,
        resume_vm: false,
        network_overrides: Vec::new(),
        vsock_override: None,
        clock_realtime: false,
        huge_pages: SnapshotHugePages::Snapshot,
    };
    assert_eq!(routed.request, ApiRequest::LoadSnapshot(load));
    let backend = r#""mem_backend":{"backend_path":"m","backend_type":"Uffd"}"#;
    let new = understood(
        Put,
        "/snapshot/load",
        &format!(r#"{{"snapshot_path":"s",{backend}}}"#),
    );
    assert_eq!(new.deprecation, None);
    assert_eq!(
        refused(
            Put,
            "/snapshot/load",
            &format!(r#"{{"snapshot_path":"s","mem_file_path":"m",{backend}}}"#)
        ),
        "An error occurred when deserializing the json body of a request: too many fields: either `mem_backend` or \
         `mem_file_path` exclusively is required."
    );
    assert_eq!(
        refused(Put, "/snapshot/load", r#"{"snapshot_path":"s"}"#),
        "An error occurred when deserializing the json body of a request: missing field: either `mem_backend` or \
         `mem_file_path` is required."
    );
}

#[test]
fn hinting_may_start_without_a_word() {
    let start = |body| understood(Patch, "/balloon/hinting/start", body).request;
    let acknowledge =
        |acknowledge_on_stop| ApiRequest::StartBalloonHinting(BalloonStartCmd { acknowledge_on_stop });
    assert_eq!(start(""), acknowledge(true));
    assert_eq!(start("{}"), acknowledge(true));
    assert_eq!(start(r#"{"acknowledge_on_stop":false}"#), acknowledge(false));
    for body in ["", "{}", "whatever"] {
        let stop = understood(Patch, "/balloon/hinting/stop", body);
        assert_eq!(stop.request, ApiRequest::StopBalloonHinting);
    }
    assert_eq!(
        understood(Patch, "/balloon/elsewhere", r#"{"amount_mib":1}"#).request,
        ApiRequest::PatchBalloon(BalloonUpdate { amount_mib: 1 })
    );
}

#[test]
fn metadata_may_be_any_json() {
    for text in ["{}", "null", "[1]", "\"a\"", "1.5"] {
        let value: Value = serde_json::from_str(text).unwrap();
        assert_eq!(
            understood(Put, "/mmds", text).request,
            ApiRequest::PutMmds(value.clone())
        );
        assert_eq!(
            understood(Patch, "/mmds", text).request,
            ApiRequest::PatchMmds(value)
        );
    }
}

#[test]
fn the_start_parts_what_may_be_asked() {
    let before = Err(Fault::not_before_start());
    let after = Err(Fault::not_after_start());
    let ask = |request: &ApiRequest| {
        use InstanceState::{NotStarted, Paused, Running};
        assert_eq!(request.admit(Running), request.admit(Paused));
        (request.admit(NotStarted), request.admit(Running))
    };
    assert_eq!(ask(&ApiRequest::GetInstance), (Ok(()), Ok(())));
    assert_eq!(ask(&ApiRequest::PutMmds(json!({}))), (Ok(()), Ok(())));
    assert_eq!(ask(&ApiRequest::InstanceStart), (Ok(()), after.clone()));
    assert_eq!(ask(&understood(Put, "/logger", "{}").request), (Ok(()), after));
    assert_eq!(
        ask(&ApiRequest::PatchVm(VmState::Paused)),
        (before.clone(), Ok(()))
    );
    assert_eq!(
        ask(&understood(Delete, "/drives/a", "").request),
        (before, Ok(()))
    );
}

proptest! {
    /// Whatever comes over the socket is understood or refused with words.
    #[test]
    fn nothing_panics(
        method in prop::sample::select(vec![Get, Put, Patch, Delete]),
        path in prop_oneof![
            ".{0,40}",
            "/(drives|pmem|network-interfaces|balloon|snapshot|hotplug|mmds|vm)?(/[a-z_]{0,10}){0,3}",
        ],
        body in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..64),
            r#"\{("[a-z_]{1,12}":([0-9]{1,22}|"[a-z]{0,9}"|null|\{\}|\[\]),?){0,4}\}"#.prop_map(String::into_bytes),
        ],
    ) {
        if let Err(fault) = route(method, &path, &body) {
            prop_assert_eq!(fault.status, 400);
            prop_assert!(!fault.message.is_empty());
        }
    }
}

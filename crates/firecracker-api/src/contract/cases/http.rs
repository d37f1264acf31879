//! What is refused before anybody looks into a body.
//!
//! Sources: `src/firecracker/src/api_server/parsed_request.rs` (`ParsedRequest::try_from`, `method_to_error`) and
//! micro-http's `src/connection.rs` and `src/server.rs` (limits, methods).

use hyper::Method;

use crate::contract::Files;
use crate::contract::case::{Case, Phase, Step, ask, delete, get, patch, put};

pub(super) const CASES: &[Case] = &[
    Case::new("http/unknown paths", Phase::NotStarted, unknown_paths),
    Case::new(
        "http/bodies where none belong and none where one belongs",
        Phase::NotStarted,
        misplaced_bodies,
    ),
    Case::new("http/ids", Phase::NotStarted, ids),
    Case::new("http/broken json", Phase::NotStarted, broken_json),
    Case::new("http/other methods", Phase::NotStarted, other_methods),
    Case::new("http/large bodies", Phase::NotStarted, large_bodies),
];

fn unknown_paths(_: &Files) -> Vec<Step> {
    let nowhere = |words: &str| format!("Invalid request method and/or path: {words}.");
    vec![
        get("/nothing").fault(nowhere("GET nothing")),
        get("/vm").fault(nowhere("GET vm")),
        get("/vm/state").fault(nowhere("GET vm")),
        get("/actions").fault(nowhere("GET actions")),
        get("/drives/a").fault(nowhere("GET drives")),
        get("/version?full").fault(nowhere("GET version?full")),
        get("/hotplug").fault(nowhere("GET hotplug")),
        put("/", "{}").fault(nowhere("PUT ")),
        put("/nothing/here", "{}").fault(nowhere("PUT nothing")),
        put("/hotplug/cpu", "{}").fault(nowhere("PUT hotplug")),
        put("/snapshot/delete", "{}").fault(nowhere("PUT /snapshot/delete")),
        put("/snapshot", "{}").fault("Missing snapshot operation type."),
        put("/mmds/tree", "{}").fault("Unrecognized PUT request path `tree`."),
        patch("/boot-source", r#"{"kernel_image_path":"k"}"#).fault(nowhere("PATCH boot-source")),
        patch("/logger", r#"{"level":"Error"}"#).fault(nowhere("PATCH logger")),
        get("/balloon/size").fault("Unrecognized GET request path `size`."),
        get("/balloon/hinting").fault("Unrecognized GET request path `/hinting/`."),
        get("/balloon/hinting/start").fault("Unrecognized GET request path `/hinting/start`."),
        patch("/balloon/hinting/status", "{}").fault("Unrecognized PATCH request path `/hinting/status`."),
        delete("/vsock").fault(nowhere("DELETE vsock")),
        get("//version/").members([]),
    ]
}

fn misplaced_bodies(_: &Files) -> Vec<Step> {
    vec![
        get("/").with("{}").fault("GET request cannot have a body."),
        get("/nothing")
            .with("{}")
            .fault("GET request cannot have a body."),
        ask(Method::PUT, "/actions").fault("Empty PUT request."),
        ask(Method::PUT, "/nothing").fault("Empty PUT request."),
        ask(Method::PATCH, "/vm").fault("Empty PATCH request."),
        ask(Method::PATCH, "/balloon").fault("Empty PATCH request."),
        ask(Method::PATCH, "/nothing").fault("Empty PATCH request."),
        delete("/drives/a").with("{}").fault("Empty Delete request."),
    ]
}

fn ids(_: &Files) -> Vec<Step> {
    let empty = "The ID cannot be empty.";
    let odd = "API Resource IDs can only contain alphanumeric characters and underscores.";
    let mut steps = Vec::new();
    for path in ["/drives", "/pmem", "/network-interfaces"] {
        steps.push(put(path, "{}").fault(empty));
        steps.push(patch(path, "{}").fault(empty));
        steps.push(delete(path).fault(empty));
        steps.push(put(&format!("{path}//"), "{}").fault(empty));
        for id in ["a-b", "a.b", "a%62"] {
            steps.push(put(&format!("{path}/{id}"), "{}").fault(odd));
            steps.push(patch(&format!("{path}/{id}"), "{}").fault(odd));
            steps.push(delete(&format!("{path}/{id}")).fault(odd));
        }
    }
    let differ = "The id from the path does not match the id from the body!";
    let of_interfaces = "The id from the path [b] does not match the id from the body [a]!";
    steps.extend([
        put("/drives/b", r#"{"drive_id":"a","is_root_device":false}"#).fault(differ),
        patch("/drives/b", r#"{"drive_id":"a"}"#).fault(differ),
        put("/pmem/b", r#"{"id":"a","path_on_host":"p"}"#).fault(differ),
        patch("/pmem/b", r#"{"id":"a"}"#).fault(differ),
        put("/network-interfaces/b", r#"{"iface_id":"a","host_dev_name":"t"}"#).fault(of_interfaces),
        patch("/network-interfaces/b", r#"{"iface_id":"a"}"#).fault(of_interfaces),
    ]);
    steps
}

fn broken_json(_: &Files) -> Vec<Step> {
    vec![
        put("/actions", "{").malformed("EOF while parsing an object at line 1 column 1"),
        put("/actions", "x").malformed("expected value at line 1 column 1"),
        put("/actions", r#"{"action_type":"InstanceStart"}}"#)
            .malformed("trailing characters at line 1 column 32"),
        put("/boot-source", "7")
            .malformed("invalid type: integer `7`, expected struct BootSourceConfig at line 1 column 1"),
        put("/boot-source", "{}").malformed("missing field `kernel_image_path` at line 1 column 2"),
        put("/vm", "{}").fault("Invalid request method and/or path: PUT vm."),
        put("/mmds", "[".repeat(200)).malformed("recursion limit exceeded at line 1 column 128"),
        put("/drives/a", "{").malformed("EOF while parsing an object at line 1 column 1"),
    ]
}

fn other_methods(_: &Files) -> Vec<Step> {
    [Method::POST, Method::OPTIONS]
        .map(|method| ask(method, "/").no_http("Invalid HTTP Method: Unsupported HTTP method."))
        .into()
}

/// `--http-api-max-payload-size` is 51,200 bytes unless given.
fn large_bodies(_: &Files) -> Vec<Step> {
    let of = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
    vec![
        put("/boot-source", of(51_200)).malformed_beginning("invalid type: string \"xxx"),
        put("/boot-source", of(51_201))
            .no_http("Request payload with size 51201 is larger than the limit of 51200 allowed by server."),
    ]
}

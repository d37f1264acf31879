//! The boot source.
//!
//! Sources: `src/vmm/src/vmm_config/boot_source.rs`, `src/vmm/src/rpc_interface.rs` (`Boot source error`).

use serde_json::json;

use crate::contract::Files;
use crate::contract::case::{Case, Phase, Step, get, put};

pub(super) const CASES: &[Case] = &[
    Case::new("boot-source/set and replaced", Phase::NotStarted, set),
    Case::new(
        "boot-source/files that are not there",
        Phase::NotStarted,
        missing_files,
    ),
    Case::new("boot-source/malformed", Phase::NotStarted, malformed),
    Case::new(
        "boot-source/arguments too long",
        Phase::NotStarted,
        long_arguments,
    ),
];

fn set(files: &Files) -> Vec<Step> {
    vec![
        put("/boot-source", json!({"kernel_image_path": files.kernel})).done(),
        get("/vm/config").members([(
            "/boot-source",
            json!({"kernel_image_path": files.kernel, "initrd_path": null, "boot_args": null}),
        )]),
        put(
            "/boot-source",
            json!({"kernel_image_path": files.kernel, "initrd_path": files.drive, "boot_args": "a=b c"}),
        )
        .done(),
        get("/vm/config").members([(
            "/boot-source",
            json!({"kernel_image_path": files.kernel, "initrd_path": files.drive, "boot_args": "a=b c"}),
        )]),
        put(
            "/boot-source",
            json!({"kernel_image_path": files.kernel, "boot_args": ""}),
        )
        .done(),
        get("/vm/config").members([
            ("/boot-source/initrd_path", json!(null)),
            ("/boot-source/boot_args", json!("")),
        ]),
    ]
}

/// A refused boot source leaves the one before.
fn missing_files(files: &Files) -> Vec<Step> {
    let missing = format!("{}/contract-missing", files.folder);
    vec![
        put("/boot-source", json!({"kernel_image_path": files.kernel})).done(),
        put("/boot-source", json!({"kernel_image_path": missing})).fault(
            "Boot source error: The kernel file cannot be opened: No such file or directory (os error 2)",
        ),
        put("/boot-source", json!({"kernel_image_path": files.kernel, "initrd_path": missing})).fault(
            "Boot source error: The initrd file cannot be opened due to invalid path or invalid permissions. No such \
             file or directory (os error 2)",
        ),
        get("/vm/config").members([
            ("/boot-source/kernel_image_path", json!(files.kernel)),
            ("/boot-source/initrd_path", json!(null)),
        ]),
    ]
}

fn malformed(_: &Files) -> Vec<Step> {
    vec![
        put("/boot-source", r#"{"kernel_image_path":"k","kernel":"k"}"#).malformed(
            "unknown field `kernel`, expected one of `kernel_image_path`, `initrd_path`, `boot_args` at line 1 column 33",
        ),
        put("/boot-source", r#"{"initrd_path":"i"}"#)
            .malformed("missing field `kernel_image_path` at line 1 column 19"),
        put("/boot-source", r#"{"kernel_image_path":null}"#)
            .malformed("invalid type: null, expected a string at line 1 column 25"),
    ]
}

/// 2,048 bytes on either architecture (`CMDLINE_MAX_SIZE`).
fn long_arguments(files: &Files) -> Vec<Step> {
    let source = json!({"kernel_image_path": files.kernel, "boot_args": "x".repeat(3000)});
    vec![
        put("/boot-source", source)
            .fault_beginning("Boot source error: The kernel command line is invalid: "),
    ]
}

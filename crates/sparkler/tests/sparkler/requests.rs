//! What is refused, in whose words.

use serde_json::json;

use super::machine::{BOOT_ARGS, Machine};

const NOT_SUPPORTED: &str = "The requested operation is not supported: ";

#[test]
fn what_qemu_cannot_do_is_refused_and_says_so() {
    let machine = Machine::start(&[]);
    let disk = machine.file("disk", &[0; 4096]);
    let refusals = [
        (
            "PUT",
            "/machine-config",
            json!({ "vcpu_count": 1, "mem_size_mib": 128, "huge_pages": "2M" }),
        ),
        ("PATCH", "/machine-config", json!({ "huge_pages": "Transparent" })),
        ("PATCH", "/machine-config", json!({ "cpu_template": "T2" })),
        ("PUT", "/cpu-config", json!({})),
        ("PUT", "/pmem/a", json!({ "id": "a", "path_on_host": disk })),
        ("PUT", "/hotplug/memory", json!({ "total_size_mib": 1024 })),
        (
            "PUT",
            "/balloon",
            json!({ "amount_mib": 1, "deflate_on_oom": false, "free_page_hinting": true }),
        ),
        (
            "PUT",
            "/drives/a",
            json!({ "drive_id": "a", "is_root_device": false, "socket": "/tmp/s" }),
        ),
    ];
    for (method, path, body) in refusals {
        let words = machine.refused(method, path, &body);
        assert!(
            words.starts_with(NOT_SUPPORTED),
            "{method} {path} {body}: {words}"
        );
    }
    assert_eq!(machine.get("/machine-config")["huge_pages"], "None");
}

#[test]
fn missing_files_are_refused_when_they_are_named() {
    let machine = Machine::start(&[]);
    let kernel = machine.refused("PUT", "/boot-source", &json!({ "kernel_image_path": "/nowhere" }));
    assert_eq!(
        kernel,
        "Boot source error: The kernel file cannot be opened: No such file or directory (os error 2)"
    );
    let drive = json!({ "drive_id": "a", "path_on_host": "/nowhere", "is_root_device": false });
    assert_eq!(
        machine.refused("PUT", "/drives/a", &drive),
        "Drive config error: Unable to create the virtio block device: Virtio backend error: Error manipulating the backing file: No such file or directory (os error 2) /nowhere"
    );
    let net = json!({ "iface_id": "a", "host_dev_name": "a-name-far-too-long" });
    assert_eq!(
        machine.refused("PUT", "/network-interfaces/a", &net),
        "Network config error: Could not create the network device: Open tap device failed: Invalid interface name"
    );
    let occupied = machine.file("v.sock", b"");
    let vsock = machine.refused("PUT", "/vsock", &json!({ "guest_cid": 3, "uds_path": occupied }));
    assert_eq!(
        vsock,
        "Vsock config error: Cannot create backend for vsock device: Error binding to the host-side Unix socket: Address already in use (os error 98)"
    );
}

#[test]
fn a_running_machine_refuses_what_firecrackers_does() {
    let machine = Machine::booted(&[]);
    let after = "The requested operation is not supported after starting the microVM.";
    assert_eq!(
        machine.refused("PUT", "/actions", &json!({ "action_type": "InstanceStart" })),
        after
    );
    assert_eq!(
        machine.refused("PATCH", "/machine-config", &json!({ "vcpu_count": 2 })),
        after
    );
    assert_eq!(
        machine.refused("GET", "/balloon", &json!(null)),
        "Internal VMM error: Failed perform action on device: Device not found"
    );
    assert_eq!(
        machine.refused("GET", "/mmds", &json!(null)),
        "MMDS error: The MMDS data store is not initialized."
    );
    let drive = json!({ "drive_id": "a", "path_on_host": "/dev/null", "is_root_device": false });
    assert_eq!(machine.refused("PUT", "/drives/a", &drive), "PCI is not enabled");
    assert_eq!(
        machine.refused("DELETE", "/drives/a", &json!(null)),
        "PCI is not enabled"
    );
    let config = machine.get("/vm/config");
    assert_eq!(config["boot-source"]["boot_args"], BOOT_ARGS);
    assert_eq!(config["machine-config"]["mem_size_mib"], 128);
    let version = machine.get("/version");
    assert_eq!(version["firecracker_version"], machine.get("/")["vmm_version"]);
}

//! Drives: what the guest sees of the host's files, and what changes while it runs.

use std::fs;

use serde_json::{Value, json};

use super::machine::{BOOT_ARGS, Machine};

const MIB: usize = 1 << 20;

fn image(machine: &Machine, name: &str, mib: usize, mark: &[u8]) -> String {
    let mut bytes = vec![0; mib * MIB];
    bytes[..mark.len()].copy_from_slice(mark);
    machine.file(name, &bytes)
}

#[test]
fn drives_are_read_written_and_replaced() {
    let mut machine = Machine::start(&[]);
    let first = image(&machine, "first", 4, b"first");
    let second = image(&machine, "second", 8, b"second");
    let base = image(&machine, "base", 2, b"base");
    machine.put(
        "/drives/data",
        &json!({ "drive_id": "data", "path_on_host": first, "is_root_device": false }),
    );
    let read_only = json!({
        "drive_id": "base", "path_on_host": base, "is_root_device": false, "is_read_only": true,
        "cache_type": "Writeback", "io_engine": "Async",
    });
    machine.put("/drives/base", &read_only);
    machine.boot_source(BOOT_ARGS);
    machine.go();

    assert_eq!(machine.sh("head -c 5 /dev/vda; head -c 4 /dev/vdb"), "firstbase");
    assert_eq!(machine.sh("cat /sys/block/vda/size /sys/block/vdb/ro"), "8192\n1");
    assert_ne!(
        machine.run("echo x > /dev/vdb && sync").1,
        0,
        "a read-only drive was written"
    );
    machine.sh("echo written | dd of=/dev/vda bs=512 seek=2 conv=sync,notrunc; sync");
    assert!(fs::read(&first).unwrap()[1024..].starts_with(b"written\n"));

    machine.patch(
        "/drives/data",
        &json!({ "drive_id": "data", "path_on_host": second }),
    );
    machine.sh("echo 3 > /proc/sys/vm/drop_caches");
    assert_eq!(
        machine.sh("cat /sys/block/vda/size; head -c 6 /dev/vda"),
        "16384\nsecond"
    );
    machine.sh("echo again | dd of=/dev/vda bs=512 seek=4 conv=sync,notrunc; sync");
    assert!(fs::read(&second).unwrap()[2048..].starts_with(b"again\n"));
    assert_eq!(
        machine.get("/vm/config")["drives"][0]["path_on_host"],
        json!(second)
    );
    // And back, so that a name of a node that was removed cannot be in the way.
    machine.patch(
        "/drives/data",
        &json!({ "drive_id": "data", "path_on_host": first }),
    );
    machine.sh("echo 3 > /proc/sys/vm/drop_caches");
    assert_eq!(
        machine.sh("cat /sys/block/vda/size; head -c 5 /dev/vda"),
        "8192\nfirst"
    );
}

#[test]
fn a_read_only_drive_is_replaced_by_one_of_another_size() {
    let mut machine = Machine::start(&[]);
    let small = image(&machine, "small", 1, b"small");
    let large = image(&machine, "large", 3, b"large");
    let drive =
        json!({ "drive_id": "a", "path_on_host": small, "is_root_device": false, "is_read_only": true });
    machine.put("/drives/a", &drive);
    machine.boot_source(BOOT_ARGS);
    machine.go();
    assert_eq!(
        machine.sh("head -c 5 /dev/vda; cat /sys/block/vda/size"),
        "small2048"
    );
    machine.patch("/drives/a", &json!({ "drive_id": "a", "path_on_host": large }));
    machine.sh("echo 3 > /proc/sys/vm/drop_caches");
    assert_eq!(
        machine.sh("head -c 5 /dev/vda; cat /sys/block/vda/size"),
        "large6144"
    );
    assert!(
        fs::read(&small).unwrap().starts_with(b"small") && fs::read(&large).unwrap().starts_with(b"large")
    );
}

#[test]
fn what_cannot_be_replaced_stays() {
    let mut machine = Machine::start(&[]);
    let first = image(&machine, "first", 4, b"first");
    machine.put(
        "/drives/a",
        &json!({ "drive_id": "a", "path_on_host": first, "is_root_device": false }),
    );
    machine.boot_source(BOOT_ARGS);
    machine.go();
    let patch = |body: Value| {
        machine.refused(
            "PATCH",
            &format!("/drives/{}", body["drive_id"].as_str().unwrap()),
            &body,
        )
    };
    assert_eq!(
        patch(json!({ "drive_id": "a", "path_on_host": "/nowhere/disk" })),
        "Drive config error: Unable to patch the block device: Block: Virtio backend error: Error manipulating the backing file: No such file or directory (os error 2) /nowhere/disk Please verify the request arguments."
    );
    assert_eq!(
        patch(json!({ "drive_id": "b", "path_on_host": first })),
        "Drive config error: Unable to patch the block device: Failed perform action on device: Device not found Please verify the request arguments."
    );
    assert_eq!(
        patch(json!({ "drive_id": "a" })),
        "Drive config error: Unable to patch the block device: Block: Running method expected different backend. Please verify the request arguments."
    );
    assert_eq!(machine.sh("head -c 5 /dev/vda"), "first");
}

/// Over the time a limited transfer takes, no more goes through than the bucket allows.
#[test]
fn a_drive_can_be_limited_while_the_guest_runs() {
    let mut machine = Machine::start(&[]);
    let disk = image(&machine, "disk", 8, b"disk");
    machine.put(
        "/drives/a",
        &json!({ "drive_id": "a", "path_on_host": disk, "is_root_device": false }),
    );
    machine.boot_source(BOOT_ARGS);
    machine.go();
    let limiter = json!({ "bandwidth": { "size": MIB, "refill_time": 1000 } });
    machine.patch("/drives/a", &json!({ "drive_id": "a", "rate_limiter": limiter }));
    let shown = &machine.get("/vm/config")["drives"][0]["rate_limiter"]["bandwidth"]["size"];
    assert_eq!(shown, MIB);
    let start = std::time::Instant::now();
    machine.sh("dd if=/dev/vda of=/dev/null bs=64k count=64 iflag=direct");
    // 4 MiB at 1 MiB/s, less one MiB that may go through at once.
    assert!(start.elapsed().as_secs_f64() > 2.5, "{:?}", start.elapsed());
    machine.patch(
        "/drives/a",
        &json!({ "drive_id": "a", "rate_limiter": { "bandwidth": { "size": 0, "refill_time": 0 } } }),
    );
    assert_eq!(
        machine.get("/vm/config")["drives"][0]["rate_limiter"],
        Value::Null
    );
}

#[test]
fn a_root_drive_is_mounted_by_the_kernel() {
    let mut machine = Machine::start(&[]);
    let folder = machine.path("root");
    for part in ["dev", "sbin"] {
        fs::create_dir_all(folder.join(part)).unwrap();
    }
    fs::copy("/bin/busybox", folder.join("sbin/init")).unwrap();
    let disk = machine.path("root.ext4");
    let status = std::process::Command::new("mke2fs")
        .args([
            "-q",
            "-t",
            "ext4",
            "-d",
            folder.to_str().unwrap(),
            disk.to_str().unwrap(),
            "8M",
        ])
        .status()
        .unwrap();
    assert!(status.success());
    machine.put("/drives/other", &json!({ "drive_id": "other", "path_on_host": image(&machine, "o", 1, b"o"), "is_root_device": false }));
    let root =
        json!({ "drive_id": "root", "path_on_host": disk, "is_root_device": true, "is_read_only": true });
    machine.put("/drives/root", &root);
    // The initrd hands over to the root the kernel line names: its own init would not look at it.
    machine.boot_source(BOOT_ARGS);
    machine.go();
    let line = machine.sh("cat /proc/cmdline");
    assert!(line.contains(" pci=off root=/dev/vda ro"), "{line}");
    assert_eq!(
        machine.sh("mount -t ext4 -o ro /dev/vda /mnt && ls /mnt/sbin/init"),
        "/mnt/sbin/init"
    );
}

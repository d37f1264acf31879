//! Snapshots: guests that go on in another process, alone or several at once.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::machine::{BOOT_ARGS, Machine, PATIENCE};
use super::support;

const MIB: usize = 1 << 20;

/// The two files of a snapshot.
struct Files {
    state: PathBuf,
    memory: PathBuf,
}

impl Files {
    fn of(machine: &Machine) -> Self {
        Self {
            state: machine.path("state"),
            memory: machine.path("memory"),
        }
    }

    fn create(&self, kind: &str) -> Value {
        json!({ "snapshot_path": self.state, "mem_file_path": self.memory, "snapshot_type": kind })
    }

    fn load(&self) -> Value {
        json!({
            "snapshot_path": self.state,
            "mem_backend": { "backend_type": "File", "backend_path": self.memory },
        })
    }
}

fn pause(machine: &Machine) {
    machine.patch("/vm", &json!({ "state": "Paused" }));
}

fn resume(machine: &Machine) {
    machine.patch("/vm", &json!({ "state": "Resumed" }));
}

fn image(machine: &Machine, name: &str, mib: usize, mark: &[u8]) -> String {
    let mut bytes = vec![0; mib * MIB];
    bytes[..mark.len()].copy_from_slice(mark);
    machine.file(name, &bytes)
}

#[test]
fn a_guest_goes_on_with_other_drives_where_it_was() {
    let mut machine = Machine::start(&[]);
    let first = image(&machine, "first", 4, b"first");
    let second = image(&machine, "second", 8, b"second");
    let base = image(&machine, "base", 2, b"base");
    let other_base = image(&machine, "other-base", 3, b"tree");
    let data = json!({ "drive_id": "data", "path_on_host": first, "is_root_device": false });
    machine.put("/drives/data", &data);
    let read_only =
        json!({ "drive_id": "base", "path_on_host": base, "is_root_device": false, "is_read_only": true });
    machine.put("/drives/base", &read_only);
    machine.put("/balloon", &json!({ "amount_mib": 1, "deflate_on_oom": true }));
    machine.put("/entropy", &json!({}));
    let metrics = machine.path("metrics");
    machine.put("/metrics", &json!({ "metrics_path": metrics }));
    machine.boot_source(BOOT_ARGS);
    machine.go();
    machine.sh("kept=41; serial=$(cat /sys/block/vda/serial)");
    assert_eq!(machine.sh("head -c 5 /dev/vda"), "first");

    let files = Files::of(&machine);
    pause(&machine);
    machine.put("/snapshot/create", &files.create("Full"));
    assert_eq!(machine.get("/")["state"], json!("Paused"));
    resume(&machine);
    machine.action("FlushMetrics");
    let lines = std::fs::read_to_string(metrics).unwrap();
    let last: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert!(
        last["latencies_us"]["full_create_snapshot"].as_u64() > Some(0),
        "{lines}"
    );
    let commands = machine.commands();
    assert_eq!(machine.sh("kept=$((kept + 1)); echo $kept"), "42");
    let before = std::fs::read(&files.memory).unwrap();

    let mut copy = Machine::start(&[]);
    copy.put("/snapshot/load", &files.load());
    copy.go_on_after(commands);
    assert_eq!(copy.get("/")["state"], json!("Paused"));
    assert_eq!(
        copy.get("/vm/config")["drives"],
        machine.get("/vm/config")["drives"]
    );
    assert_eq!(copy.get("/balloon")["amount_mib"], json!(1));
    copy.patch(
        "/drives/data",
        &json!({ "drive_id": "data", "path_on_host": second }),
    );
    copy.patch(
        "/drives/base",
        &json!({ "drive_id": "base", "path_on_host": other_base }),
    );
    resume(&copy);
    assert_eq!(copy.sh("echo $kept"), "41");
    copy.sh("echo 3 > /proc/sys/vm/drop_caches");
    assert_eq!(
        copy.sh("cat /sys/block/vda/size /sys/block/vdb/size; head -c 6 /dev/vda; head -c 4 /dev/vdb"),
        "16384\n6144\nsecondtree"
    );
    assert_eq!(
        copy.sh("[ $serial = $(cat /sys/block/vda/serial) ] && echo same"),
        "same"
    );
    copy.sh("echo written | dd of=/dev/vda bs=512 seek=2 conv=sync,notrunc; sync");
    assert!(std::fs::read(&second).unwrap()[1024..].starts_with(b"written\n"));
    copy.sh("dd if=/dev/urandom of=/junk bs=1M count=16");
    // What the balloon takes comes out of this guest's memory, not out of the file.
    let free = |copy: &mut Machine| -> u64 {
        let line = copy.sh("grep MemFree /proc/meminfo");
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let enough = free(&mut copy) - 20 * 1024;
    copy.patch("/balloon", &json!({ "amount_mib": 31 }));
    while free(&mut copy) > enough {}
    copy.patch("/balloon", &json!({ "amount_mib": 1 }));
    while free(&mut copy) < enough {}
    assert!(
        !opened_for_writing(&copy, &files.memory),
        "QEMU could write to the memory file"
    );
    assert!(
        before == std::fs::read(&files.memory).unwrap(),
        "the memory file was changed"
    );

    // And once more, from the copy.
    let again = Files::of(&copy);
    pause(&copy);
    copy.put("/snapshot/create", &again.create("Full"));
    let commands = copy.commands();
    copy.type_line("reboot -f");
    let mut third = Machine::start(&[]);
    let mut load = again.load();
    load["resume_vm"] = json!(true);
    third.put("/snapshot/load", &load);
    third.go_on_after(commands);
    assert_eq!(third.sh("echo $kept; sha256sum < /junk"), {
        resume(&copy);
        let sum = third.sh("sha256sum < /junk");
        format!("41\n{sum}")
    });
    assert_eq!(copy.exit_code(), 0, "{}", copy.output);
}

/// Whether QEMU has this file open for writing (`/proc/PID/fdinfo`, proc(5)).
fn opened_for_writing(machine: &Machine, file: &Path) -> bool {
    let process = Path::new("/proc").join(machine.qemu().as_raw_pid().to_string());
    let mut found = None;
    for entry in std::fs::read_dir(process.join("fd")).unwrap() {
        let entry = entry.unwrap();
        if std::fs::read_link(entry.path()).is_ok_and(|name| name == file) {
            let info = std::fs::read_to_string(process.join("fdinfo").join(entry.file_name())).unwrap();
            let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
            let flags = u32::from_str_radix(flags.trim(), 8).unwrap();
            found = Some(found.unwrap_or(false) || flags & 3 != 0);
        }
    }
    found.expect("QEMU has the memory file open")
}

/// A guest with a vsock device and services on it.
fn with_vsock() -> (Machine, PathBuf) {
    let mut machine = Machine::start(&[]);
    let (kernel, initrd) = support::agent();
    machine.put(
        "/boot-source",
        &json!({ "kernel_image_path": kernel, "initrd_path": initrd, "boot_args": BOOT_ARGS }),
    );
    let socket = machine.path("v.sock");
    machine.put("/vsock", &json!({ "guest_cid": 3, "uds_path": socket }));
    machine.action("InstanceStart");
    machine.wait_for("agent: ready");
    (machine, socket)
}

/// A stream to a port of the guest, at the first try.
fn connect(socket: &Path, port: u32) -> UnixStream {
    let stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    writeln!(&stream, "CONNECT {port}").unwrap();
    let answer = support::guest::line(&stream);
    assert!(answer.starts_with("OK "), "{answer:?}");
    stream
}

/// What a command of the guest's busybox says.
fn shell(socket: &Path, command: &str) -> String {
    let mut stream = connect(socket, support::guest::SHELL);
    writeln!(stream, "{command}").unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    said.trim_end().to_owned()
}

fn echo(stream: &UnixStream, bytes: &[u8]) -> Vec<u8> {
    support::guest::exchange(stream, bytes)
}

#[test]
fn vsock_works_before_and_after_in_several_guests_at_once() {
    let (machine, socket) = with_vsock();
    assert_eq!(shell(&socket, "echo 41 > /tmp/kept"), "");
    let open = connect(&socket, support::guest::ECHO);
    (&open).write_all(b"be").unwrap();

    let files = Files::of(&machine);
    pause(&machine);
    machine.put("/snapshot/create", &files.create("Full"));
    resume(&machine);
    // The guest that was frozen keeps its connections.
    (&open).write_all(b"fore").unwrap();
    open.shutdown(Shutdown::Write).unwrap();
    let mut back = String::new();
    (&open).read_to_string(&mut back).unwrap();
    assert_eq!(back, "before");

    let copies: Vec<(Machine, PathBuf)> = (0..2)
        .map(|_| {
            let copy = Machine::start(&[]);
            let socket = copy.path("other.sock");
            let mut load = files.load();
            load["vsock_override"] = json!({ "uds_path": socket });
            load["resume_vm"] = json!(true);
            copy.put("/snapshot/load", &load);
            (copy, socket)
        })
        .collect();
    let noise = support::guest::noise(2 * MIB);
    for (number, (copy, socket)) in copies.iter().enumerate() {
        assert_eq!(shell(socket, "busybox cat /tmp/kept"), "41");
        assert_eq!(shell(socket, &format!("echo {number} > /tmp/kept")), "");
        assert!(echo(&connect(socket, support::guest::ECHO), &noise) == noise);
        // And the other way.
        let mut path = socket.clone().into_os_string();
        path.push("_4000");
        let listener = UnixListener::bind(path).unwrap();
        let join = connect(socket, support::guest::JOIN);
        writeln!(&join, "4000").unwrap();
        let (dialled, _) = listener.accept().unwrap();
        (&dialled).write_all(b"hello").unwrap();
        drop(dialled);
        let mut heard = String::new();
        (&join).read_to_string(&mut heard).unwrap();
        assert_eq!(heard, "hello");
        assert_eq!(copy.get("/vm/config")["vsock"]["uds_path"], json!(socket));
    }
    for (number, (_, socket)) in copies.iter().enumerate() {
        assert_eq!(shell(socket, "busybox cat /tmp/kept"), number.to_string());
    }
    assert_eq!(shell(&socket, "busybox cat /tmp/kept"), "41");
}

/// Lays a diff over its base as Firecracker's documentation says: what is no hole is written.
fn lay_over(base: &Path, diff: &Path) {
    use std::os::unix::fs::FileExt;
    let (base, diff) = (
        std::fs::OpenOptions::new().write(true).open(base).unwrap(),
        std::fs::File::open(diff).unwrap(),
    );
    let mut at = 0;
    while let Ok(start) = rustix::fs::seek(&diff, rustix::fs::SeekFrom::Data(at)) {
        at = rustix::fs::seek(&diff, rustix::fs::SeekFrom::Hole(start)).unwrap();
        let mut bytes = vec![0; usize::try_from(at - start).unwrap()];
        diff.read_exact_at(&mut bytes, start).unwrap();
        base.write_all_at(&bytes, start).unwrap();
    }
}

fn bytes_on_disk(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).unwrap().blocks() * 512
}

/// Takes diffs of a guest whose memory is in `base`, the second after something was put back as it was, and goes on from
/// the last of them in another process.
fn goes_on_from_diffs(machine: &mut Machine, base: &Files) {
    let diff = |name: &str| Files {
        state: machine.path(&format!("{name}-state")),
        memory: machine.path(&format!("{name}-memory")),
    };
    let diffs = [diff("first"), diff("second")];
    let writes = [
        "echo one > /kept; yes a | head -c 3000000 > /pad",
        "echo two > /kept; rm /pad",
    ];
    for (diff, write) in diffs.iter().zip(writes) {
        machine.sh(write);
        pause(machine);
        machine.put("/snapshot/create", &diff.create("Diff"));
        resume(machine);
    }
    let whole = bytes_on_disk(&base.memory);
    let first = bytes_on_disk(&diffs[0].memory);
    assert!((3_000_000..whole / 2).contains(&first), "{first} of {whole}");
    for diff in &diffs {
        lay_over(&base.memory, &diff.memory);
    }
    let mut load = diffs[1].load();
    load["mem_backend"]["backend_path"] = json!(base.memory);
    load["resume_vm"] = json!(true);
    let mut copy = Machine::start(&[]);
    copy.put("/snapshot/load", &load);
    copy.go_on_after(machine.commands());
    assert_eq!(copy.sh("cat /kept; [ ! -e /pad ]"), "two");
}

#[test]
fn diffs_laid_over_their_base_are_the_guest_at_the_last_of_them() {
    let mut machine = Machine::booted(&[]);
    let base = Files::of(&machine);
    pause(&machine);
    machine.put("/snapshot/create", &base.create("Full"));
    resume(&machine);
    let commands = machine.commands();

    // A guest that was loaded keeps what it has written elsewhere than one that was booted.
    let mut loaded = Machine::start(&[]);
    let own = Files::of(&loaded);
    std::fs::copy(&base.memory, &own.memory).unwrap();
    let mut load = base.load();
    load["resume_vm"] = json!(true);
    load["track_dirty_pages"] = json!(true);
    loaded.put("/snapshot/load", &load);
    loaded.go_on_after(commands);
    goes_on_from_diffs(&mut loaded, &own);
    drop(loaded);
    goes_on_from_diffs(&mut machine, &base);
}

/// A QEMU without a dynamic linker takes no library in; here one that is kept from doing so.
const WITHOUT_LIBRARY: &str = "#!/bin/sh\nunset LD_PRELOAD\nexec qemu-system-x86_64 \"$@\"\n";

#[test]
fn what_cannot_be_shared_is_copied_and_what_cannot_be_loaded_is_refused_whole() {
    let (machine, _socket) = with_vsock();
    let files = Files::of(&machine);
    pause(&machine);
    machine.put("/snapshot/create", &files.create("Full"));

    let copy = Machine::with_qemu(WITHOUT_LIBRARY);
    let socket = copy.path("other.sock");
    let mut load = files.load();
    load["vsock_override"] = json!({ "uds_path": socket });
    load["resume_vm"] = json!(true);

    let state = std::fs::read(&files.state).unwrap();
    let spoilt = |bytes: &[u8]| {
        std::fs::write(&files.state, bytes).unwrap();
        let words = copy.refused("PUT", "/snapshot/load", &load);
        assert!(!super::machine::exists(&socket), "{words}");
        words
    };
    let of_the_file = |what: &str| {
        format!(
            "Load snapshot error: Failed to restore from snapshot: Failed to get snapshot state from file: Failed to load \
             snapshot state from file: {what}"
        )
    };
    let damaged = of_the_file("the file is damaged: its checksum or its lengths do not fit what is in it");
    assert_eq!(spoilt(&state[..state.len() / 2]), damaged);
    assert_eq!(
        spoilt(b""),
        of_the_file("the file is not a state file of sparkler")
    );
    let mut newer = state.clone();
    newer[8] += 1;
    assert_eq!(
        spoilt(&newer),
        of_the_file("Invalid data version: 2.0.0 (this program reads 1.0.0)")
    );
    std::fs::write(&files.state, &state).unwrap();
    let short = machine.file("short", &[0; 4096]);
    let mut other = load.clone();
    other["mem_backend"]["backend_path"] = json!(short);
    let words = copy.refused("PUT", "/snapshot/load", &other);
    assert!(
        words.ends_with("the file has 4096 bytes, the guest 134217728"),
        "{words}"
    );

    // After all that it can still be loaded.
    copy.put("/snapshot/load", &load);
    assert_eq!(shell(&socket, "echo $((6 * 7))"), "42");
}

#[test]
fn interfaces_go_on_at_other_taps_with_their_limits_and_the_metadata_service() {
    let bucket = |size: u32| json!({ "bandwidth": { "size": size, "refill_time": 1000 } });
    let mut machine = Machine::in_namespace(&[]);
    // One whose frames go through sparkler and one that QEMU has to itself.
    let through = json!({
        "iface_id": "through", "host_dev_name": "elsewhere1", "guest_mac": "06:00:00:00:00:01",
        "tx_rate_limiter": bucket(1 << 20),
    });
    let plain =
        json!({ "iface_id": "plain", "host_dev_name": "elsewhere2", "guest_mac": "06:00:00:00:00:02" });
    machine.put("/network-interfaces/through", &through);
    machine.put("/network-interfaces/plain", &plain);
    machine.put("/mmds/config", &json!({ "network_interfaces": ["through"] }));
    machine.put("/mmds", &json!({ "name": "before" }));
    machine.boot_source(BOOT_ARGS);
    machine.go();
    machine.sh("named() { grep -l $1 /sys/class/net/*/address | cut -d / -f 5; }");
    machine.sh("ifconfig $(named :01) 172.17.0.2 up && route add 169.254.169.254 $(named :01)");
    machine.sh("ifconfig $(named :02) 172.16.0.2 up");
    let get = r"printf 'GET /name HTTP/1.0\r\n\r\n' | nc -w 60 169.254.169.254 80";
    assert!(machine.sh(get).contains("before"));
    machine.patch(
        "/network-interfaces/plain",
        &json!({ "iface_id": "plain", "rx_rate_limiter": bucket(2200) }),
    );

    let files = Files::of(&machine);
    pause(&machine);
    machine.put("/snapshot/create", &files.create("Full"));
    let mut copy = Machine::in_namespace(&[]);
    copy.put("/mmds", &json!({ "name": "after" }));
    let mut load = files.load();
    load["network_overrides"] = json!([{ "iface_id": "plain", "host_dev_name": "tap0" }]);
    load["resume_vm"] = json!(true);
    copy.put("/snapshot/load", &load);
    copy.go_on_after(machine.commands());
    assert!(copy.sh(get).contains("after"));
    let start = std::time::Instant::now();
    // Five packets of 1,054 bytes at 2,200 bytes a second, less the two the bucket held.
    let ping = copy.sh("ping -c 5 -A -s 1000 -W 60 172.16.0.1");
    assert!(ping.contains(" 0% packet loss"), "{ping}");
    assert!(start.elapsed().as_secs_f64() > 1.0, "{:?}", start.elapsed());
    let shown = copy.get("/vm/config")["network-interfaces"].clone();
    assert_eq!(shown[1]["host_dev_name"], json!("tap0"));
    assert_eq!(shown[0]["tx_rate_limiter"]["bandwidth"]["size"], json!(1 << 20));
    assert_eq!(shown[1]["rx_rate_limiter"]["bandwidth"]["size"], json!(2200));
}

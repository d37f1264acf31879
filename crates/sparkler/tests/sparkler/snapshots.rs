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
    machine.boot_source(BOOT_ARGS);
    machine.go();
    machine.sh("kept=41; serial=$(cat /sys/block/vda/serial)");
    assert_eq!(machine.sh("head -c 5 /dev/vda"), "first");

    let files = Files::of(&machine);
    pause(&machine);
    machine.put("/snapshot/create", &files.create("Full"));
    assert_eq!(machine.get("/")["state"], json!("Paused"));
    resume(&machine);
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

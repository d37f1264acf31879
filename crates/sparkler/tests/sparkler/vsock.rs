//! The vsock device as part of a machine: its socket, its guest.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

use serde_json::json;

use super::machine::{BOOT_ARGS, Machine, PATIENCE, exists};

#[test]
fn the_vsock_socket_is_there_from_its_configuration_on() {
    let mut machine = Machine::start(&[]);
    let (first, second) = (machine.path("first.sock"), machine.path("second.sock"));
    machine.put("/vsock", &json!({ "guest_cid": 3, "uds_path": first }));
    assert!(exists(&first));
    machine.put("/vsock", &json!({ "guest_cid": 4, "uds_path": second }));
    assert!(!exists(&first) && exists(&second));
    machine.boot_source(BOOT_ARGS);
    machine.go();
    assert_eq!(machine.sh("ls /dev/vsock"), "/dev/vsock");
    assert_eq!(
        machine.get("/vm/config")["vsock"],
        json!({ "guest_cid": 4, "uds_path": second })
    );
    // Nobody listens in the guest: the connection is ended, not left hanging.
    let mut stream = UnixStream::connect(&second).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    writeln!(stream, "CONNECT 52").unwrap();
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).unwrap();
    assert_eq!(answer, "");
    machine.type_line("reboot -f");
    assert_eq!(machine.exit_code(), 0, "{}", machine.output);
}

//! What stands on QEMU's control socket, as a QEMU taken over by its guest may send it.

pub(crate) fn run(bytes: &[u8]) {
    for line in bytes.split(|byte| *byte == b'\n') {
        let _ = sparkler::qemu::qmp::parse(line);
    }
}

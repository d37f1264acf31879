//! The TAP device, by the ioctls of /dev/net/tun (Linux: Documentation/networking/tuntap.rst).

use std::fs::{File, OpenOptions};
use std::io;

use rustix::ioctl::{IntegerSetter, Opcode, Updater, ioctl};

// Linux: include/uapi/linux/if_tun.h.
const TUNSETIFF: Opcode = rustix::ioctl::opcode::write::<i32>(b'T', 202);
const TUNSETPERSIST: Opcode = rustix::ioctl::opcode::write::<i32>(b'T', 203);
const IFF_TAP: u16 = 0x0002;
const IFF_NO_PI: u16 = 0x1000;
const IFF_VNET_HDR: u16 = 0x4000;

/// `struct ifreq` of linux/if.h, of whose union TUNSETIFF reads the flags.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; 16],
    flags: u16,
    rest: [u8; 22],
}

/// Makes `name`, with the flags that Firecracker and sparkler open it with. It outlives the returned file, since it is
/// persistent, and any process here may attach to it, since it has no owner.
pub(super) fn create(name: &str) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).open("/dev/net/tun")?;
    let mut request = InterfaceRequest {
        name: [0; 16],
        flags: IFF_TAP | IFF_NO_PI | IFF_VNET_HDR,
        rest: [0; 22],
    };
    // The last byte stays 0.
    for (slot, byte) in request.name.iter_mut().take(15).zip(name.bytes()) {
        *slot = byte;
    }
    // SAFETY: TUNSETIFF reads and writes a `struct ifreq`, which InterfaceRequest has the size and layout of.
    unsafe { ioctl(&file, Updater::<TUNSETIFF, InterfaceRequest>::new(&mut request)) }?;
    // SAFETY: TUNSETPERSIST takes an integer by value.
    unsafe { ioctl(&file, IntegerSetter::<TUNSETPERSIST>::new_usize(1)) }?;
    Ok(file)
}

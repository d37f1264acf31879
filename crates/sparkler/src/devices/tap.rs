//! A TAP of the host, by name.
//!
//! Invariant: opened as Firecracker opens it (`IFF_TAP | IFF_NO_PI | IFF_VNET_HDR`, non-blocking), so a TAP prepared
//! for Firecracker fits, and one that does not exist is made where the process may. Frames carry a virtio-net header
//! of [`HEADER`] bytes.
//!
//! Source: Linux's `Documentation/networking/tuntap.rst` and `include/uapi/linux/if_tun.h`.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

/// Bytes of header before each frame (`virtio_net_hdr_v1`).
pub const HEADER: u32 = 12;
/// Longest name, its final NUL included (`IFNAMSIZ`).
const NAME: usize = 16;

/// Why a TAP cannot be used, in Firecracker's words (`TapError`).
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    /// The kernel has no TUN/TAP, or it is not for this user.
    #[error("Couldn't open /dev/net/tun: {0}")]
    OpenTun(#[source] io::Error),
    /// The name is too long, or holds a NUL.
    #[error("Invalid interface name")]
    InvalidIfname,
    /// The kernel does not give this TAP to this process.
    #[error(
        "Error while creating ifreq structure: {0}. Invalid TUN/TAP Backend provided by {1}. Check our documentation on setting up the network devices."
    )]
    IfreqExecuteError(#[source] io::Error, String),
    /// The kernel does not know the header.
    #[error("Error while setting size of the vnet header: {0}")]
    SetSizeOfVnetHdr(#[source] io::Error),
}

/// An open TAP.
#[derive(Debug)]
pub struct Tap {
    file: File,
}

impl Tap {
    /// Opens the TAP of this name.
    pub fn open(name: &str) -> Result<Self, TapError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/net/tun")
            .map_err(TapError::OpenTun)?;
        attach(&file, name)?;
        set_header(&file).map_err(TapError::SetSizeOfVnetHdr)?;
        Ok(Self { file })
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn attach(file: &File, name: &str) -> Result<(), TapError> {
    let bytes = name.as_bytes();
    if bytes.len() >= NAME || bytes.contains(&0) {
        return Err(TapError::InvalidIfname);
    }
    // SAFETY: all zeros is a valid `ifreq`: numbers, and a name that ends at once.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(bytes) {
        *to = from.cast_signed();
    }
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    request.ifr_ifru.ifru_flags = i16::try_from(flags).unwrap_or(i16::MAX);
    // SAFETY: TUNSETIFF reads and writes one `ifreq`, which lives through the call.
    if unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) } < 0 {
        return Err(TapError::IfreqExecuteError(
            io::Error::last_os_error(),
            name.to_owned(),
        ));
    }
    Ok(())
}

fn set_header(file: &File) -> io::Result<()> {
    let size = HEADER.cast_signed();
    // SAFETY: TUNSETVNETHDRSZ reads one `int`, which lives through the call.
    if unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETVNETHDRSZ, &raw const size) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// What an interface has carried, since it was made.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct TapCounts {
    /// What the host got: what the guest sent.
    pub received: Direction,
    /// What the host sent: what the guest got.
    pub sent: Direction,
}

/// One direction.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Direction {
    /// Bytes.
    pub bytes: u64,
    /// Frames.
    pub packets: u64,
    /// Frames that failed.
    pub errors: u64,
}

/// The counts of all interfaces of this process's network namespace, by name; none if the kernel tells none.
///
/// Read from `/proc/self/net/dev`, since `/sys` may belong to another namespace.
#[must_use]
pub fn counts() -> HashMap<String, TapCounts> {
    parse_counts(&std::fs::read_to_string("/proc/self/net/dev").unwrap_or_default())
}

/// One line per interface: name, then eight numbers for each direction, the first three of which are bytes, packets
/// and errors (`net/core/net-procfs.c`).
fn parse_counts(text: &str) -> HashMap<String, TapCounts> {
    let line = |line: &str| {
        let (name, numbers) = line.split_once(':')?;
        let numbers: Vec<u64> = numbers
            .split_whitespace()
            .map_while(|number| number.parse().ok())
            .collect();
        let direction = |at: usize| {
            let [bytes, packets, errors] = numbers.get(at..at + 3)? else {
                return None;
            };
            Some(Direction {
                bytes: *bytes,
                packets: *packets,
                errors: *errors,
            })
        };
        Some((
            name.trim().to_owned(),
            TapCounts {
                received: direction(0)?,
                sent: direction(8)?,
            },
        ))
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_table_is_read() {
        let table = "Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     100       2    0    0    0     0          0         0      100       2    0    0    0     0       0          0
 tap0: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16
 cut: 1 2 3
";
        let counts = parse_counts(table);
        let tap = TapCounts {
            received: Direction {
                bytes: 1,
                packets: 2,
                errors: 3,
            },
            sent: Direction {
                bytes: 9,
                packets: 10,
                errors: 11,
            },
        };
        assert_eq!(counts.get("tap0"), Some(&tap));
        assert_eq!(counts.len(), 2);
    }

    #[test]
    fn names_are_checked_before_the_kernel_sees_them() {
        let null = File::open("/dev/null").unwrap();
        assert!(matches!(
            attach(&null, "a-name-too-long-for-it"),
            Err(TapError::InvalidIfname)
        ));
        assert!(matches!(attach(&null, "a\0b"), Err(TapError::InvalidIfname)));
        let error = attach(&null, "tap0").unwrap_err().to_string();
        let wanted = "Error while creating ifreq structure: Inappropriate ioctl for device (os error 25). Invalid TUN/TAP Backend provided by tap0.";
        assert!(error.starts_with(wanted), "{error}");
    }
}

//! Waiting for a device that its driver has yet to announce.
//!
//! The invariant: nothing is polled. The kernel's announcements are listened to before the device is looked for, so none can be
//! missed in between; and the wait has an end.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::netlink::{KOBJECT_UEVENT, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};

/// How long a device may take to appear. The drivers are loaded by then, and a virtio device is there with its driver.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// The multicast group of the kernel's own announcements (udev's have another).
const KERNEL_GROUP: u32 = 1;

/// What `find` finds, as soon as it finds it; `None` if it has not within [`PATIENCE`].
pub(super) fn until<T>(mut find: impl FnMut() -> Option<T>) -> std::io::Result<Option<T>> {
    // Nearly always the device is there: no need to listen.
    if let Some(found) = find() {
        return Ok(Some(found));
    }
    let deadline = Instant::now() + PATIENCE;
    let events = listen()?;
    let mut buffer = [0; 4096];
    loop {
        if let Some(found) = find() {
            return Ok(Some(found));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        let left = Timespec {
            tv_sec: left.as_secs().cast_signed(),
            tv_nsec: left.subsec_nanos().into(),
        };
        rustix::event::poll(&mut [PollFd::new(&events, PollFlags::IN)], Some(&left))?;
        // Whatever is announced, or lost to a full buffer: the device itself is what counts.
        let _ = rustix::net::recv(&events, &mut buffer[..], RecvFlags::DONTWAIT);
    }
}

fn listen() -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        flags,
        Some(KOBJECT_UEVENT),
    )?;
    rustix::net::bind(&socket, &SocketAddrNetlink::new(0, KERNEL_GROUP))?;
    Ok(socket)
}

//! Waiting for a device that its driver has yet to announce.
//!
//! The invariant: nothing is polled. The kernel's announcements are listened to before the device is looked for, so none can be
//! missed in between; and the wait has an end, at the latest when the machine is to go off.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::netlink::{KOBJECT_UEVENT, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};

/// How long a device may take to appear. The drivers are loaded by then, and a virtio device is there with its driver.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// The multicast group of the kernel's own announcements (udev's have another).
const KERNEL_GROUP: u32 = 1;

/// Waits until `there` says so, at most for [`PATIENCE`]; or until `called` says so, which is asked whenever `caller` can be
/// read.
pub(super) fn wait(
    mut there: impl FnMut() -> bool,
    caller: Option<BorrowedFd<'_>>,
    mut called: impl FnMut() -> bool,
) -> std::io::Result<()> {
    // Nearly always the device is there: no need to listen.
    if there() {
        return Ok(());
    }
    let deadline = Instant::now() + PATIENCE;
    let events = listen()?;
    let mut buffer = [0; 4096];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if there() || called() || left.is_zero() {
            return Ok(());
        }
        let left = Timespec {
            tv_sec: left.as_secs().cast_signed(),
            tv_nsec: left.subsec_nanos().into(),
        };
        let caller = caller.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        let mut fds: Vec<PollFd<'_>> = caller.into_iter().collect();
        fds.push(PollFd::new(&events, PollFlags::IN));
        rustix::event::poll(&mut fds, Some(&left))?;
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

#[cfg(test)]
mod tests {
    use std::io::{PipeReader, Read, Write};
    use std::os::fd::AsFd;

    use super::*;

    /// Whether the wait ended because of the caller: nothing else ends it but the time.
    fn ended_by_caller(pipe: &PipeReader) -> bool {
        let mut called = false;
        let look = || {
            let ready = &mut [PollFd::new(pipe, PollFlags::IN)];
            let asked = rustix::event::poll(ready, Some(&Timespec::default())).unwrap() == 1;
            called = asked && (&mut &*pipe).read(&mut [0]).unwrap() == 1;
            called
        };
        wait(|| false, Some(pipe.as_fd()), look).unwrap();
        called
    }

    #[test]
    fn who_calls_ends_the_wait() {
        let (read, mut write) = std::io::pipe().unwrap();
        write.write_all(b"!").unwrap();
        assert!(ended_by_caller(&read));
        let late = std::thread::spawn(move || {
            write.write_all(b"!").unwrap();
            write
        });
        assert!(ended_by_caller(&read));
        late.join().unwrap();
    }
}

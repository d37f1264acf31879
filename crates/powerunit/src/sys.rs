//! The system calls for which rustix has no safe wrapper, each made safe here once.

use std::io::{Error, Result};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use rustix::ioctl::{NoArg, Opcode, Setter, opcode};
use rustix::process::Pid;

/// Splits the process in two. Gives the child's id to the parent and `None` to the child.
///
/// # Safety
///
/// The calling process has one thread: in the child of any other, locks of the threads that are gone (the allocator's
/// among them) stay taken for ever.
pub(crate) unsafe fn fork() -> Result<Option<Pid>> {
    // SAFETY: one thread, as the caller promises.
    match unsafe { libc::fork() } {
        -1 => Err(Error::last_os_error()),
        child => Ok(Pid::from_raw(child)),
    }
}

/// Ends the process at once: nothing that the parent of a fork had in mind for its own end is run.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: takes no pointers, and never comes back.
    unsafe { libc::_exit(code) }
}

/// Blocks `signals` for this process and gives the descriptor, close-on-exec and non-blocking, on which they arrive
/// instead (signalfd(2)).
pub(crate) fn signal_fd(signals: &[i32]) -> Result<OwnedFd> {
    let set = signal_set(signals)?;
    change_mask(libc::SIG_BLOCK, &set)?;
    // SAFETY: `set` lives across the call; -1 asks for a new descriptor.
    let fd = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
    if fd < 0 {
        return Err(Error::last_os_error());
    }
    // SAFETY: the descriptor was made by the call above and is owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The number of the next signal that arrived on a descriptor of [`signal_fd`].
pub(crate) fn next_signal(fd: impl AsFd) -> Result<Option<i32>> {
    let mut info = MaybeUninit::<libc::signalfd_siginfo>::uninit();
    let size = size_of::<libc::signalfd_siginfo>();
    // SAFETY: the buffer has room for `size` bytes.
    let read = unsafe { libc::read(fd.as_fd().as_raw_fd(), info.as_mut_ptr().cast(), size) };
    if read == size.cast_signed() {
        // SAFETY: the kernel filled all of it.
        let info = unsafe { info.assume_init() };
        return Ok(Some(info.ssi_signo.cast_signed()));
    }
    match Error::last_os_error() {
        e if e.kind() == std::io::ErrorKind::WouldBlock => Ok(None),
        e => Err(e),
    }
}

/// Lets every signal through again.
pub(crate) fn unblock_signals() -> Result<()> {
    change_mask(libc::SIG_SETMASK, &signal_set(&[])?)
}

/// Gives the process the signals as a login has them: all let through, none ignored, whatever was inherited. For the child
/// between fork and exec: makes system calls only.
pub(crate) fn default_signals() -> Result<()> {
    for signal in 1..=LAST_SIGNAL {
        // SAFETY: SIG_DFL is no function of ours. The kernel refuses SIGKILL and SIGSTOP, libc its own two: those are as
        // they must be.
        let _ = unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    unblock_signals()
}

/// The highest number of a signal (`_NSIG` of asm/signal.h).
const LAST_SIGNAL: i32 = 64;

/// Sends signal number `signal` (0 only asks whether it could be sent) to `pid`, or to a group as kill(2) has it.
pub(crate) fn kill(pid: i32, signal: i32) -> Result<()> {
    // SAFETY: takes no pointers.
    check(unsafe { libc::kill(pid, signal) })
}

/// Makes the file system that `folder` is in stand still: everything written, its journal closed, and whoever writes to
/// it waits (ioctl_fs(2), `FIFREEZE`). The kernel refuses one that stands still already (EBUSY), or cannot
/// (EOPNOTSUPP).
pub(crate) fn freeze(folder: impl AsFd) -> Result<()> {
    // SAFETY: the opcode reads no argument (fs/ioctl.c).
    Ok(unsafe { rustix::ioctl::ioctl(folder, NoArg::<FIFREEZE>::new()) }?)
}

/// Lets it be written to again. The kernel refuses one that does not stand still (EINVAL).
pub(crate) fn thaw(folder: impl AsFd) -> Result<()> {
    // SAFETY: the opcode reads no argument (fs/ioctl.c).
    Ok(unsafe { rustix::ioctl::ioctl(folder, NoArg::<FITHAW>::new()) }?)
}

/// `_IOWR('X', 119, int)` and `_IOWR('X', 120, int)` of linux/fs.h.
const FIFREEZE: Opcode = opcode::read_write::<i32>(b'X', 119);
const FITHAW: Opcode = opcode::read_write::<i32>(b'X', 120);

/// Mixes `bytes` into the kernel's pool, credits them as random in full, and makes the generator use them at once
/// (random(4)). At most [`MAX_ENTROPY`] bytes.
pub(crate) fn add_entropy(random: impl AsFd, bytes: &[u8]) -> Result<()> {
    let mut info = PoolInfo {
        entropy_bits: 0,
        size: 0,
        bytes: [0; MAX_ENTROPY],
    };
    let Some((target, length)) = info
        .bytes
        .get_mut(..bytes.len())
        .zip(i32::try_from(bytes.len()).ok())
    else {
        return Err(Error::from(std::io::ErrorKind::InvalidInput));
    };
    target.copy_from_slice(bytes);
    (info.entropy_bits, info.size) = (length * 8, length);
    // SAFETY: the opcode takes a `rand_pool_info` whose `size` says truly how many bytes follow.
    unsafe {
        rustix::ioctl::ioctl(&random, Setter::<RNDADDENTROPY, PoolInfo>::new(info))?;
    }
    // SAFETY: the opcode takes no argument.
    unsafe {
        rustix::ioctl::ioctl(&random, NoArg::<RNDRESEEDCRNG>::new())?;
    }
    Ok(())
}

/// The most bytes [`add_entropy`] takes at once.
pub(crate) const MAX_ENTROPY: usize = 512;

/// `struct rand_pool_info` of linux/random.h, with its room.
#[repr(C)]
struct PoolInfo {
    entropy_bits: i32,
    size: i32,
    bytes: [u8; MAX_ENTROPY],
}

/// `_IOW('R', 0x03, int[2])` and `_IO('R', 0x07)` of linux/random.h.
const RNDADDENTROPY: Opcode = opcode::write::<[i32; 2]>(b'R', 3);
const RNDRESEEDCRNG: Opcode = opcode::none(b'R', 7);

fn signal_set(signals: &[i32]) -> Result<libc::sigset_t> {
    let mut set = MaybeUninit::uninit();
    // SAFETY: `set` is memory of a sigset_t's size, which sigemptyset fills.
    let mut set = unsafe {
        check(libc::sigemptyset(set.as_mut_ptr()))?;
        set.assume_init()
    };
    for signal in signals {
        // SAFETY: `set` is initialised; a number that is no signal is refused.
        check(unsafe { libc::sigaddset(&raw mut set, *signal) })?;
    }
    Ok(set)
}

fn change_mask(how: i32, set: &libc::sigset_t) -> Result<()> {
    // SAFETY: `set` lives across the call; the old mask is not asked for.
    check(unsafe { libc::sigprocmask(how, set, std::ptr::null_mut()) })
}

fn check(result: i32) -> Result<()> {
    if result < 0 {
        Err(Error::last_os_error())
    } else {
        Ok(())
    }
}

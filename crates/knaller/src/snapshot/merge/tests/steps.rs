//! A program that is killed before one of its steps: the calls by which it changes what is on the disk, from the first
//! folder that it makes on (ptrace(2)).

use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::ptr;

/// A stop at a system call, and not for a signal (`PTRACE_O_TRACESYSGOOD`).
const AT_CALL: libc::c_int = libc::SIGTRAP | 0x80;

/// What changes a file system.
const STEPS: [libc::c_long; 17] = [
    libc::SYS_openat,
    libc::SYS_mkdirat,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_linkat,
    libc::SYS_unlinkat,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_write,
    libc::SYS_pwrite64,
    libc::SYS_copy_file_range,
    libc::SYS_ioctl,
    libc::SYS_fsync,
    libc::SYS_flock,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mkdir,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_unlink,
];

/// Runs a program and kills it before the step of this number; whether it came that far. One that did not has ended well.
#[expect(clippy::zombie_processes, reason = "it is waited for with its threads")]
pub(super) fn killed_before(command: &mut Command, step: usize) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null());
    // SAFETY: ptrace(2) is a system call, and this one takes no memory.
    let traced = || match unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) } {
        -1 => Err(std::io::Error::last_os_error()),
        _ => Ok(()),
    };
    // SAFETY: nothing but that system call is made between fork and exec.
    unsafe { command.pre_exec(traced) };
    let mut child = command.spawn().unwrap();
    let process = libc::pid_t::try_from(child.id()).unwrap();
    let (mut began, mut count) = (false, 0);
    while let Some((thread, stop)) = next_stop(process) {
        let mut signal = 0;
        match stop {
            AT_CALL => {
                if let Some(call) = entered(thread) {
                    began |= call == libc::SYS_mkdirat || is_mkdir(call);
                    if began && STEPS.contains(&call) {
                        if count == step {
                            child.kill().unwrap();
                        }
                        count += 1;
                    }
                }
            }
            // Of the exec, and of threads that begin.
            libc::SIGTRAP | libc::SIGSTOP => {
                let options =
                    libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_TRACECLONE | libc::PTRACE_O_EXITKILL;
                request(libc::PTRACE_SETOPTIONS, thread, i64::from(options));
            }
            other => signal = other,
        }
        request(libc::PTRACE_SYSCALL, thread, i64::from(signal));
    }
    count > step
}

#[cfg(target_arch = "x86_64")]
fn is_mkdir(call: libc::c_long) -> bool {
    call == libc::SYS_mkdir
}

#[cfg(not(target_arch = "x86_64"))]
fn is_mkdir(_: libc::c_long) -> bool {
    false
}

/// Which thread stands still, and for what signal; none when the process has ended.
fn next_stop(process: libc::pid_t) -> Option<(libc::pid_t, libc::c_int)> {
    loop {
        let mut status = 0;
        // Only what this thread traces: other tests run beside it.
        // SAFETY: the kernel writes to `status` alone.
        let thread = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL | libc::__WNOTHREAD) };
        assert!(thread > 0, "{}", std::io::Error::last_os_error());
        if libc::WIFSTOPPED(status) {
            return Some((thread, libc::WSTOPSIG(status)));
        }
        if thread == process {
            let well = libc::WIFSIGNALED(status) || libc::WEXITSTATUS(status) == 0;
            assert!(well, "the program failed by itself: {status:#x}");
            return None;
        }
    }
}

fn request(request: libc::c_uint, thread: libc::pid_t, data: i64) {
    // One that was killed meanwhile is not there any more, which the next wait tells.
    // SAFETY: these requests take a number, and no memory.
    unsafe { libc::ptrace(request, thread, ptr::null_mut::<libc::c_void>(), data) };
}

/// The system call before which a thread stands still, or none if it stands behind one.
fn entered(thread: libc::pid_t) -> Option<libc::c_long> {
    const AT_ENTRY: u8 = 1;
    // struct ptrace_syscall_info: the kind is its first byte, and the call's number the eight from 24 on.
    let mut info = [0u8; 88];
    // SAFETY: the kernel writes at most as many bytes as it is told there are.
    let got = unsafe {
        libc::ptrace(
            libc::PTRACE_GET_SYSCALL_INFO,
            thread,
            info.len(),
            info.as_mut_ptr(),
        )
    };
    let number = i64::from_ne_bytes(info[24..32].try_into().unwrap());
    (got >= 32 && info[0] == AT_ENTRY).then_some(number)
}

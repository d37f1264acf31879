//! What runs inside QEMU's process: a library of two functions, preloaded where a guest is loaded from a snapshot.
//!
//! QEMU 7.2 opens the file behind a guest's memory for writing even where it maps it privately, and what the guest's
//! balloon gives back it punches out of that file: out of the snapshot, for all guests that share it. So the file is opened
//! here, read-only, under a name that only this library knows, and a hole asked for in it is left to what QEMU does next
//! (`madvise`, which drops the private page): `ram_block_discard_range` in QEMU's `softmmu/physmem.c`.
//!
//! Invariant: everything else goes to the kernel as it came. No library is needed, neither Rust's nor C's but for the place
//! of `errno`, so that QEMU may be of any C library.

#![no_std]

use core::arch::asm;
use core::ffi::{CStr, c_char, c_int, c_long};
use core::sync::atomic::{AtomicI32, Ordering};

/// The name of the memory's file: this, then the number of the descriptor it was inherited under.
const PREFIX: &[u8] = b"/sparkler/memory/";

const AT_FDCWD: c_long = -100;
const F_DUPFD_CLOEXEC: c_long = 1030;
const FALLOC_FL_PUNCH_HOLE: c_int = 2;

#[cfg(target_arch = "x86_64")]
mod number {
    pub(crate) const OPENAT: core::ffi::c_long = 257;
    pub(crate) const FCNTL: core::ffi::c_long = 72;
    pub(crate) const FALLOCATE: core::ffi::c_long = 285;
}

#[cfg(target_arch = "aarch64")]
mod number {
    pub(crate) const OPENAT: core::ffi::c_long = 56;
    pub(crate) const FCNTL: core::ffi::c_long = 25;
    pub(crate) const FALLOCATE: core::ffi::c_long = 47;
}

/// The descriptor of the memory's file, once it was opened.
static MEMORY: AtomicI32 = AtomicI32::new(-1);

unsafe extern "C" {
    fn __errno_location() -> *mut c_int;
}

/// open(2). The mode is there only where a file may be made; the kernel looks at it only then.
///
/// # Safety
/// As for the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn open64(path: *const c_char, flags: c_int, mode: c_int) -> c_int {
    // SAFETY: the caller gives a string, as to the C library.
    let name = unsafe { CStr::from_ptr(path) }.to_bytes();
    let Some(inherited) = name.strip_prefix(PREFIX).and_then(number) else {
        let (path, flags, mode) = (path as c_long, c_long::from(flags), c_long::from(mode));
        // SAFETY: as the caller promises.
        return result(unsafe { call(number::OPENAT, [AT_FDCWD, path, flags, mode]) });
    };
    // SAFETY: touches no memory.
    let opened = result(unsafe { call(number::FCNTL, [inherited, F_DUPFD_CLOEXEC, 0, 0]) });
    MEMORY.store(opened, Ordering::Relaxed);
    opened
}

/// The same by its other name.
///
/// # Safety
/// As for the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn open(path: *const c_char, flags: c_int, mode: c_int) -> c_int {
    // SAFETY: as the caller promises.
    unsafe { open64(path, flags, mode) }
}

/// fallocate(2).
#[unsafe(no_mangle)]
pub extern "C" fn fallocate64(file: c_int, mode: c_int, offset: i64, len: i64) -> c_int {
    if file >= 0 && file == MEMORY.load(Ordering::Relaxed) && mode & FALLOC_FL_PUNCH_HOLE != 0 {
        return 0;
    }
    let (file, mode) = (c_long::from(file), c_long::from(mode));
    // SAFETY: touches no memory.
    result(unsafe { call(number::FALLOCATE, [file, mode, offset, len]) })
}

/// The same by its other name.
#[unsafe(no_mangle)]
pub extern "C" fn fallocate(file: c_int, mode: c_int, offset: i64, len: i64) -> c_int {
    fallocate64(file, mode, offset, len)
}

fn number(digits: &[u8]) -> Option<c_long> {
    let text = core::str::from_utf8(digits).ok()?;
    text.parse().ok()
}

/// What the C library makes of the kernel's answer.
fn result(answer: c_long) -> c_int {
    if answer >= 0 {
        return answer as c_int;
    }
    // SAFETY: the C library gives a place that is the thread's own.
    unsafe { *__errno_location() = -answer as c_int };
    -1
}

/// A system call.
#[cfg(target_arch = "x86_64")]
unsafe fn call(number: c_long, [a, b, c, d]: [c_long; 4]) -> c_long {
    let answer;
    // SAFETY: the kernel changes these registers and what the caller has promised about the arguments.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => answer,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    answer
}

/// A system call.
#[cfg(target_arch = "aarch64")]
unsafe fn call(number: c_long, [a, b, c, d]: [c_long; 4]) -> c_long {
    let answer;
    // SAFETY: the kernel changes these registers and what the caller has promised about the arguments.
    unsafe {
        asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") a => answer,
            in("x1") b, in("x2") c, in("x3") d,
            options(nostack),
        );
    }
    answer
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

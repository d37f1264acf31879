//! What runs inside pasta's process: a `memset` that leaves alone what is zero already.
//!
//! pasta fills its buffers, 24 MiB of them in the version of 2023-03, with zeros as it starts, though the kernel has given them
//! as zeros: most are never used, and each machine would pay for all. A page that nobody has written is only read here, and
//! read it takes no memory (it is the kernel's one page of zeros).
//!
//! Invariant: memory is afterwards what the C library's `memset` would have left. Nothing is called and nothing is kept.

#![no_std]

use core::ffi::{c_int, c_void};

/// What is looked at before it is written, in bytes: no page is smaller.
const PAGE: usize = 4096;

/// memset(3).
///
/// # Safety
/// As for the C library's: `len` bytes at `start` are the caller's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memset(start: *mut c_void, value: c_int, len: usize) -> *mut c_void {
    // memset(3) takes the value as an unsigned char.
    let value = value as u8;
    let mut at = start.cast::<u8>();
    let mut left = len;
    while left > 0 {
        let to_next = PAGE - at.addr() % PAGE;
        let part = if left < to_next { left } else { to_next };
        // SAFETY: `part` bytes from `at` on are within what the caller gave.
        unsafe {
            if value != 0 || part < PAGE || !is_zero(at) {
                fill(at, value, part);
            }
            at = at.add(part);
        }
        left -= part;
    }
    start
}

/// Whether a whole page is zero.
unsafe fn is_zero(page: *const u8) -> bool {
    let page = page.cast::<u64>();
    let mut word = 0;
    while word < PAGE / size_of::<u64>() {
        // SAFETY: within the page; a page's start is aligned for any word.
        if unsafe { page.add(word).read() } != 0 {
            return false;
        }
        word += 1;
    }
    true
}

/// Writes each byte. Volatile, since the compiler would call `memset` for it.
unsafe fn fill(mut at: *mut u8, value: u8, mut len: usize) {
    const WORD: usize = size_of::<u64>();
    let word = u64::from_ne_bytes([value; WORD]);
    // SAFETY: each write is within the `len` bytes, and that of a word at a place fit for one.
    unsafe {
        while len > 0 {
            if len >= WORD && at.addr() % WORD == 0 {
                at.cast::<u64>().write_volatile(word);
                at = at.add(WORD);
                len -= WORD;
            } else {
                at.write_volatile(value);
                at = at.add(1);
                len -= 1;
            }
        }
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

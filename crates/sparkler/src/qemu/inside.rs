//! The library that is preloaded into a QEMU whose guest's memory is a snapshot's file (`inside/lib.rs`).
//!
//! Invariant: it is given as an open file without a name, and it alone knows the name under which QEMU asks for the memory:
//! a QEMU that does not load it finds no memory and ends.

use std::ffi::OsString;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::path::PathBuf;

use rustix::fs::{MemfdFlags, memfd_create};

const LIBRARY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/inside.so"));

/// The library as a file.
pub fn library() -> io::Result<OwnedFd> {
    let file = memfd_create("sparkler-inside", MemfdFlags::CLOEXEC)?;
    let mut bytes = LIBRARY;
    while !bytes.is_empty() {
        let count = rustix::io::write(&file, bytes)?;
        bytes = &bytes[count..];
    }
    Ok(file)
}

/// The value of `LD_PRELOAD` for it, before what is preloaded anyway; `number` is the library's descriptor in QEMU.
#[must_use]
pub fn preload(number: RawFd) -> OsString {
    let mut value = OsString::from(format!("/proc/self/fd/{number}"));
    if let Some(more) = std::env::var_os("LD_PRELOAD").filter(|more| !more.is_empty()) {
        value.push(":");
        value.push(more);
    }
    value
}

/// What QEMU calls the memory's file, which it has inherited under this number.
#[must_use]
pub fn memory_path(number: RawFd) -> PathBuf {
    format!("/sparkler/memory/{number}").into()
}

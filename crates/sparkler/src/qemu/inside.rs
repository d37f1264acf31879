//! The library that is preloaded into a QEMU whose guest's memory is a snapshot's file (`inside/lib.rs`).
//!
//! Invariant: it alone knows the name under which QEMU asks for the memory: a QEMU that does not load it finds no
//! memory and ends.

use std::ffi::OsString;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::path::PathBuf;

const LIBRARY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/inside.so"));

/// The library as a file.
pub fn library() -> io::Result<OwnedFd> {
    preload::file("sparkler-inside", LIBRARY)
}

/// The value of `LD_PRELOAD` for it, before what is preloaded anyway; `number` is the library's descriptor in QEMU.
#[must_use]
pub fn preload(number: RawFd) -> OsString {
    let mut value = preload::value(number);
    if let Some(more) = std::env::var_os(preload::VARIABLE).filter(|more| !more.is_empty()) {
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

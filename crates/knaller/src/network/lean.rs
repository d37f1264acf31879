//! What keeps pasta to the memory that it uses, 6 MiB instead of 29 for each machine: a library that is preloaded into it
//! (`inside/lib.rs`), and no huge pages, of which it would write a few bytes each. Where the host gives huge pages unasked
//! (`/sys/kernel/mm/transparent_hugepage/enabled`: always, as Debian has it) it takes 35 MiB with the library alone.
//!
//! Invariant: pasta works the same without it. Where the library cannot be had, or ld.so does not load it, nothing is said
//! but in a log.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::thread::disable_transparent_huge_pages;
use tokio::process::Command;

const LIBRARY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/inside.so"));

/// The library, in what stays open across pasta's exec.
pub(crate) struct Lean(Option<OwnedFd>);

impl Lean {
    /// Has `pasta` loaded with the library.
    pub(crate) fn within(pasta: &mut Command) -> Self {
        let library = preload::file("knaller-inside", LIBRARY)
            .inspect_err(|error| tracing::warn!(%error, "pasta will take more memory than it needs"))
            .ok();
        if let Some(library) = &library {
            pasta.env(preload::VARIABLE, preload::value(library.as_raw_fd()));
        }
        Self(library)
    }

    /// What is left to do between fork and exec: system calls and nothing else.
    pub(crate) fn apply(&self) -> io::Result<()> {
        // A kernel that refuses is no reason not to start.
        let _ = disable_transparent_huge_pages(true);
        let Some(library) = &self.0 else {
            return Ok(());
        };
        Ok(fcntl_setfd(library, FdFlags::empty())?)
    }
}

/// For the VMM, which inherits from pasta that it gets no huge pages: a guest's memory is the faster for them.
pub(crate) fn huge_pages_again() {
    // Refused only where they were not forbidden either.
    let _ = disable_transparent_huge_pages(false);
}

#[cfg(test)]
mod tests {
    use std::ffi::{CString, c_int, c_void};

    use proptest::prelude::*;

    use super::*;

    type Memset = unsafe extern "C" fn(*mut c_void, c_int, usize) -> *mut c_void;

    /// The function as pasta gets it: out of the library, loaded by ld.so.
    fn memset() -> Memset {
        let file = preload::file("knaller-inside", LIBRARY).unwrap();
        let path = preload::value(file.as_raw_fd()).into_encoded_bytes();
        let path = CString::new(path).unwrap();
        // SAFETY: a path and a name that end with a zero byte; the library stays loaded, and its function has that type.
        unsafe {
            let library = libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL);
            assert!(!library.is_null(), "ld.so does not load the library");
            let found = libc::dlsym(library, c"memset".as_ptr());
            assert!(!found.is_null(), "the library has no memset");
            std::mem::transmute::<*mut c_void, Memset>(found)
        }
    }

    proptest! {
        #[test]
        fn it_fills_as_the_c_library_does(
            written in prop::collection::vec((0_usize..40_000, any::<u8>()), 0..20),
            start in 0_usize..20_000,
            len in 0_usize..20_000,
            value in prop_oneof![Just(0), any::<c_int>()],
        ) {
            let mut ours = vec![0_u8; 40_000];
            for (at, byte) in written {
                ours[at] = byte;
            }
            let mut theirs = ours.clone();
            let (at, same) = (ours[start..].as_mut_ptr().cast(), theirs[start..].as_mut_ptr().cast());
            // SAFETY: within the vectors.
            let told = unsafe {
                libc::memset(same, value, len);
                memset()(at, value, len)
            };
            prop_assert_eq!(told, at);
            prop_assert_eq!(ours, theirs);
        }
    }
}

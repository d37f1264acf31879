//! Small libraries that run inside other programs' processes (`LD_PRELOAD`, ld.so(8)): how they are built, carried and
//! handed over.
//!
//! Invariant: such a library lies in no folder. It is carried in the program that needs it, and is an open file without a name
//! where it is used, so nobody else can exchange it.

use std::env;
use std::error::Error;
use std::ffi::OsString;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::path::PathBuf;
use std::process::Command;

use rustix::fs::{MemfdFlags, memfd_create};

/// The variable that tells ld.so what to load first.
pub const VARIABLE: &str = "LD_PRELOAD";

/// For a build script: compiles `source`, a file of the crate that is `no_std`, to `inside.so` in `OUT_DIR`.
///
/// # Errors
/// A variable that cargo sets is missing, or the compiler failed.
#[allow(clippy::print_stdout, reason = "this is how a build script speaks to cargo")]
pub fn build(source: &str) -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={source}");
    let variable = |name: &str| env::var(name).map_err(|error| format!("{name}: {error}"));
    let library = PathBuf::from(variable("OUT_DIR")?).join("inside.so");
    // By the compiler itself: the flags the crate is built with (static, say) are not those of a library for another program.
    let mut rustc = Command::new(variable("RUSTC")?);
    rustc
        .args(["--edition=2024", "--crate-type=cdylib", "--crate-name=inside"])
        .arg(format!("--target={}", variable("TARGET")?))
        .args(["-Cpanic=abort", "-Copt-level=s", "-Cstrip=symbols"])
        // Without what Rust's own library brings along for unwinding.
        .args(["-Clto", "-Cforce-unwind-tables=no"])
        .args(["-Ctarget-feature=-crt-static", "-Clink-arg=-nostdlib"])
        .arg("-o")
        .arg(&library)
        .arg(source);
    if let Ok(linker) = env::var("RUSTC_LINKER") {
        rustc.arg(format!("-Clinker={linker}"));
    }
    let status = rustc.status()?;
    if !status.success() {
        return Err(format!("{rustc:?}: {status}").into());
    }
    Ok(())
}

/// A library as a file, closed by exec. `name` is what /proc calls it.
///
/// # Errors
/// The kernel makes no such file, or has no memory for it.
pub fn file(name: &str, library: &[u8]) -> io::Result<OwnedFd> {
    let file = memfd_create(name, MemfdFlags::CLOEXEC)?;
    let mut rest = library;
    while !rest.is_empty() {
        let count = rustix::io::write(&file, rest)?;
        rest = &rest[count..];
    }
    Ok(file)
}

/// The value of [`VARIABLE`] for a program in which the file is open under this number.
#[must_use]
pub fn value(number: RawFd) -> OsString {
    format!("/proc/self/fd/{number}").into()
}

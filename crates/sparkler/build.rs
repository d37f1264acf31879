//! Builds the library that runs inside QEMU, to be carried in sparkler itself.
#![allow(clippy::print_stdout, reason = "this is how a build script speaks to cargo")]

use std::env;
use std::error::Error;
use std::path::PathBuf;
use std::process::Command;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=inside/lib.rs");
    let variable = |name: &str| env::var(name).map_err(|error| format!("{name}: {error}"));
    let library = PathBuf::from(variable("OUT_DIR")?).join("inside.so");
    // By the compiler itself: the flags sparkler is built with (static, say) are not those of a library for another program.
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
        .arg("inside/lib.rs");
    if let Ok(linker) = env::var("RUSTC_LINKER") {
        rustc.arg(format!("-Clinker={linker}"));
    }
    let status = rustc.status()?;
    if !status.success() {
        return Err(format!("{rustc:?}: {status}").into());
    }
    Ok(())
}

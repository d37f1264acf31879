//! Builds what ships: the host's binaries and the guest's static init.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::command::{cargo, run, step, target};

/// What `make install` copies beside `knaller`.
const BINARIES: [&str; 3] = ["knaller", "sparkler", "knaller-netns"];

/// The triple the guest's init is built for: this machine's, so that its target folder and flags are its own.
fn triple() -> String {
    format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
}

/// The guest's init, built and found.
pub(crate) fn guest() -> Result<PathBuf> {
    step("building the guest's init (static)", || {
        let triple = triple();
        run(cargo(&[
            "build",
            "--quiet",
            "--package",
            "powerunit",
            "--profile",
            "guest",
            "--target",
            &triple,
        ])
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .arg("--target-dir")
        .arg(target().join("guest-build")))?;
        let built = target().join("guest-build").join(&triple).join("guest/powerunit");
        let folder = target().join("guest");
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let copy = folder.join("powerunit");
        // A running test may have the old one open: replace the name, not the contents.
        let fresh = folder.join("powerunit.new");
        std::fs::copy(&built, &fresh).with_context(|| format!("cannot copy {}", built.display()))?;
        std::fs::rename(&fresh, &copy).with_context(|| format!("cannot replace {}", copy.display()))?;
        Ok(copy)
    })
}

/// The host's binaries, in release form.
fn host() -> Result<()> {
    step("building the host's binaries (release)", || {
        run(&mut cargo(&[
            "build",
            "--quiet",
            "--release",
            "--package",
            "knaller-cli",
            "--package",
            "sparkler",
            "--package",
            "knaller",
        ]))
    })
}

pub(crate) fn all() -> Result<()> {
    guest()?;
    host()
}

/// The release folder, with the guest's init put where the binaries look for it: beside themselves.
pub(crate) fn release() -> Result<PathBuf> {
    let init = guest()?;
    host()?;
    let folder = target().join("release");
    place(&init, &folder.join("powerunit"))?;
    Ok(folder)
}

pub(crate) fn install(prefix: &Path) -> Result<()> {
    let folder = release()?;
    let (bin, lib) = (prefix.join("bin"), prefix.join("lib/knaller"));
    for folder in [&bin, &lib] {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    for binary in BINARIES {
        place(&folder.join(binary), &bin.join(binary))?;
    }
    place(&folder.join("powerunit"), &lib.join("powerunit"))?;
    println!(
        "Installed {} in {} and powerunit in {}.",
        BINARIES.join(", "),
        bin.display(),
        lib.display()
    );
    Ok(())
}

/// The guests' kernel as `dev/setup` downloaded it.
pub(crate) fn kernel_package() -> Result<String> {
    let folder = target().join("kernel");
    let found = std::fs::read_dir(&folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    let package = found
        .filter(|path| path.extension().is_some_and(|ending| ending == "deb"))
        .max();
    let package =
        package.with_context(|| format!("no kernel package in {}: run dev/setup demo", folder.display()))?;
    Ok(package.to_string_lossy().into_owned())
}

/// Copies an executable over another that may be running.
fn place(from: &Path, to: &Path) -> Result<()> {
    let fresh = to.with_extension("new");
    std::fs::copy(from, &fresh)
        .with_context(|| format!("cannot copy {} to {}", from.display(), fresh.display()))?;
    std::fs::rename(&fresh, to).with_context(|| format!("cannot replace {}", to.display()))
}

//! Builds what ships: the host's binaries and the guest's static init.

use std::path::{Path, PathBuf};
use std::process::Command;

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

/// Where shells look for completions, and what they find there: a call and not a copy, so that it never grows old.
const COMPLETIONS: [(&str, &str); 2] = [
    (
        "share/bash-completion/completions/knaller",
        "source <(knaller completion bash)\n",
    ),
    (
        "share/fish/vendor_completions.d/knaller.fish",
        "knaller completion fish | source\n",
    ),
];

pub(crate) fn install(prefix: &Path) -> Result<()> {
    let folder = release()?;
    let (bin, lib, manual) = (
        prefix.join("bin"),
        prefix.join("lib/knaller"),
        prefix.join("share/man/man1"),
    );
    for folder in [&bin, &lib] {
        make(folder)?;
    }
    for (file, line) in COMPLETIONS {
        let file = prefix.join(file);
        make(file.parent().unwrap_or(prefix))?;
        std::fs::write(&file, line).with_context(|| format!("cannot write {}", file.display()))?;
    }
    for binary in BINARIES {
        place(&folder.join(binary), &bin.join(binary))?;
    }
    place(&folder.join("powerunit"), &lib.join("powerunit"))?;
    run(Command::new(bin.join("knaller")).arg("manual").arg(&manual))?;
    println!(
        "Installed {} in {}, powerunit in {}, completions for bash and fish in {}.",
        BINARIES.join(", "),
        bin.display(),
        lib.display(),
        prefix.join("share").display()
    );
    let path = std::env::var_os("PATH").unwrap_or_default();
    if !std::env::split_paths(&path).any(|folder| folder == bin) {
        println!(
            "It is not on your PATH yet: export PATH=\"{}:$PATH\"",
            bin.display()
        );
    }
    Ok(())
}

fn make(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))
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

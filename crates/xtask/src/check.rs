//! What can be said of the code without running it.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::command::{self, cargo, root, step, target};
use crate::fuzz;

/// Cargo's own companions, with the versions that were tried.
const TOOLS: [(&str, &str); 2] = [("cargo-deny", "0.20.2"), ("cargo-machete", "0.9.2")];

pub(crate) fn run() -> Result<()> {
    step("formatting", || {
        command::run(&mut cargo(&["fmt", "--all", "--check"]))
    })?;
    step("clippy", || {
        command::run(&mut cargo(&[
            "clippy",
            "--quiet",
            "--workspace",
            "--all-targets",
            "--all-features",
            "--",
            "-D",
            "warnings",
        ]))
    })?;
    step("documentation", || {
        command::run(
            cargo(&[
                "doc",
                "--quiet",
                "--workspace",
                "--no-deps",
                "--document-private-items",
            ])
            .env("RUSTDOCFLAGS", "-D warnings"),
        )
    })?;
    for (tool, version) in TOOLS {
        install(tool, version)?;
    }
    step("licences, bans, sources", || {
        command::run(
            Command::new(tool("cargo-deny"))
                .args(["--log-level", "error", "check", "bans", "licenses", "sources"])
                .current_dir(root()),
        )
    })?;
    step("unused dependencies", || {
        command::run(Command::new(tool("cargo-machete")).current_dir(root()))
    })?;
    step("fuzz targets build", fuzz::build)?;
    println!("check: all is well");
    Ok(())
}

fn tool(name: &str) -> PathBuf {
    target().join("tools/bin").join(name)
}

/// Installs a tool of cargo's into the target folder, once. Not optimised: it runs for a second or two, and optimising
/// takes minutes.
fn install(name: &str, version: &str) -> Result<()> {
    if tool(name).exists() {
        return Ok(());
    }
    step(&format!("installing {name} {version}"), || {
        command::run(
            cargo(&[
                "install",
                "--quiet",
                "--locked",
                "--debug",
                name,
                "--version",
                version,
                "--root",
            ])
            .arg(target().join("tools"))
            .arg("--target-dir")
            .arg(target().join("tools/build")),
        )
    })
}

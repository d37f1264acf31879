//! Images with next to nothing in them: one program of ours, static, or with its libraries.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::making::{Making, write};
use super::sure;

pub(super) const SERVER_C: &str = include_str!("files/server.c");

pub(super) fn scratch(making: Making) -> Result<PathBuf> {
    let program = compile(&making, &["-static"])?;
    making.layer(|root| place(&program, &root.join("server")))?;
    making.config(&[
        ("entrypoint", "/server"),
        ("cmd", "serve"),
        ("exposedports", "8080/tcp"),
    ])?;
    making.done()
}

pub(super) fn distroless(making: Making) -> Result<PathBuf> {
    let program = compile(&making, &[])?;
    let listed = sure(Command::new("ldd").arg(&program))?;
    let listed = String::from_utf8(listed).context("ldd speaks no UTF-8")?;
    making.layer(|root| {
        place(&program, &root.join("usr/bin/server"))?;
        // What is no path is in the kernel.
        for library in listed.split_whitespace().filter(|word| word.starts_with('/')) {
            place(
                &fs::canonicalize(library).with_context(|| format!("no {library}"))?,
                &root.join(library.trim_start_matches('/')),
            )?;
        }
        write(
            root,
            "etc/passwd",
            "root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532::/home:/sbin/nologin\n",
        )?;
        write(root, "etc/group", "root:x:0:\nnonroot:x:65532:\n").map(drop)
    })?;
    making.config(&[
        ("entrypoint", "/usr/bin/server"),
        ("cmd", "serve"),
        ("user", "nonroot"),
        ("exposedports", "8080/tcp"),
    ])?;
    making.done()
}

fn compile(making: &Making, flags: &[&str]) -> Result<PathBuf> {
    let source = write(&making.path("c"), "server.c", SERVER_C)?;
    let program = source.with_extension("");
    sure(
        Command::new("cc")
            .args(["-O2", "-s", "-Wall", "-Werror", "-o"])
            .args([&program, &source])
            .args(flags),
    )?;
    Ok(program)
}

fn place(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to.parent().context("a file has a folder")?).context("cannot make a folder")?;
    fs::copy(from, to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

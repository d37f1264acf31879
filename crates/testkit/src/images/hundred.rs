//! A hundred layers over BusyBox: each adds, changes, moves, replaces or removes what those before it left.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::making::{Making, write};
use super::sure;

const LAYERS: usize = 100;

pub(super) fn hundred(making: Making) -> Result<PathBuf> {
    making.layer(busybox)?;
    for number in 1..LAYERS {
        making.layer(|root| change(root, number).with_context(|| format!("in layer {number}")))?;
    }
    making.config(&[("cmd", "/bin/sh"), ("label", "layers=100")])?;
    making.done()
}

/// BusyBox and the names it goes by.
pub(super) fn busybox(root: &Path) -> Result<()> {
    let bin = root.join("bin");
    for folder in ["bin", "etc", "tmp", "proc", "sys", "dev"] {
        fs::create_dir_all(root.join(folder)).context("cannot make a folder")?;
    }
    fs::copy("/bin/busybox", bin.join("busybox")).context("no static busybox here")?;
    let names = sure(Command::new("/bin/busybox").arg("--list"))?;
    for name in String::from_utf8_lossy(&names).lines() {
        if name != "busybox" {
            symlink("busybox", bin.join(name)).with_context(|| format!("cannot link {name}"))?;
        }
    }
    write(root, "etc/passwd", "root:x:0:0:root:/root:/bin/sh\n").map(drop)
}

fn change(root: &Path, number: usize) -> Result<()> {
    let folder = format!("data/{number}");
    write(root, &format!("{folder}/note"), format!("layer {number}\n"))?;
    write(root, &format!("{folder}/deep/er/file"), vec![b'x'; number * 97])?;
    let earlier = |back: usize| root.join(format!("data/{}", number.saturating_sub(back)));
    // Of every layer the same file changes, a bit more of it each time.
    let log = root.join("data/log");
    let mut text = fs::read(&log).unwrap_or_default();
    text.extend_from_slice(format!("{number}\n").as_bytes());
    fs::write(&log, text)?;
    if number < 5 {
        return Ok(());
    }
    match number % 7 {
        0 => fs::remove_dir_all(earlier(1))?,
        1 => fs::remove_file(earlier(2).join("note")).or_else(absent)?,
        2 => {
            // A folder becomes a file.
            fs::remove_dir_all(earlier(1).join("deep"))?;
            fs::write(earlier(1).join("deep"), "a file now")?;
        }
        3 => {
            // And a file a folder.
            fs::remove_file(earlier(1).join("note"))?;
            fs::create_dir(earlier(1).join("note"))?;
            symlink("../../log", earlier(1).join("note/log"))?;
        }
        4 => fs::hard_link(root.join(&folder).join("note"), earlier(1).join("same"))?,
        5 => {
            // Only the mode changes.
            let mode = fs::Permissions::from_mode(0o2750);
            fs::set_permissions(earlier(1).join("deep"), mode)?;
        }
        _ => {
            // All that was in a folder goes; something else comes.
            fs::remove_dir_all(earlier(1))?;
            fs::create_dir(earlier(1))?;
            symlink(format!("../{number}/note"), earlier(1).join("moved"))?;
        }
    }
    Ok(())
}

fn absent(error: std::io::Error) -> std::io::Result<()> {
    match error.kind() {
        std::io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    }
}

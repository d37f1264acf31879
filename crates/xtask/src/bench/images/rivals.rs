//! What others do: umoci, e2fsprogs, squashfs-tools-ng, skopeo.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::bench::ground::quiet;
use crate::command::output;

/// The layers of a layout, one after the other, as a folder.
pub(super) fn unpack(layout: &Path, bundle: &Path) -> Result<()> {
    let image = format!("{}:latest", layout.display());
    quiet(
        Command::new("umoci")
            .args(["unpack", "--image", &image])
            .arg(bundle),
    )
}

/// What a file system for a folder needs.
#[derive(Clone, Copy)]
pub(super) struct Room {
    kib: u64,
    inodes: u64,
}

impl Room {
    pub(super) fn of(folder: &Path) -> Result<Self> {
        let figure = |arguments: &[&str]| -> Result<u64> {
            let told = output(Command::new("du").args(arguments).arg(folder))?;
            let first = told.split_whitespace().next();
            first
                .context("du says nothing")?
                .parse()
                .context("du says no number")
        };
        let (kib, inodes) = (figure(&["-sk"])?, figure(&["-s", "--inodes"])?);
        Ok(Self {
            kib: kib + kib / 8 + (64 << 10),
            inodes: inodes + 1024,
        })
    }
}

/// An ext4 file system of a folder, as bare as ours: without a journal.
pub(super) fn mke2fs(folder: &Path, room: Room, file: &Path) -> Command {
    let mut command = Command::new("mke2fs");
    command
        .args(["-q", "-F", "-t", "ext4", "-O", "^has_journal", "-N"])
        .arg(room.inodes.to_string())
        .arg("-d")
        .args([folder, file])
        .arg(format!("{}k", room.kib));
    command
}

/// From a layout to a file system.
pub(super) fn unpack_and_mke2fs(layout: &Path, room: Room, work: &Path) -> Command {
    let bundle = work.join("bundle");
    let both = mke2fs(&bundle.join("rootfs"), room, &work.join("root.ext4"));
    let mut command = Command::new("sh");
    command
        .args([
            "-c",
            "umoci unpack --image \"$1\":latest \"$2\" && shift 2 && \"$@\"",
            "both",
        ])
        .args([layout, &bundle])
        .arg(both.get_program())
        .args(both.get_args());
    command
}

pub(super) fn tar2sqfs(merged: &Path, file: &Path) -> Command {
    let mut command = Command::new("sh");
    command
        .args([
            "-c",
            "tar2sqfs --quiet --force --compressor zstd \"$2\" < \"$1\"",
            "tar2sqfs",
        ])
        .args([merged, file]);
    command
}

/// From a local registry to a layout.
pub(super) fn skopeo(reference: &str, layout: &Path) -> Command {
    let mut command = Command::new("skopeo");
    command
        .args(["copy", "--quiet", "--src-tls-verify=false"])
        .arg(format!("docker://{reference}"))
        .arg(format!("oci:{}:latest", layout.display()));
    command
}

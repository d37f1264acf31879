//! The same in other forms: another packing, and an index of several architectures.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::json;

use super::making::{Making, write};
use super::{hundred, layout, sure};

pub(super) fn zstd(base: &Path, work: &Path) -> Result<PathBuf> {
    let made = work.join("layout");
    sure(
        Command::new("skopeo")
            .args([
                "--insecure-policy",
                "copy",
                "-q",
                "--dest-compress-format",
                "zstd",
            ])
            .arg(format!("oci:{}:latest", base.display()))
            .arg(format!("oci:{}:latest", made.display())),
    )?;
    Ok(made)
}

pub(super) fn multi_arch(work: &Path) -> Result<PathBuf> {
    let (own, other) = match std::env::consts::ARCH {
        "aarch64" => ("arm64", "amd64"),
        _ => ("amd64", "arm64"),
    };
    let made = work.join("layout");
    let mut manifests = Vec::new();
    // The machine's own comes last: whoever takes the first without looking gets the wrong one.
    for architecture in [other, own] {
        let folder = work.join(architecture);
        fs::create_dir(&folder).context("cannot make a folder")?;
        let making = Making::empty(&folder)?;
        making.layer(|root| {
            hundred::busybox(root)?;
            write(root, "etc/architecture", architecture).map(drop)
        })?;
        making.config(&[("architecture", architecture), ("cmd", "/bin/sh")])?;
        let single = making.done()?;
        let mut descriptor = layout::tagged(&single)?;
        descriptor["platform"] = json!({"os": "linux", "architecture": architecture});
        if let Some(fields) = descriptor.as_object_mut() {
            fields.remove("annotations");
        }
        manifests.push(descriptor);
        sure(Command::new("cp").args(["-a", "-T"]).args([&single, &made]))?;
    }
    let kind = "application/vnd.oci.image.index.v1+json";
    let index = json!({"schemaVersion": 2, "mediaType": kind, "manifests": manifests});
    layout::tag(&made, layout::write(&made, kind, &index)?)?;
    Ok(made)
}

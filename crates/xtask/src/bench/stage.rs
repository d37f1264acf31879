//! The folders and programs all the measurements share.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::build;
use crate::command::{output, target};

pub(super) struct Stage {
    pub(super) binaries: PathBuf,
    pub(super) data: PathBuf,
    pub(super) runtime: PathBuf,
    /// The kernel bundle that every VM here boots.
    pub(super) kernel: PathBuf,
}

impl Stage {
    pub(super) fn new() -> Result<Self> {
        let binaries = build::release()?;
        let runtime =
            PathBuf::from(output(Command::new("mktemp").args(["-d", "/tmp/knaller-bench-XXXXXX"]))?.trim());
        let mut stage = Self {
            binaries,
            data: target().join("bench"),
            runtime,
            kernel: PathBuf::new(),
        };
        std::fs::create_dir_all(&stage.data)?;
        if output(&mut stage.knaller(&["kernel", "ls", "-o", "name"]))?
            .trim()
            .is_empty()
        {
            output(&mut stage.knaller(&["kernel", "import", &build::kernel_package()?]))?;
        }
        // The first start makes what all later ones share; it is no measurement.
        stage.started("first", &[])?;
        stage.removed("first")?;
        let kernels = stage.data.join("knaller/kernels");
        let bundle = std::fs::read_dir(&kernels)?.flatten().map(|entry| entry.path());
        stage.kernel = bundle
            .filter(|path| path.join("vmlinux").exists())
            .max()
            .with_context(|| format!("no bundle in {}", kernels.display()))?;
        Ok(stage)
    }

    pub(super) fn knaller(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.binaries.join("knaller"));
        command
            .args(arguments)
            .env("XDG_DATA_HOME", &self.data)
            .env("XDG_RUNTIME_DIR", &self.runtime);
        command
    }

    pub(super) fn started(&self, name: &str, more: &[&str]) -> Result<()> {
        let mut arguments = vec!["start", name, "--detach", "--memory", "256", "--cpus", "1"];
        arguments.extend(more);
        quiet(&mut self.knaller(&arguments))
    }

    pub(super) fn removed(&self, name: &str) -> Result<()> {
        quiet(&mut self.knaller(&["rm", "--force", name]))
    }

    /// A folder that goes with the stage.
    pub(super) fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.runtime.join(name);
        std::fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    pub(super) fn close(self) -> Result<()> {
        std::fs::remove_dir_all(&self.runtime)
            .with_context(|| format!("cannot remove {}", self.runtime.display()))
    }
}

/// Runs it without a word, unless it fails.
pub(super) fn quiet(command: &mut Command) -> Result<()> {
    let ended = command
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    ensure!(
        ended.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&ended.stderr)
    );
    Ok(())
}

/// Packs a folder as an initramfs.
pub(super) fn pack(folder: &Path, into: &Path) -> Result<()> {
    let script = "cd \"$1\" && find . | cpio --quiet -o -H newc --owner 0:0 > \"$2\"";
    quiet(
        Command::new("sh")
            .args(["-c", script, "pack"])
            .args([folder, into]),
    )
}

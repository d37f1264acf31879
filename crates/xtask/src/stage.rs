//! Where the demo, the benchmarks and the soak run `knaller`: with data in the target folder, which stays so that a second
//! run is quick, and a runtime folder of their own, which goes at the end. The user's images and machines are not touched.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::build;
use crate::command::{output, target};

pub(crate) struct Stage {
    /// The release binaries.
    pub(crate) binaries: PathBuf,
    pub(crate) data: PathBuf,
    pub(crate) runtime: PathBuf,
}

impl Stage {
    /// Builds what ships and makes the folders for the work called `name`.
    pub(crate) fn new(name: &str) -> Result<Self> {
        let binaries = build::release()?;
        // In /tmp whatever TMPDIR says: a socket's path must be short.
        let runtime = tempfile::Builder::new()
            .prefix(&format!("knaller-{name}-"))
            .tempdir_in("/tmp")
            .context("cannot make a folder in /tmp")?
            .keep();
        let data = target().join(name);
        std::fs::create_dir_all(&data).with_context(|| format!("cannot make {}", data.display()))?;
        Ok(Self {
            binaries,
            data,
            runtime,
        })
    }

    /// A command with the stage's folders.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env("XDG_DATA_HOME", &self.data)
            .env("XDG_RUNTIME_DIR", &self.runtime);
        command
    }

    pub(crate) fn knaller(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(&self.binaries.join("knaller"));
        command.args(arguments);
        command
    }

    pub(crate) fn has_kernel(&self) -> Result<bool> {
        let kernels = output(&mut self.knaller(&["kernel", "ls", "-o", "name"]))?;
        Ok(!kernels.trim().is_empty())
    }

    /// Imports the downloaded kernel, unless an earlier run did.
    pub(crate) fn import_kernel(&self) -> Result<()> {
        if !self.has_kernel()? {
            let _ = output(&mut self.knaller(&["kernel", "import", &build::kernel_package()?]))?;
        }
        Ok(())
    }

    pub(crate) fn close(&self) -> Result<()> {
        std::fs::remove_dir_all(&self.runtime)
            .with_context(|| format!("cannot remove {}", self.runtime.display()))
    }
}

//! Where the demo, the benchmarks and the soak run `knaller`: with data in the target folder, which stays so that a second
//! run is quick, and a runtime folder of their own, which goes at the end; after a run that was killed, when the next begins.
//! The user's images and machines are not touched.

use std::fs::File;
use std::os::unix::fs::symlink;
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
    /// Held while the stage is in use: the folder of data takes one run at a time.
    _lock: File,
}

/// In the folder of data, a link to the runtime folder: a run that is killed leaves both.
const RUNTIME: &str = "runtime";

impl Stage {
    /// Builds what ships and makes the folders for the work called `name`.
    pub(crate) fn new(name: &str) -> Result<Self> {
        let binaries = build::release()?;
        let data = target().join(name);
        std::fs::create_dir_all(&data).with_context(|| format!("cannot make {}", data.display()))?;
        let lock = data.join("lock");
        let lock = File::create(&lock).with_context(|| format!("cannot open {}", lock.display()))?;
        lock.lock().context("cannot wait for another run")?;
        let link = data.join(RUNTIME);
        if let Ok(left) = std::fs::read_link(&link) {
            sweep(&binaries, &data, &left);
        }
        // In /tmp whatever TMPDIR says: a socket's path must be short.
        let runtime = tempfile::Builder::new()
            .prefix(&format!("knaller-{name}-"))
            .tempdir_in("/tmp")
            .context("cannot make a folder in /tmp")?;
        symlink(runtime.path(), &link).with_context(|| format!("cannot make {}", link.display()))?;
        Ok(Self {
            binaries,
            data,
            runtime: runtime.keep(),
            _lock: lock,
        })
    }

    /// A command with the stage's folders.
    pub(crate) fn command(&self, program: &Path) -> Command {
        command_in(&self.data, &self.runtime, program)
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
}

impl Drop for Stage {
    fn drop(&mut self) {
        sweep(&self.binaries, &self.data, &self.runtime);
    }
}

fn command_in(data: &Path, runtime: &Path, program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env("XDG_DATA_HOME", data).env("XDG_RUNTIME_DIR", runtime);
    command
}

/// Whatever came of the work: no machine outlives it, and nothing of it stays in /tmp.
fn sweep(binaries: &Path, data: &Path, runtime: &Path) {
    let _ = command_in(data, runtime, &binaries.join("knaller"))
        .args(["rm", "--force", "--all"])
        .output();
    let _ = std::fs::remove_dir_all(runtime);
    let _ = std::fs::remove_file(data.join(RUNTIME));
}

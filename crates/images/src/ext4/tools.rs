//! The programs of e2fsprogs, which every Debian has.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Why a program did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    #[error("{tool} is not installed. Run: sudo apt-get install {package}")]
    Absent {
        tool: &'static str,
        package: &'static str,
    },
    #[error("{tool} cannot be run")]
    Run { tool: PathBuf, source: io::Error },
    #[error("{tool} failed ({how}): {said}")]
    Failed {
        tool: &'static str,
        how: String,
        said: String,
    },
}

/// Where administrators' programs lie: not on every user's PATH.
const FOLDERS: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];

/// How much of a program's complaint is passed on.
const SAID: usize = 2000;

/// Runs a program of e2fsprogs to its end and gives what it wrote, if it succeeded.
pub(crate) fn run<I: AsRef<OsStr>>(
    tool: &'static str,
    arguments: impl IntoIterator<Item = I>,
    success: &dyn Fn(&Output) -> bool,
) -> Result<Output, ToolError> {
    let path = FOLDERS
        .iter()
        .map(|folder| Path::new(folder).join(tool))
        .find(|path| path.is_file());
    let path = path.ok_or(ToolError::Absent {
        tool,
        package: "e2fsprogs",
    })?;
    let output = Command::new(&path)
        .args(arguments)
        .env_clear()
        .env("LC_ALL", "C")
        .env("MKE2FS_CONFIG", "/dev/null")
        .stdin(Stdio::null())
        .output()
        .map_err(|source| ToolError::Run { tool: path, source })?;
    if success(&output) {
        return Ok(output);
    }
    let said = [output.stderr.as_slice(), &output.stdout].concat();
    let said = String::from_utf8_lossy(said.get(..said.len().min(SAID)).unwrap_or_default());
    // mke2fs minds that its configuration is left out.
    let lines = said
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.contains("mke2fs.conf"));
    let said = lines.collect::<Vec<_>>().join("; ");
    Err(ToolError::Failed {
        tool,
        how: output.status.to_string(),
        said,
    })
}

/// Runs debugfs(8), which ends with 0 whatever went wrong; but then it complains, and otherwise says its version only.
pub(super) fn debugfs<I: AsRef<OsStr>>(arguments: impl IntoIterator<Item = I>) -> Result<(), ToolError> {
    let silent = |output: &Output| {
        let said = String::from_utf8_lossy(&output.stderr);
        output.status.success()
            && said
                .lines()
                .all(|line| line.trim().is_empty() || line.starts_with("debugfs 1."))
    };
    run("debugfs", arguments, &silent).map(drop)
}

//! Filling a file system from outside, with debugfs(8).

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use super::mkfs::MakeError;
use super::tools::run;
use crate::files::StageError;

/// One thing in the tree. Parents come before what is in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    /// Absolute, of letters, digits and `._-[` only: debugfs knows no quoting to rely on.
    pub(crate) path: String,
    /// Permission bits; of no meaning for a link.
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    pub(crate) content: Content,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Directory,
    Text(String),
    /// Taken from a file of the host.
    Copy(PathBuf),
    Symlink(String),
}

/// Puts `nodes` into the file system in `image`, using `work` for what debugfs must read from files, and has the result
/// checked by e2fsck(8).
pub(crate) fn populate(image: &Path, nodes: &[Node], work: &Path) -> Result<(), MakeError> {
    let broken = |path: &Path, source| StageError::new(path, 0, source);
    let mut script = String::new();
    for (number, node) in nodes.iter().enumerate() {
        let text = work.join(format!("text-{number}"));
        if let Content::Text(content) = &node.content {
            fs::write(&text, content).map_err(|source| broken(&text, source))?;
        }
        command(&mut script, node, &text);
    }
    let commands = work.join("commands");
    fs::write(&commands, script).map_err(|source| broken(&commands, source))?;
    let arguments = [Path::new("-w"), Path::new("-f"), &commands, image];
    let failed = |error| MakeError::tool(image, 0, error);
    run("debugfs", arguments, &silent).map_err(failed)?;
    run("e2fsck", [Path::new("-fn"), image], &|output| {
        output.status.success()
    })
    .map_err(failed)?;
    Ok(())
}

/// debugfs ends with 0 whatever went wrong; but then it complains, and otherwise says its version only.
fn silent(output: &Output) -> bool {
    let said = String::from_utf8_lossy(&output.stderr);
    output.status.success()
        && said
            .lines()
            .all(|line| line.trim().is_empty() || line.starts_with("debugfs 1."))
}

/// debugfs makes everything as root's; `sif` (set inode field) says the rest.
fn command(script: &mut String, node: &Node, text: &Path) {
    let Node {
        path,
        mode,
        owner: (uid, gid),
        content,
    } = node;
    let (kind, made) = match content {
        Content::Directory => (0o040_000, format!("mkdir {path}")),
        Content::Symlink(target) => (0o120_000, format!("symlink {path} {target}")),
        Content::Text(_) => (0o100_000, write_command(path, text)),
        Content::Copy(host) => (0o100_000, write_command(path, host)),
    };
    // Writing to a String cannot fail.
    let _ = writeln!(script, "{made}");
    if kind != 0o120_000 {
        let _ = writeln!(script, "sif {path} mode 0{:o}", kind | mode);
    }
    if *uid != 0 {
        let _ = writeln!(script, "sif {path} uid {uid}");
    }
    if *gid != 0 {
        let _ = writeln!(script, "sif {path} gid {gid}");
    }
}

/// `write` takes a name in the current folder and no path.
fn write_command(path: &str, host: &Path) -> String {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let folder = if folder.is_empty() { "/" } else { folder };
    format!("cd {folder}\nwrite {} {name}\ncd /", host.display())
}

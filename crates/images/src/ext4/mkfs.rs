use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::Path;

use super::tools::{ToolError, debugfs, run};
use crate::files::StageError;

/// What the guest kernels have in common: Linux 5.10 and later. No reserve for growing (`resize_inode`): a disk of another
/// size is another template.
const FEATURES: &str = "none,has_journal,ext_attr,dir_index,filetype,extent,64bit,flex_bg,sparse_super2,large_file,huge_file,\
                        dir_nlink,extra_isize,metadata_csum";

/// An empty file system with a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Blank {
    /// Of the file, in bytes; a multiple of 4096.
    pub(crate) size: u64,
    /// Of the journal.
    pub(crate) journal_mib: u64,
}

/// Why a file system could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MakeError {
    #[error(transparent)]
    Stage(#[from] StageError),
    #[error(transparent)]
    Tool(#[from] ToolError),
}

impl MakeError {
    /// A program's failure while it wrote to `path`; a full disk is told as such.
    fn tool(path: &Path, needed: u64, error: ToolError) -> Self {
        match error {
            ToolError::Failed { said, .. } if said.contains("No space left on device") => StageError::Full {
                path: path.to_owned(),
                needed,
                source: std::io::ErrorKind::StorageFull.into(),
            }
            .into(),
            other => other.into(),
        }
    }
}

/// Makes `path`, which must not be there, a sparse file with a file system that is empty: programs that want an empty folder to
/// begin with (initdb among them) mind the `lost+found` of a fresh one. Who repairs a file system makes it anew where it is
/// missing (e2fsck(8)); who only checks it does not miss it.
///
/// What mke2fs would write as zeros stays a hole: inode tables and the journal of a file that was never written to are
/// zeros already, and the file system is marked so, or the guest would write them all in the background.
pub(crate) fn make_blank(path: &Path, blank: Blank) -> Result<(), MakeError> {
    let broken = |source| StageError::new(path, blank.size, source);
    File::create_new(path)
        .and_then(|file| file.set_len(blank.size))
        .map_err(broken)?;
    let mut arguments: Vec<OsString> = ["-q", "-F", "-t", "ext4", "-b", "4096", "-I", "256", "-m", "0"]
        .iter()
        .chain(&[
            "-E",
            "num_backup_sb=1,lazy_itable_init=1,lazy_journal_init=1,root_owner=0:0",
        ])
        .map(Into::into)
        .collect();
    arguments.extend(["-J".into(), format!("size={}", blank.journal_mib).into()]);
    arguments.extend(["-O".into(), FEATURES.into(), path.into()]);
    run("mke2fs", arguments, &|output| output.status.success())
        .map(drop)
        .and_then(|()| {
            debugfs([
                OsStr::new("-w"),
                "-R".as_ref(),
                "rmdir lost+found".as_ref(),
                path.as_ref(),
            ])
        })
        .map_err(|error| MakeError::tool(path, blank.size, error))
}

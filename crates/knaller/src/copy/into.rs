//! From the host into the guest.

use std::ffi::OsStr;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::remote::{Attributes, Kind, Remote};
use super::{CopyEvent, CopyOptions, MAX_DEPTH, Observer, failed};
use crate::{Error, Result};

/// What is still to do; the last is next.
enum Step {
    Visit {
        from: PathBuf,
        to: String,
        depth: usize,
    },
    /// A folder's content is there: now it may become read-only.
    Finish {
        to: String,
        mode: u32,
        modified: u32,
    },
}

pub(super) async fn copy(
    remote: &Remote,
    from: &Path,
    to: &str,
    options: &CopyOptions,
    observer: Observer<'_>,
) -> Result<()> {
    let to = target(remote, from, to).await?;
    let metadata = look(from, options.follow)?;
    let mut steps = Vec::new();
    visit(
        remote,
        &metadata,
        Step::Visit {
            from: from.to_owned(),
            to,
            depth: 0,
        },
        &mut steps,
        observer,
    )
    .await?;
    while let Some(step) = steps.pop() {
        match step {
            Step::Finish { to, mode, modified } => remote.set(&to, mode, modified).await?,
            Step::Visit { ref from, .. } => {
                let metadata = look(from, false)?;
                visit(remote, &metadata, step, &mut steps, observer).await?;
            }
        }
    }
    Ok(())
}

fn look(path: &Path, follow: bool) -> Result<Metadata> {
    let metadata = if follow {
        path.metadata()
    } else {
        path.symlink_metadata()
    };
    metadata.map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Error::NoFile(path.to_owned()),
        _ => failed(path.display().to_string(), &error),
    })
}

/// Where the source itself goes: into a folder, if the target is one.
async fn target(remote: &Remote, from: &Path, to: &str) -> Result<String> {
    let to = if to.is_empty() { "." } else { to };
    let folder = matches!(
        remote.look(to, true).await?,
        Some(Attributes {
            kind: Kind::Folder,
            ..
        })
    );
    if !folder && !to.ends_with('/') {
        return Ok(to.to_owned());
    }
    if !folder {
        return Err(remote.absent(to));
    }
    // `..` and `/` have no name of their own.
    let absolute = from.canonicalize().ok();
    let name = from
        .file_name()
        .or_else(|| absolute.as_deref().and_then(Path::file_name));
    let name = name.ok_or_else(|| failed(from.display().to_string(), &"it has no name"))?;
    Ok(join(to, text(name, from)?))
}

fn text<'a>(name: &'a OsStr, path: &Path) -> Result<&'a str> {
    name.to_str()
        .ok_or_else(|| failed(path.display().to_string(), &"its name is not UTF-8"))
}

fn join(folder: &str, name: &str) -> String {
    format!("{}/{name}", folder.trim_end_matches('/'))
}

async fn visit(
    remote: &Remote,
    metadata: &Metadata,
    step: Step,
    steps: &mut Vec<Step>,
    observer: &mut (dyn FnMut(CopyEvent) + Send),
) -> Result<()> {
    let Step::Visit { from, to, depth } = step else {
        return Ok(());
    };
    let broken = |error: std::io::Error| failed(from.display().to_string(), &error);
    let (mode, modified) = (
        metadata.mode() & 0o7777,
        u32::try_from(metadata.mtime()).unwrap_or(0),
    );
    let size = if metadata.is_file() { metadata.len() } else { 0 };
    let known = metadata.is_file() || metadata.is_dir() || metadata.is_symlink();
    if !known {
        let reason = "it is neither file, folder nor link".to_owned();
        observer(CopyEvent::Skipped {
            path: from.display().to_string(),
            reason,
        });
        return Ok(());
    }
    observer(CopyEvent::Entry {
        path: to.clone(),
        size,
    });
    if metadata.is_dir() {
        if depth == MAX_DEPTH {
            return Err(failed(
                from.display().to_string(),
                &format!("more than {MAX_DEPTH} folders in each other"),
            ));
        }
        remote.make_folder(&to).await?;
        let mut names: Vec<_> = std::fs::read_dir(&from)
            .and_then(Iterator::collect::<std::io::Result<_>>)
            .map_err(broken)?;
        // In the order of their names: the last is visited first.
        names.sort_by_key(|entry| std::cmp::Reverse(entry.file_name()));
        let inside: Result<Vec<_>> = names
            .iter()
            .map(|entry| {
                let to = join(&to, text(&entry.file_name(), &entry.path())?);
                Ok(Step::Visit {
                    from: entry.path(),
                    to,
                    depth: depth + 1,
                })
            })
            .collect();
        steps.push(Step::Finish { to, mode, modified });
        steps.extend(inside?);
        return Ok(());
    }
    if metadata.is_symlink() {
        let link = std::fs::read_link(&from).map_err(broken)?;
        return remote
            .make_link(text(link.as_os_str(), &from)?, &to, modified)
            .await;
    }
    let mut file = tokio::fs::File::open(&from).await.map_err(broken)?;
    remote
        .write(&to, &mut file, mode, modified, |bytes| {
            observer(CopyEvent::Bytes(bytes));
        })
        .await
}

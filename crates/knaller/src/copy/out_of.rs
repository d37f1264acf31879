//! From the guest to the host.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::host::{self, Folder};
use super::remote::{Attributes, Kind, Remote};
use super::{CopyEvent, CopyOptions, MAX_DEPTH, Observer, failed};
use crate::Result;

/// What is still to do; the last is next.
enum Step {
    Visit(Entry),
    /// A folder's content is there: now it may become read-only.
    Finish {
        folder: Arc<Folder>,
        mode: u32,
        modified: u32,
        from: String,
    },
}

/// Something in the guest, and where on the host it goes.
struct Entry {
    from: String,
    attributes: Attributes,
    folder: Arc<Folder>,
    name: String,
    depth: usize,
}

pub(super) async fn copy(
    remote: &Remote,
    from: &str,
    to: &Path,
    options: &CopyOptions,
    observer: Observer<'_>,
) -> Result<()> {
    let found = remote.look(from, options.follow).await?;
    let attributes = found.ok_or_else(|| remote.absent(from))?;
    let (folder, name) = target(remote, from, to).await?;
    let opened = Folder::open(&folder).map_err(|e| failed(folder.display().to_string(), &e))?;
    let first = Entry {
        from: from.to_owned(),
        attributes,
        folder: Arc::new(opened),
        name,
        depth: 0,
    };
    let mut steps = vec![Step::Visit(first)];
    while let Some(step) = steps.pop() {
        match step {
            Step::Visit(entry) => visit(remote, entry, &mut steps, observer).await?,
            Step::Finish {
                folder,
                mode,
                modified,
                from,
            } => {
                folder.finish(mode, modified).map_err(|e| failed(from, &e))?;
            }
        }
    }
    Ok(())
}

/// The folder of the host that the source goes into, and under which name: its own, if the target is a folder.
async fn target(remote: &Remote, from: &str, to: &Path) -> Result<(PathBuf, String)> {
    let shown = to.display().to_string();
    if to.is_dir() {
        let absolute = remote.resolve(from).await?;
        // A link's name is its own, not its target's.
        let named = from
            .trim_end_matches('/')
            .rsplit('/')
            .next()
            .filter(|name| !matches!(*name, "" | "." | ".."));
        let name = named
            .or_else(|| absolute.rsplit('/').next())
            .filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| failed(from, &"it has no name: give the target one"))?;
        return Ok((to.to_owned(), name.to_owned()));
    }
    if shown.ends_with('/') {
        return Err(failed(shown, &"there is no such folder"));
    }
    let name = to.file_name().and_then(|name| name.to_str());
    let name = name
        .ok_or_else(|| failed(shown, &"it is no name for a file"))?
        .to_owned();
    let parent = to
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    Ok((parent.to_owned(), name))
}

async fn visit(
    remote: &Remote,
    entry: Entry,
    steps: &mut Vec<Step>,
    observer: &mut (dyn FnMut(CopyEvent) + Send),
) -> Result<()> {
    let Entry {
        from,
        attributes,
        folder,
        name,
        depth,
    } = entry;
    let Attributes {
        kind,
        size,
        mode,
        modified,
    } = attributes;
    let broken = |error: std::io::Error| failed(from.clone(), &error);
    if kind == Kind::Other {
        let reason = "it is neither file, folder nor link".to_owned();
        observer(CopyEvent::Skipped { path: from, reason });
        return Ok(());
    }
    observer(CopyEvent::Entry {
        path: from.clone(),
        size: if kind == Kind::File { size } else { 0 },
    });
    match kind {
        Kind::Folder => {
            if depth == MAX_DEPTH {
                return Err(failed(
                    from,
                    &format!("more than {MAX_DEPTH} folders in each other"),
                ));
            }
            let made = Arc::new(folder.folder(&name).map_err(broken)?);
            let mut inside = remote.list(&from).await?;
            // In the order of their names: the last is visited first.
            inside.sort_by(|(one, _), (other, _)| other.cmp(one));
            let finish = Step::Finish {
                folder: Arc::clone(&made),
                mode,
                modified,
                from: from.clone(),
            };
            steps.push(finish);
            steps.extend(inside.into_iter().map(|(name, attributes)| {
                let from = format!("{}/{name}", from.trim_end_matches('/'));
                Step::Visit(Entry {
                    from,
                    attributes,
                    folder: Arc::clone(&made),
                    name,
                    depth: depth + 1,
                })
            }));
            Ok(())
        }
        Kind::Link => {
            let link = remote.read_link(&from).await?;
            folder.link(&name, &link, modified).map_err(broken)
        }
        Kind::File | Kind::Other => {
            let file = folder.file(&name).map_err(broken)?;
            let mut sink = tokio::fs::File::from_std(file);
            remote
                .read(&from, size, &mut sink, |bytes| observer(CopyEvent::Bytes(bytes)))
                .await?;
            host::finish(&sink.into_std().await, mode, modified).map_err(broken)
        }
    }
}

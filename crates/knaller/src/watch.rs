//! Waiting for files to change, without polling (inotify(7)).

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use tokio::io::unix::AsyncFd;

use crate::readable;

/// A watch on one folder.
#[derive(Debug)]
pub(crate) struct Watch {
    events: AsyncFd<OwnedFd>,
}

/// What happened since the last look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// Names of files that were made, moved in, written to or removed.
    pub(crate) names: Vec<Vec<u8>>,
    /// The folder itself is gone; nothing more will happen.
    pub(crate) over: bool,
}

impl Watch {
    /// Watches a folder from now on. What must not be missed is looked for after this.
    pub(crate) fn folder(path: &Path) -> io::Result<Self> {
        let events = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let flags = WatchFlags::CREATE
            | WatchFlags::MOVED_TO
            | WatchFlags::MODIFY
            | WatchFlags::DELETE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        inotify::add_watch(&events, path, flags)?;
        Ok(Self {
            events: readable::watch(events)?,
        })
    }

    /// Waits for the next changes. Safe to drop and call again: none is lost.
    pub(crate) async fn changes(&self) -> io::Result<Changes> {
        loop {
            let mut ready = self.events.readable().await?;
            if let Ok(changes) = ready.try_io(|events| read(events.get_ref())) {
                return changes;
            }
        }
    }
}

fn read(events: &OwnedFd) -> io::Result<Changes> {
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut reader = inotify::Reader::new(events, &mut buffer);
    let mut changes = Changes::default();
    loop {
        let event = match reader.next() {
            Err(rustix::io::Errno::AGAIN) if changes != Changes::default() => return Ok(changes),
            Err(error) => return Err(error.into()),
            Ok(event) => event,
        };
        let over = ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::IGNORED | ReadFlags::UNMOUNT;
        changes.over |= event.events().intersects(over);
        changes
            .names
            .extend(event.file_name().map(|name| name.to_bytes().to_vec()));
        if reader.is_buffer_empty() {
            return Ok(changes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn changes_are_told_by_name() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("watched");
        std::fs::create_dir(&folder).unwrap();
        let watch = Watch::folder(&folder).unwrap();
        std::fs::write(folder.join("one"), "x").unwrap();
        let mut names = watch.changes().await.unwrap().names;
        names.dedup();
        assert_eq!(names, [b"one".to_vec()]);
        std::fs::remove_dir_all(&folder).unwrap();
        while !watch.changes().await.unwrap().over {}
    }
}

//! The folder of a machine's sockets: made for each boot, gone with it. The invariant: all in it that the VMM is to reach is
//! its user's, who is the folder's owner, or whoever runs this program.

use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, chown, lchown};
use std::path::Path;

use rustix::fs::{Mode, fchmod};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen as listen_on, socket_with,
};
use tokio::net::UnixListener;

use crate::layout::Files;
use crate::{Error, Result};

/// Makes it empty.
pub(crate) fn make(files: &Files) -> Result<()> {
    remove(files);
    let parent = files.runtime.parent().unwrap_or(&files.runtime);
    // It is on a file system that a logout or a reboot empties.
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(parent)
        .map_err(Error::io("make the folder", parent))?;
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(&files.runtime)
        .map_err(Error::io("make the folder", &files.runtime))
}

/// Gives it to the machine's own user.
pub(crate) fn give(files: &Files, user: u32) -> Result<()> {
    chown(&files.runtime, Some(user), Some(user)).map_err(Error::io("give away", &files.runtime))
}

/// Listens in it for the VMM.
pub(crate) fn listen(files: &Files, socket: &Path) -> Result<UnixListener> {
    let failed = || Error::io("listen on", socket);
    let listener = private(socket)
        .and_then(UnixListener::from_std)
        .map_err(failed())?;
    let folder = files.runtime.metadata().map_err(failed())?;
    if folder.uid() != rustix::process::geteuid().as_raw() {
        // The VMM could have put a link in the socket's place by now.
        lchown(socket, Some(folder.uid()), Some(folder.gid())).map_err(failed())?;
    }
    Ok(listener)
}

/// Listens, with mode 0600 whatever the umask says: Linux makes the name with the descriptor's mode.
fn private(socket: &Path) -> io::Result<std::os::unix::net::UnixListener> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let fd = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    fchmod(&fd, Mode::RUSR | Mode::WUSR)?;
    bind(&fd, &SocketAddrUnix::new(socket)?)?;
    listen_on(&fd, 128)?;
    Ok(fd.into())
}

pub(crate) fn remove(files: &Files) {
    match std::fs::remove_dir_all(&files.runtime) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(folder = %files.runtime.display(), %error, "cannot remove a machine's sockets");
        }
        _ => {}
    }
}

/// Has whoever watches the folder of all machines' sockets look at them. Who cannot be woken looks in a while.
pub(crate) fn stir(runtime: &Path) {
    let path = runtime.join(".stir");
    // What one who was killed between the two has left goes with the next.
    if std::fs::File::create(&path).is_ok() {
        let _ = std::fs::remove_file(&path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::Watch;

    #[tokio::test]
    async fn who_watches_is_woken_and_nothing_stays() {
        let folder = tempfile::tempdir().unwrap();
        let watch = Watch::folder(folder.path()).unwrap();
        stir(folder.path());
        let changes = tokio::time::timeout(std::time::Duration::from_secs(60), watch.changes());
        assert!(!changes.await.unwrap().unwrap().names.is_empty());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

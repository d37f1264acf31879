//! A way back to the client's agent: a Unix socket in the guest, each connection to which becomes a channel (OpenSSH's
//! PROTOCOL.agent).

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ring::rand::{SecureRandom as _, SystemRandom};
use rustix::net::{SocketFlags, accept_with};
use tokio::task::JoinHandle;

use crate::ssh::fd::Fd;
use crate::ssh::hub::Hub;
use crate::ssh::identity::act_as;
use crate::ssh::pump;
use crate::users::Identity;

/// One session's socket, which is removed with it.
#[derive(Debug)]
pub(crate) struct Agent {
    folder: PathBuf,
    path: PathBuf,
    owner: Identity,
    task: JoinHandle<()>,
}

impl Agent {
    /// Opens a socket that only `owner` can reach.
    pub(crate) fn open(hub: &Arc<Hub>, owner: &Identity) -> io::Result<Self> {
        let mut random = [0; 8];
        SystemRandom::new()
            .fill(&mut random)
            .map_err(|_| io::Error::other("the kernel gives no random bytes"))?;
        let name = format!("ssh-{:016x}", u64::from_be_bytes(random));
        let open = |parent: &str| {
            let folder = Path::new(parent).join(&name);
            let path = folder.join("agent");
            // A folder that is already there is somebody else's trap.
            std::fs::DirBuilder::new().mode(0o700).create(&folder)?;
            UnixListener::bind(&path).map(|socket| (folder, path, socket))
        };
        let (folder, path, socket) = act_as(owner, || match open("/tmp") {
            Err(e) if e.kind() == io::ErrorKind::ReadOnlyFilesystem => open("/dev/shm"),
            opened => opened,
        })??;
        let task = tokio::spawn(accept(Fd::new(OwnedFd::from(socket))?, hub.clone()));
        Ok(Self {
            folder,
            path,
            owner: owner.clone(),
            task,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.task.abort();
        // The user may have removed them already.
        let _ = act_as(&self.owner, || {
            std::fs::remove_file(&self.path).and_then(|()| std::fs::remove_dir(&self.folder))
        });
    }
}

async fn accept(socket: Fd, hub: Arc<Hub>) {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    while let Ok(connection) = socket.read_with(|fd| accept_with(fd, flags)).await {
        let hub = hub.clone();
        tokio::spawn(async move {
            let Ok(connection) = Fd::new(connection) else {
                return;
            };
            if let Ok(channel) = hub.open("auth-agent@openssh.com", |_| {}).await {
                pump::duplex(&channel, &connection).await;
            }
        });
    }
}

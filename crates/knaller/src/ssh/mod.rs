//! The host's own way into a guest: SSH over vsock, with the machine's own key and its host key pinned. The invariant: no
//! byte of the user's goes to a server that has not shown the key made for this machine.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use russh::client::{self, AuthResult, Handle};
use russh::keys::ssh_key::PublicKey;
use russh::keys::{PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use tokio::sync::watch;

use crate::layout::Files;
use crate::{Error, Name, Result, life, vsock};

pub(crate) mod config;
pub(crate) mod control;

/// How long key exchange and login may take: a guest under emulation on a busy host is slow at both.
const LOGIN: Duration = Duration::from_secs(60);

/// An open connection, logged in. Closed when it and all its channels are dropped.
pub(crate) struct Ssh {
    pub(crate) handle: Handle<Pinned>,
    closed: watch::Receiver<()>,
}

impl fmt::Debug for Ssh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ssh")
            .field("closed", &self.handle.is_closed())
            .finish()
    }
}

impl Ssh {
    /// Something to wait by for the end of the connection, whoever ended it.
    pub(crate) fn closed(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut closed = self.closed.clone();
        // Nothing is ever sent: the other end goes with the connection.
        async move { while closed.changed().await.is_ok() {} }
    }
}

/// Accepts one host key.
#[derive(Debug)]
pub(crate) struct Pinned {
    key: PublicKey,
    _open: watch::Sender<()>,
}

impl client::Handler for Pinned {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        shown: &PublicKeyOrCertificate,
    ) -> std::result::Result<bool, russh::Error> {
        Ok(
            matches!(shown, PublicKeyOrCertificate::PublicKey { key, .. } if key.key_data() == self.key.key_data()),
        )
    }
}

/// Connects to the machine and logs in as `user`. Fails soon if its user has paused it.
pub(crate) async fn connect(files: &Files, name: &Name, user: &str) -> Result<Ssh> {
    life::unless_paused(files, name, Box::pin(log_in(files, name, user))).await
}

async fn log_in(files: &Files, name: &Name, user: &str) -> Result<Ssh> {
    let failed = |reason: String| Error::Ssh {
        name: name.clone(),
        reason,
    };
    let read = |path: &std::path::Path| {
        PrivateKey::read_openssh_file(path).map_err(|e| failed(format!("{}: {e}", path.display())))
    };
    let (open, closed) = watch::channel(());
    let pinned = Pinned {
        _open: open,
        key: read(&files.host_key())?.public_key().clone(),
    };
    let key = PrivateKeyWithHashAlg::new(Arc::new(read(&files.client_key())?), None);
    let stream = vsock::connect(&files.vsock_socket(), guest_protocol::SSH_PORT.into()).await;
    let stream = stream.map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => Error::NotRunning(name.clone()),
        _ => failed(e.to_string()),
    })?;
    let config = Arc::new(client::Config {
        nodelay: true,
        ..client::Config::default()
    });
    let login = async {
        let mut ssh = client::connect_stream(config, stream, pinned).await?;
        let answer = ssh.authenticate_publickey(user, key).await?;
        Ok::<_, russh::Error>((ssh, answer))
    };
    match tokio::time::timeout(LOGIN, login).await {
        Ok(Ok((handle, AuthResult::Success))) => Ok(Ssh { handle, closed }),
        // With the machine's own key everybody gets in who is there and has a shell.
        Ok(Ok(_)) => Err(Error::NoUser {
            name: name.clone(),
            user: user.to_owned(),
        }),
        Ok(Err(russh::Error::UnknownKey)) => Err(Error::HostKey { name: name.clone() }),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed(format!("no login within {} s", LOGIN.as_secs()))),
    }
}

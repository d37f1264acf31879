//! One machine, by its name.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::copy::{CopyEvent, CopyOptions};
use crate::exec::{ExecRequest, Output, Session};
use crate::forwarding::Forwarding;
use crate::knaller::Inner;
use crate::logs::{LogSource, Logs};
use crate::{Error, Exit, MachineInfo, Name, Result, StartEvent, StartOptions, Timeline};

/// How a machine is asked to end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StopOptions {
    /// How long the guest's command has after its stop signal; the spec's if none. The same time and a few seconds more
    /// pass before the next, ruder way of stopping is tried.
    pub grace: Option<Duration>,
}

/// How a machine ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopOutcome {
    /// The guest's init shut it down, as asked.
    Orderly,
    /// The init could not be asked, and Ctrl-Alt-Del did it.
    CtrlAltDel,
    /// Neither helped: the VMM was killed.
    Killed,
}

/// A machine that exists, running or not. Cheap to clone; a handle, not an owner: dropping it changes nothing.
#[derive(Clone, Debug)]
pub struct Machine {
    inner: Arc<Inner>,
    name: Name,
}

impl Machine {
    pub(crate) fn new(inner: Arc<Inner>, name: Name) -> Self {
        Self { inner, name }
    }

    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The folder with its disk, keys and logs.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.inner.options.paths.data.join("vms").join(self.name.as_str())
    }

    /// What it is and whether it runs, asked now.
    pub async fn info(&self) -> Result<MachineInfo> {
        Err(self.unfinished())
    }

    /// Starts it again with the disk it has.
    pub async fn start(
        &self,
        options: StartOptions,
        observer: &mut (dyn FnMut(StartEvent) + Send),
    ) -> Result<Timeline> {
        let _ = (options, observer);
        Err(self.unfinished())
    }

    /// Ends it: asks its init, else sends Ctrl-Alt-Del, else kills. Returns when its VMM is gone.
    pub async fn stop(&self, options: StopOptions) -> Result<StopOutcome> {
        let _ = options;
        Err(self.unfinished())
    }

    /// Ends it at once, as pulling the plug does.
    pub async fn kill(&self) -> Result<()> {
        Err(self.unfinished())
    }

    /// Removes a stopped machine with all its files.
    pub async fn remove(&self) -> Result<()> {
        Err(self.unfinished())
    }

    /// Waits until it has ended, and says how. At once if it does not run.
    pub async fn wait(&self) -> Result<Exit> {
        Err(self.unfinished())
    }

    /// Runs a command or a shell in it.
    pub async fn exec(&self, request: ExecRequest) -> Result<Session> {
        let _ = request;
        Err(self.unfinished())
    }

    /// Runs a command with no input and collects what it says, up to 16 MiB of each stream.
    pub async fn output(&self, request: ExecRequest) -> Result<Output> {
        let _ = request;
        Err(self.unfinished())
    }

    /// Copies a file or folder of the host into it. A target that is a folder, or ends in `/`, gets the source inside.
    pub async fn copy_in(
        &self,
        from: &Path,
        to: &str,
        options: &CopyOptions,
        observer: &mut (dyn FnMut(CopyEvent) + Send),
    ) -> Result<()> {
        let _ = (from, to, options, observer);
        Err(self.unfinished())
    }

    /// Copies a file or folder out of it, as [`Self::copy_in`].
    pub async fn copy_out(
        &self,
        from: &str,
        to: &Path,
        options: &CopyOptions,
        observer: &mut (dyn FnMut(CopyEvent) + Send),
    ) -> Result<()> {
        let _ = (from, to, options, observer);
        Err(self.unfinished())
    }

    /// Listens on `local` (port 0: a free one) and carries each connection to a port of the guest's own loopback, until
    /// the returned value is dropped.
    pub async fn forward(&self, local: std::net::SocketAddr, guest_port: u16) -> Result<Forwarding> {
        let _ = (local, guest_port);
        Err(self.unfinished())
    }

    /// What it wrote, from the beginning; with `follow`, also what comes, until it has ended.
    pub async fn logs(&self, source: LogSource, follow: bool) -> Result<Logs> {
        let _ = (source, follow);
        Err(self.unfinished())
    }

    /// A stanza for ssh_config(5) named after it, with which ssh, scp, sftp, rsync and others reach it over vsock.
    /// `proxy` is the command line that connects its standard streams with the guest's SSH, as `knaller proxy web`.
    pub async fn ssh_config(&self, proxy: &str) -> Result<String> {
        let _ = proxy;
        Err(self.unfinished())
    }

    /// A raw stream to a vsock port of the guest.
    pub async fn connect_vsock(&self, port: u32) -> Result<tokio::net::UnixStream> {
        let _ = port;
        Err(self.unfinished())
    }

    /// The guest's own figures: memory, load, disk.
    pub async fn status(&self) -> Result<guest_protocol::control::Status> {
        Err(self.unfinished())
    }

    fn unfinished(&self) -> Error {
        Error::NotFound(self.name.to_string())
    }
}

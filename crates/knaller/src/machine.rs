//! One machine, by its name.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use guest_protocol::control::{Process, Status};
use serde::{Deserialize, Serialize};
use tokio::net::UnixStream;

use crate::attendance::Attendance;
use crate::copy::{self, CopyEvent, CopyOptions};
use crate::exec::{ExecRequest, Output, Pty, Session, SessionEvent};
use crate::forwarding::Forwarding;
use crate::knaller::Inner;
use crate::layout::{self, Files};
use crate::logs::{LogSource, Logs};
use crate::ssh::{config, control};
use crate::{
    Error, ExecExit, Exit, MachineInfo, Name, Paused, RawTaken, RestoreSpec, Result, SnapshotOptions,
    StartEvent, StartOptions, State, Stats, Taken, Timeline, Update, Updated, heal, image, life, list,
    snapshot, start, stop, task, vsock,
};

/// The most bytes of each stream that [`Machine::output`] keeps.
const MAX_OUTPUT: usize = 16 << 20;

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
    /// The same, but its command did not end within its grace, and the init killed it.
    CommandKilled,
    /// The init could not be asked, and powered off when Ctrl-Alt-Del was pressed.
    CtrlAltDel,
    /// Neither helped: the VMM was killed.
    Killed,
    /// It had ended already, and its restart policy would have had it started again: now it stays as it is.
    StaysStopped,
}

/// A machine that exists, running or not. Cheap to clone; a handle, not an owner: dropping it changes nothing. But a
/// machine that was started to be [`attached`](crate::MachineSpec::attached) and removed on exit is there for who
/// started it: when the handles of its start are gone, or their process was killed, the next command takes it away.
#[derive(Clone, Debug)]
pub struct Machine {
    inner: Arc<Inner>,
    name: Name,
    _attendance: Option<Attendance>,
}

impl Machine {
    pub(crate) fn new(inner: Arc<Inner>, name: Name) -> Self {
        Self {
            inner,
            name,
            _attendance: None,
        }
    }

    pub(crate) fn attended(self, attendance: Option<Attendance>) -> Self {
        Self {
            _attendance: attendance,
            ..self
        }
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }

    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The folder with its disk, keys and logs.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        layout::files(&self.inner.options.paths, &self.name).data
    }

    /// What it is and whether it runs, asked now.
    pub async fn info(&self) -> Result<MachineInfo> {
        list::one(&self.inner, &self.name).await
    }

    /// Starts it again with the disk it has.
    pub async fn start(
        &self,
        options: StartOptions,
        observer: &mut (dyn FnMut(StartEvent) + Send),
    ) -> Result<Timeline> {
        start::again(&self.inner, &self.name, 0, options, observer).await
    }

    /// Ends it: asks its init, else sends Ctrl-Alt-Del, else kills. Returns when its VMM is gone. No supervisor starts it after
    /// that, nor one that has ended by itself and that its policy would have started again.
    pub async fn stop(&self, options: StopOptions) -> Result<StopOutcome> {
        stop::stop(&self.inner, &self.name, options).await
    }

    /// Gives it another name, whether it runs or not. This handle is of no use afterwards; the new one is given. The
    /// guest's own host name stays until its next start.
    pub async fn rename(self, name: &Name) -> Result<Self> {
        life::rename(&self.inner, &self.name, name).await?;
        Ok(Self {
            name: name.clone(),
            ..self
        })
    }

    /// Ends it as [`Self::stop`] does, if it runs, and starts it again with the disk it has.
    pub async fn restart(
        &self,
        stop: StopOptions,
        options: StartOptions,
        observer: &mut (dyn FnMut(StartEvent) + Send),
    ) -> Result<Timeline> {
        match self.stop(stop).await {
            Ok(_) | Err(Error::NotRunning(_)) => self.start(options, observer).await,
            Err(error) => Err(error),
        }
    }

    /// Changes what it is to be. What cannot be changed while it runs holds from its next start.
    pub async fn update(&self, update: Update) -> Result<Updated> {
        life::update(&self.inner, &self.name, update).await
    }

    /// Makes it stand still: its memory stays, its CPUs do nothing.
    pub async fn pause(&self) -> Result<()> {
        life::pause(&self.inner, &self.name).await
    }

    /// Lets it go on.
    pub async fn resume(&self) -> Result<()> {
        life::resume(&self.inner, &self.name).await
    }

    /// Keeps it as it is in this moment. It goes on, unless it is to be stopped.
    pub async fn snapshot(&self, options: SnapshotOptions) -> Result<Taken> {
        Box::pin(snapshot::take(&self.inner, &self.name, options)).await
    }

    /// Writes the state and the memory of the machine to two paths of the caller's at which there is nothing yet, and
    /// has `while_paused` copy its disks meanwhile: a snapshot of which nothing is in this program's folders. For a
    /// machine on a disk that its caller owns ([`crate::Root::Raw`], or none), and for its volumes;
    /// [`crate::Knaller::restore_raw`] makes machines of it. What the guest had in its memory is secret, and
    /// machines made of it read it on: the mode of both files is 0400.
    ///
    /// The machine goes on when `while_paused` has ended, however it does: by an error, a panic, or because this future
    /// was dropped. If this process is killed, the next command of any process lets it go on.
    ///
    /// # Errors
    /// The machine does not run, has a disk of its own, or does not stand still; a path is taken; or `while_paused`
    /// failed. Neither file is left then.
    pub async fn create_raw<F, W, E>(&self, state: &Path, memory: &Path, while_paused: F) -> Result<RawTaken>
    where
        F: FnOnce(Paused) -> W,
        W: Future<Output = std::result::Result<(), E>>,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        snapshot::create_raw(&self.inner, &self.name, state, memory, while_paused).await
    }

    /// Makes machines of it that go on from this moment, each with a name, key and randomness of its own: all of them, or none.
    pub async fn fork(
        &self,
        specs: Vec<RestoreSpec>,
        options: StartOptions,
        observer: &mut (dyn FnMut(StartEvent) + Send),
    ) -> Result<Vec<(Machine, Timeline)>> {
        snapshot::fork(&self.inner, &self.name, specs, options, observer).await
    }

    /// Ends it at once, as pulling the plug does: [`StopOutcome::Killed`], or [`StopOutcome::StaysStopped`] as with [`Self::stop`].
    pub async fn kill(&self) -> Result<StopOutcome> {
        stop::kill(&self.inner, &self.name).await
    }

    /// Removes a stopped machine with all its files.
    pub async fn remove(&self) -> Result<()> {
        stop::remove(&self.inner, &self.name).await
    }

    /// Waits until it has ended, and says how. At once if it does not run.
    pub async fn wait(&self) -> Result<Exit> {
        stop::wait(&self.inner, &self.name).await
    }

    /// Runs a command or a shell in it.
    pub async fn exec(&self, request: ExecRequest) -> Result<Session> {
        Session::open(&self.running()?, &self.name, request).await
    }

    /// Runs the machine's own command, as its image's entrypoint would be run, with its input and output here: for a machine
    /// that was made to be [`crate::MachineSpec::attached`]. A shell where it has none.
    pub async fn program(&self, pty: Option<Pty>) -> Result<Session> {
        let (_, record) = list::load(&self.inner, &self.name)?;
        let inner = Arc::clone(&self.inner);
        let exec = task::blocking(move |_| {
            let run = image::run_config(&inner.options, &record.spec.root, record.image.as_deref())?;
            Ok(image::attached(&record.spec, &run))
        });
        let mut request = match exec.await? {
            None => ExecRequest::shell(),
            Some(exec) => ExecRequest::subsystem(exec.subsystem().map_err(|error| Error::Ssh {
                name: self.name.clone(),
                reason: error.to_string(),
            })?),
        };
        request.pty = pty;
        self.exec(request).await
    }

    /// Runs a command with no input and collects what it says, up to 16 MiB of each stream.
    pub async fn output(&self, request: ExecRequest) -> Result<Output> {
        let mut session = self.exec(request).await?;
        session.input().close().await?;
        let mut output = Output {
            exit: ExecExit::Lost,
            stdout: Vec::new(),
            stderr: Vec::new(),
        };
        while let Some(event) = session.next().await {
            let (stream, bytes) = match event {
                SessionEvent::Stdout(bytes) => (&mut output.stdout, bytes),
                SessionEvent::Stderr(bytes) => (&mut output.stderr, bytes),
                SessionEvent::Exit(exit) => {
                    output.exit = exit;
                    continue;
                }
            };
            let room = MAX_OUTPUT.saturating_sub(stream.len()).min(bytes.len());
            stream.extend_from_slice(bytes.get(..room).unwrap_or_default());
        }
        Ok(output)
    }

    /// Copies a file or folder of the host into it. A target that is a folder, or ends in `/`, gets the source inside.
    pub async fn copy_in(
        &self,
        from: &Path,
        to: &str,
        options: &CopyOptions,
        observer: &mut (dyn FnMut(CopyEvent) + Send),
    ) -> Result<()> {
        copy::into(&self.running()?, &self.name, from, to, options, observer).await
    }

    /// Copies a file or folder out of it, as [`Self::copy_in`].
    pub async fn copy_out(
        &self,
        from: &str,
        to: &Path,
        options: &CopyOptions,
        observer: &mut (dyn FnMut(CopyEvent) + Send),
    ) -> Result<()> {
        copy::out_of(&self.running()?, &self.name, from, to, options, observer).await
    }

    /// Listens on `local` (port 0: a free one) and carries each connection to a port of the guest's own loopback, until
    /// the returned value is dropped.
    pub async fn forward(&self, local: SocketAddr, guest_port: u16) -> Result<Forwarding> {
        match Forwarding::open(&self.running()?, &self.name, local, guest_port).await {
            Ok(forwarding) => Ok(forwarding),
            Err(error) => Err(list::blame(&self.inner, None, error).await),
        }
    }

    /// What it wrote, from the beginning; with `follow`, also what comes, until it has ended.
    pub async fn logs(&self, source: LogSource, follow: bool) -> Result<Logs> {
        let (files, record) = list::load(&self.inner, &self.name)?;
        Logs::open(&files, record, source, follow)
    }

    /// A stanza for ssh_config(5) named after it, with which ssh, scp, sftp, rsync and others reach it over vsock.
    /// `proxy` is the command line that connects its standard streams with the guest's SSH, as `knaller proxy web`.
    pub async fn ssh_config(&self, proxy: &str) -> Result<String> {
        let (files, _) = list::load(&self.inner, &self.name)?;
        Ok(config::stanza(&files, &self.name, proxy))
    }

    /// A raw stream to a vsock port of the guest.
    pub async fn connect_vsock(&self, port: u32) -> Result<UnixStream> {
        let files = self.running()?;
        let socket = files.vsock_socket();
        let asking = async {
            let stream = vsock::connect(&socket, port).await;
            stream.map_err(|source| Error::Vsock {
                name: self.name.clone(),
                port,
                source,
            })
        };
        life::unless_paused(&files, &self.name, asking).await
    }

    /// What it uses, as the host sees it and as the guest says.
    pub async fn stats(&self) -> Result<Stats> {
        life::stats(&self.inner, &self.name).await
    }

    /// What runs in it: programs, without the guest kernel's own threads. The guest's init tells, whatever the image has.
    pub async fn processes(&self) -> Result<Vec<Process>> {
        let files = self.running()?;
        let (_, record) = list::load(&self.inner, &self.name)?;
        match list::ask(&files, &record).await?.state {
            // It would say nothing.
            State::Paused => Err(Error::Paused(self.name.clone())),
            _ => control::processes(&files, &record).await,
        }
    }

    /// The guest's own figures: memory, load, disk.
    pub async fn status(&self) -> Result<Status> {
        let (files, record) = list::load(&self.inner, &self.name)?;
        control::status(&files, &record).await
    }

    /// Its files, if there is a process that could answer.
    fn running(&self) -> Result<Files> {
        let (files, _) = list::load(&self.inner, &self.name)?;
        if heal::lives(&files)? {
            Ok(files)
        } else {
            Err(Error::NotRunning(self.name.clone()))
        }
    }
}

//! Session channels: one program each, RFC 4254 section 6.
//!
//! The invariant: requests are answered in their order, and one program is started at most. The end of a session is as
//! sshd's: exit status as soon as the program ended, end of file when its output is drained, then the channel closes. A
//! program that the client leaves behind loses its terminal or pipes and is not killed.

pub(super) mod command;
mod control;
mod environment;
mod image;
mod process;
mod pty;
mod refusal;
mod request;

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::sync::Arc;

use rustix::process::{Pid, Signal};
use tokio::process::Child;
use tokio::sync::mpsc;

use self::command::Program;
use self::environment::{Asked, Sources};
use self::process::{Process, Start, Streams};
use self::pty::{Pty, Terminal};
use self::refusal::{NOT_FOUND, Refusal};
use self::request::Ask;
pub(super) use self::request::Request;
use super::channel::Channel;
use super::fd::Fd;
use super::forward::agent::Agent;
use super::login::Login;
use super::peer::Peer;
use super::pump;
use crate::users::{Accounts, Identity, User};

/// A session that waits to be told what to run.
#[derive(Debug)]
pub(super) struct Session {
    channel: Channel,
    requests: mpsc::Receiver<Request>,
    login: Arc<Login>,
    peer: Arc<Peer>,
    asked: Asked,
    terminal: Option<Terminal>,
    agent: bool,
}

/// What a client wants to run.
#[derive(Clone, Debug)]
enum Want {
    Shell,
    Command(Vec<u8>),
    Sftp,
}

impl Session {
    pub(super) fn new(
        channel: Channel,
        requests: mpsc::Receiver<Request>,
        login: Arc<Login>,
        peer: Arc<Peer>,
    ) -> Self {
        Self {
            channel,
            requests,
            login,
            peer,
            asked: Asked::default(),
            terminal: None,
            agent: false,
        }
    }

    /// Serves the session to its end.
    pub(super) async fn run(mut self) {
        while let Some(Request { ask, want_reply }) = self.next_request().await {
            let want = match ask {
                Ask::Shell => Some(Want::Shell),
                Ask::Exec(command) => Some(Want::Command(command)),
                Ask::Subsystem(name) if name == "sftp" => Some(Want::Sftp),
                Ask::Subsystem(name) if name == guest_protocol::CONTROL_SUBSYSTEM && self.may_control() => {
                    self.answer(want_reply, true);
                    control::serve(&self.channel, self.login.machine()).await;
                    return;
                }
                Ask::Subsystem(name) if image::is_asked(&name) && self.may_run_as_image() => {
                    return self.execute_as_image(&name, want_reply).await;
                }
                other => {
                    let done = self.prepare(other);
                    self.answer(want_reply, done);
                    None
                }
            };
            if let Some(want) = want {
                return self.execute(want, want_reply).await;
            }
        }
    }

    /// The next request; `None` once the client has closed the channel.
    async fn next_request(&mut self) -> Option<Request> {
        tokio::select! {
            biased;
            request = self.requests.recv() => request,
            () = self.channel.closed() => None,
        }
    }

    fn answer(&self, want_reply: bool, success: bool) {
        if want_reply {
            self.channel.reply(success);
        }
    }

    /// The machine is root's alone, and a key that is for one command is for nothing else.
    fn may_control(&self) -> bool {
        self.login.user == "root" && self.login.permissions.command.is_none()
    }

    fn may_run_as_image(&self) -> bool {
        self.may_control() && self.login.by_host
    }

    /// A request that comes before the program starts. `false`: refused.
    fn prepare(&mut self, ask: Ask) -> bool {
        let permissions = &self.login.permissions;
        match ask {
            Ask::Terminal(terminal) if permissions.pty => {
                self.terminal = Some(terminal);
                true
            }
            Ask::Variable { name, value } => self.asked.set(name, value, permissions.command.is_some()),
            Ask::Agent if permissions.agent_forwarding => {
                self.agent = true;
                true
            }
            Ask::Resize(size) => self
                .terminal
                .as_mut()
                .map(|terminal| terminal.size = size)
                .is_some(),
            _ => false,
        }
    }

    /// Starts the program and serves it to its end.
    async fn execute(mut self, want: Want, want_reply: bool) {
        let identity = tokio::select! {
            identity = self.login.identity() => identity,
            () = self.channel.closed() => return,
        };
        let started = identity.and_then(|identity| self.start(&want, &identity));
        self.answer(want_reply, true);
        match started {
            Ok((process, agent)) => {
                let left = self.serve(process).await;
                drop(agent);
                // What outlives its session is waited for all the same, so that no dead process is left over.
                if let Some(mut child) = left {
                    tokio::spawn(async move { child.wait().await });
                }
            }
            Err(why) => self.refuse(Refusal { why, code: NOT_FOUND }).await,
        }
    }

    /// The same for a program as the image's own is run ([`guest_protocol::exec`]).
    async fn execute_as_image(mut self, subsystem: &str, want_reply: bool) {
        let root = tokio::select! {
            root = self.login.machine().root() => root,
            () = self.channel.closed() => return,
        };
        let started = root
            .map_err(Refusal::not_run)
            .and_then(|()| self.start_as_image(subsystem));
        self.answer(want_reply, true);
        match started {
            Ok(process) => {
                if let Some(child) = self.serve(process).await {
                    tokio::spawn(image::end(child));
                }
            }
            Err(refusal) => self.refuse(refusal).await,
        }
    }

    /// Tells the client why nothing runs.
    async fn refuse(&self, Refusal { why, code }: Refusal) {
        let line = if self.terminal.is_some() { "\r\n" } else { "\n" };
        let text = format!("powerunit: {why}{line}");
        if self.channel.send(text.as_bytes(), true).await.is_ok() {
            self.channel.exit_status(code.into());
            self.channel.eof();
        }
    }

    fn sftp_server(&self) -> Program {
        let (path, arguments) = self.login.settings().sftp_server.clone();
        Program {
            argv0: OsString::from(super::SFTP_SERVER),
            path,
            arguments,
        }
    }

    fn start(&self, want: &Want, identity: &Identity) -> Result<(Process, Option<Agent>), String> {
        let settings = self.login.settings();
        let user = &identity.user;
        let permissions = &self.login.permissions;
        let mut session = self.peer.variables();
        let program = match (&permissions.command, want) {
            (Some(forced), _) if forced == "internal-sftp" => self.sftp_server(),
            (Some(forced), want) => {
                match want {
                    Want::Command(original) => {
                        session.push(("SSH_ORIGINAL_COMMAND", environment::os(original)));
                    }
                    Want::Sftp => session.push(("SSH_ORIGINAL_COMMAND", "internal-sftp".into())),
                    Want::Shell => {}
                }
                Program::command(user, forced.as_bytes()).map_err(|error| error.to_string())?
            }
            (None, Want::Shell) => Program::shell(user).map_err(|error| error.to_string())?,
            (None, Want::Command(command)) => {
                Program::command(user, command).map_err(|error| error.to_string())?
            }
            (None, Want::Sftp) => self.sftp_server(),
        };
        let pty = match &self.terminal {
            Some(terminal) if !matches!(want, Want::Sftp) => {
                let pty = self.open_terminal(terminal, user)?;
                session.push(("SSH_TTY", pty.path.clone()));
                session.push(("TERM", terminal.name.clone()));
                Some(pty)
            }
            _ => None,
        };
        let agent = match self.agent {
            true => {
                let agent = Agent::open(self.channel.hub(), identity);
                agent
                    .inspect_err(|error| tracing::info!(%error, "no agent is forwarded"))
                    .ok()
            }
            false => None,
        };
        session.extend(agent.as_ref().map(|agent| ("SSH_AUTH_SOCK", agent.path().into())));
        let system = std::fs::read(settings.etc.join("environment")).unwrap_or_default();
        let sources = Sources {
            user,
            system: &String::from_utf8_lossy(&system),
            machine: &settings.environment,
            key: &permissions.environment,
            asked: &self.asked,
            session,
        };
        let start = Start {
            program: &program,
            identity,
            environment: sources.environment(),
        };
        let process = start
            .command()
            .and_then(|command| Process::start(command, pty))
            .map_err(|error| format!("cannot execute {}: {error}", program.path.display()))?;
        Ok((process, agent))
    }

    fn open_terminal(&self, terminal: &Terminal, user: &User) -> Result<Pty, String> {
        let tty = Accounts::load(&self.login.settings().etc).group("tty");
        Pty::open(terminal, user.uid, tty).map_err(|error| format!("no terminal: {error}"))
    }

    fn start_as_image(&self, subsystem: &str) -> Result<Process, Refusal> {
        let mut launch = image::launch(subsystem, self.login.settings())?;
        let pty = match &self.terminal {
            Some(terminal) => {
                let name = terminal.name.to_string_lossy().into_owned();
                launch.env.entry("TERM".into()).or_insert(name);
                let pty = self.open_terminal(terminal, &launch.identity.user);
                Some(pty.map_err(Refusal::not_run)?)
            }
            None => None,
        };
        let command = launch.command()?;
        let namespace = launch.namespace()?;
        let mut process = Process::start(command, pty).map_err(|error| launch.failed(error))?;
        drop(namespace);
        process.group = process::group(&process.child);
        Ok(process)
    }

    /// Connects the client and the program until both are done, or the client is gone: then gives the program.
    async fn serve(&mut self, process: Process) -> Option<Child> {
        let Process {
            mut child,
            streams,
            group,
        } = process;
        let channel = &self.channel;
        match streams {
            Streams::Terminal(master) => {
                let life = attend(&mut child, group, &mut self.requests, channel, Some(&master));
                let output = pump::outward(&master, channel, false);
                let input = async {
                    pump::inward(channel, &master).await;
                    pump::discard(channel).await;
                };
                until_over(channel, life, output, input).await;
            }
            Streams::Pipes {
                stdin,
                stdout,
                stderr,
            } => {
                let life = attend(&mut child, group, &mut self.requests, channel, None);
                let output = async {
                    let (out, err) = (
                        pump::outward(&stdout, channel, false),
                        pump::outward(&stderr, channel, true),
                    );
                    tokio::join!(out, err);
                };
                let input = async move {
                    let read_to_end = pump::inward(channel, &stdin).await;
                    drop(stdin);
                    if !read_to_end {
                        channel.end_of_write();
                        pump::discard(channel).await;
                    }
                };
                until_over(channel, life, output, input).await;
            }
        }
        child.id().is_some().then_some(child)
    }
}

/// Runs the parts of a session until its program has ended and its output is with the client, or the client has closed
/// the channel. The end of the input ends nothing.
async fn until_over(
    channel: &Channel,
    life: impl Future<Output = ()>,
    output: impl Future<Output = ()>,
    input: impl Future<Output = ()>,
) {
    let over = async {
        tokio::join!(life, output);
    };
    let input = async {
        input.await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = over => channel.eof(),
        () = input => {}
        () = channel.closed() => {}
    }
}

/// Serves requests while the program runs, then ends its group with it and says how it ended.
async fn attend(
    child: &mut Child,
    group: Option<Pid>,
    requests: &mut mpsc::Receiver<Request>,
    channel: &Channel,
    terminal: Option<&Fd>,
) {
    let status = loop {
        let request = tokio::select! {
            status = child.wait() => break status,
            Some(request) = requests.recv() => request,
        };
        let done = match (request.ask, terminal) {
            (Ask::Resize(size), Some(terminal)) => pty::resize(terminal, size).is_ok(),
            (Ask::Break, Some(terminal)) => rustix::termios::tcsendbreak(terminal).is_ok(),
            (Ask::Signal(name), _) => process::signal(child, &name),
            _ => false,
        };
        if request.want_reply {
            channel.reply(done);
        }
    };
    if let Some(group) = group {
        // Mostly nobody is left in it.
        let _ = rustix::process::kill_process_group(group, Signal::KILL);
    }
    match status {
        Ok(status) => report(channel, status),
        Err(error) => tracing::warn!(%error, "a session's program is lost"),
    }
}

fn report(channel: &Channel, status: ExitStatus) {
    match (status.code(), status.signal()) {
        (Some(code), _) => channel.exit_status(u32::try_from(code).unwrap_or(u32::MAX)),
        (None, Some(signal)) => channel.exit_signal(&process::signal_name(signal), status.core_dumped()),
        (None, None) => {}
    }
}

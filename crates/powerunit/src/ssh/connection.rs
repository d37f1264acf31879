//! One connection from its first byte to its last: what moves bytes between the network and the [`Hub`], lets the user in
//! and gives every channel its task.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use super::fd::Fd;
use super::forward::{Listeners, Target, Where, connect};
use super::hub::{Hub, requests};
use super::login::{Answer, Door, Login};
use super::peer::Peer;
use super::protocol::connection::{self, Message, Open};
use super::protocol::message::{self, OpenFailure, Reason};
use super::protocol::transport::Transport;
use super::protocol::wire::{Put as _, Reader};
use super::protocol::{self, userauth};
use super::session::Session;
use super::settings::Settings;
use crate::machine;

/// How long a connection that ends may take to send its last words.
const FAREWELL: Duration = Duration::from_secs(5);

/// The capacity a buffer of the network may keep when it is empty.
const KEEP: usize = 512 * 1024;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    #[error("the client hung up")]
    HungUp,
    #[error("the network failed")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Protocol(#[from] protocol::Error),
    #[error("nobody logged in in time")]
    LoginTime,
    #[error("too many login attempts")]
    Attempts,
    #[error("the client does not answer")]
    Silent,
}

/// How far the user is.
enum Stage {
    /// Not in. Until then, and with that many attempts.
    Outside {
        deadline: Instant,
        attempts: usize,
    },
    Inside(Arc<Login>),
}

/// A connection that is served.
pub(super) struct Connection {
    stream: Fd,
    hub: Arc<Hub>,
    peer: Arc<Peer>,
    door: Door,
    stage: Stage,
    listeners: Listeners,
    payload: Vec<u8>,
    /// What is on its way to the network, and how much of it is sent.
    sending: Vec<u8>,
    sent: usize,
    /// When the client is next asked whether it is there, and how often it has not answered.
    check: Instant,
    unanswered: u32,
    on_login: Box<dyn FnOnce() + Send>,
}

impl Connection {
    /// A connection whose first words are already on their way. `on_login` runs once somebody is in.
    pub(super) fn new(
        stream: Fd,
        peer: Peer,
        settings: Arc<Settings>,
        machine: machine::Handle,
        on_login: Box<dyn FnOnce() + Send>,
    ) -> Result<Self, protocol::Error> {
        let limits = &settings.limits;
        let now = Instant::now();
        let transport = Transport::new(settings.host_key.clone(), limits.rekey_after)?;
        Ok(Self {
            stream,
            hub: Hub::new(transport, limits.channels),
            peer: Arc::new(peer),
            stage: Stage::Outside {
                deadline: now + limits.login_time,
                attempts: limits.attempts,
            },
            listeners: Listeners::default(),
            payload: Vec::new(),
            sending: Vec::new(),
            sent: 0,
            check: now + limits.keepalive,
            unanswered: 0,
            on_login,
            door: Door {
                address: peer.address(),
                settings,
                machine,
            },
        })
    }

    /// Serves it to its end.
    pub(super) async fn run(mut self) -> End {
        let Err(end) = self.turns().await;
        if let Some((reason, text)) = end.farewell() {
            self.hub.disconnect(reason, &text);
        }
        // Who has closed his side alone still hears what was said before. Last words are lost with a network that takes none.
        if !matches!(end, End::Io(_) | End::Silent) {
            let _ = timeout(FAREWELL, self.send_all()).await;
        }
        self.stream.finish();
        end
    }

    async fn turns(&mut self) -> Result<std::convert::Infallible, End> {
        loop {
            while self.hub.next_message(&mut self.payload)? {
                let payload = std::mem::take(&mut self.payload);
                self.dispatch(&payload).await?;
                self.payload = payload;
            }
            self.turn().await?;
        }
    }

    /// Waits for the network, for something to send, or for the clock.
    async fn turn(&mut self) -> Result<(), End> {
        if self.sent == self.sending.len() {
            self.sending.clear();
            self.sending.shrink_to(KEEP);
            self.sent = 0;
            self.hub.take_output(&mut self.sending);
        }
        let rest = self.sending.get(self.sent..).unwrap_or_default();
        let clock = match &self.stage {
            Stage::Outside { deadline, .. } => *deadline,
            Stage::Inside(_) => self.check,
        };
        tokio::select! {
            read = self.stream.read_with(|fd| self.hub.fill(fd)), if self.hub.may_read() => {
                if read? == 0 {
                    return Err(End::HungUp);
                }
                self.check = Instant::now() + self.door.settings.limits.keepalive;
                self.unanswered = 0;
            }
            written = self.stream.write(rest), if !rest.is_empty() => self.sent += written?,
            () = self.hub.output(), if rest.is_empty() => {}
            () = tokio::time::sleep_until(clock) => self.tick()?,
        }
        Ok(())
    }

    fn tick(&mut self) -> Result<(), End> {
        let limits = &self.door.settings.limits;
        if matches!(self.stage, Stage::Outside { .. }) {
            return Err(End::LoginTime);
        }
        if self.unanswered >= limits.keepalives {
            return Err(End::Silent);
        }
        self.unanswered += 1;
        self.check = Instant::now() + limits.keepalive;
        self.hub.send(|out| {
            out.put_u8(message::GLOBAL_REQUEST);
            out.put_string(b"keepalive@openssh.com");
            out.put_bool(true);
        })?;
        Ok(())
    }

    async fn send_all(&mut self) -> io::Result<()> {
        self.stream
            .write_all(self.sending.get(self.sent..).unwrap_or_default())
            .await?;
        self.sending.clear();
        self.sent = 0;
        self.hub.take_output(&mut self.sending);
        self.stream.write_all(&self.sending).await
    }

    async fn dispatch(&mut self, payload: &[u8]) -> Result<(), End> {
        let number = payload.first().copied().unwrap_or_default();
        match (number, &mut self.stage) {
            (message::SERVICE_REQUEST, _) => self.service(payload),
            // RFC 4252 section 5.3: of requests after the login nothing is said.
            (message::USERAUTH_REQUEST, Stage::Inside(_)) => Ok(()),
            (message::USERAUTH_REQUEST, Stage::Outside { deadline, attempts }) => {
                *attempts = attempts.checked_sub(1).ok_or(End::Attempts)?;
                let deadline = *deadline;
                timeout_at(deadline, self.authenticate(payload))
                    .await
                    .map_err(|_| End::LoginTime)?
            }
            (_, Stage::Outside { .. }) => {
                Err(protocol::Error::Unexpected("a message before its login").into())
            }
            (_, Stage::Inside(login)) => {
                let login = login.clone();
                self.connection_message(payload, &login).await
            }
        }
    }

    fn service(&self, payload: &[u8]) -> Result<(), End> {
        let mut reader = Reader::new(payload.get(1..).unwrap_or_default());
        let name = reader.string().map_err(protocol::Error::from)?;
        if name != b"ssh-userauth" {
            return Err(protocol::Error::Unexpected("a request for a service that is not there").into());
        }
        self.hub.send(|out| {
            out.put_u8(message::SERVICE_ACCEPT);
            out.put_string(name);
        })?;
        Ok(())
    }

    async fn authenticate(&mut self, payload: &[u8]) -> Result<(), End> {
        let (session_id, host_key) = self.hub.look(|transport| {
            (
                transport.session_id().copied().unwrap_or_default(),
                transport.host_key().to_vec(),
            )
        });
        let request =
            userauth::Request::parse(payload, &session_id, &host_key).map_err(protocol::Error::from)?;
        if request.service != "ssh-connection" {
            return Err(protocol::Error::Unexpected("a login for a service that is not there").into());
        }
        let answer = self.door.answer(request.user, &request.method).await;
        match answer {
            Answer::Success(login) => {
                tracing::debug!(user = login.user, peer = %self.peer, "logged in");
                self.hub.send(|out| out.put_u8(message::USERAUTH_SUCCESS))?;
                self.stage = Stage::Inside(login);
                self.check = Instant::now() + self.door.settings.limits.keepalive;
                std::mem::replace(&mut self.on_login, Box::new(|| {}))();
            }
            Answer::KeyAccepted => match &request.method {
                userauth::Method::Query(offer) => self.hub.send(|out| userauth::key_accepted(out, offer))?,
                userauth::Method::Signed { .. } | userauth::Method::Other => {
                    self.hub.send(userauth::failure)?;
                }
            },
            Answer::Failure => self.hub.send(userauth::failure)?,
        }
        Ok(())
    }

    async fn connection_message(&mut self, payload: &[u8], login: &Arc<Login>) -> Result<(), End> {
        let parsed = Message::parse(payload).map_err(protocol::Error::from)?;
        match parsed.ok_or(protocol::Error::Unexpected("a message that has no place here"))? {
            Message::Open(open) => Ok(self.open(open, login)?),
            Message::Global {
                kind,
                want_reply,
                rest,
            } => self.global(kind, want_reply, rest, login).await,
            message => Ok(self.hub.receive(&message)?),
        }
    }

    fn open(&self, open: Open<'_>, login: &Arc<Login>) -> Result<(), protocol::Error> {
        let Open { kind, peer, mut rest } = open;
        let refuse = |failure, text| {
            self.hub
                .send(|out| connection::refuse(out, peer.id, failure, text))
        };
        let crowded = "there are too many channels";
        if kind == "session" {
            rest.end()?;
            let (sender, receiver) = requests();
            return match self.hub.accept(peer, Some(sender)) {
                Ok(channel) => {
                    // A channel that is already closed again ends its session's task.
                    let _ = channel.confirm();
                    tokio::spawn(Session::new(channel, receiver, login.clone(), self.peer.clone()).run());
                    Ok(())
                }
                Err(failure) => refuse(failure, crowded),
            };
        }
        let Some(target) = Target::parse(kind, &mut rest)? else {
            return refuse(OpenFailure::UnknownType, "channels of this type are not served");
        };
        match self.hub.accept(peer, None) {
            Ok(channel) => {
                let login = login.clone();
                tokio::spawn(async move { connect(channel, target, &login).await });
                Ok(())
            }
            Err(failure) => refuse(failure, crowded),
        }
    }

    async fn global(
        &mut self,
        kind: &str,
        want_reply: bool,
        mut rest: Reader<'_>,
        login: &Arc<Login>,
    ) -> Result<(), End> {
        let done = match Where::parse(kind, &mut rest).map_err(protocol::Error::from)? {
            None => None,
            Some((place, false)) => self.listeners.end(&place).await.then_some(None),
            Some((place, true)) => {
                let chosen = matches!(place, Where::Tcp { port: 0, .. });
                match self.listeners.begin(place, login, &self.hub).await {
                    Ok(port) => Some(chosen.then_some(port)),
                    Err(error) => {
                        tracing::info!(%error, user = login.user, "a remote forward is refused");
                        None
                    }
                }
            }
        };
        if want_reply {
            self.hub.send(|out| match done {
                Some(port) => {
                    out.put_u8(message::REQUEST_SUCCESS);
                    if let Some(port) = port {
                        out.put_u32(port.into());
                    }
                }
                None => out.put_u8(message::REQUEST_FAILURE),
            })?;
        }
        Ok(())
    }
}

impl Drop for Connection {
    /// Also where a fault ended its task: nothing of it stays behind.
    fn drop(&mut self) {
        self.hub.close();
    }
}

impl End {
    /// What the client is told of it, if anything.
    fn farewell(&self) -> Option<(Reason, String)> {
        let reason = match self {
            Self::HungUp | Self::Io(_) | Self::Silent => None,
            Self::Protocol(error) => error.reason(),
            Self::LoginTime => Some(Reason::ByApplication),
            Self::Attempts => Some(Reason::NoMoreAuthMethods),
        };
        reason.map(|reason| (reason, self.to_string()))
    }
}

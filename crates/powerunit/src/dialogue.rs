//! Asking the host for the config, or for who this machine is by now: the guest's end of the dialogues (see
//! [`guest_protocol`]).
//!
//! The invariant: the guest asks until it is answered. A host that does not listen yet, or a connection that breaks before the
//! answer (as it does when the guest was frozen in a snapshot while it waited), only means asking again.

use std::io::Read;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use guest_protocol::frame::{self, Decoder};
use guest_protocol::{CONFIG_PORT, Config, GuestMessage, HOST_CID, Hello, HostMessage, Interface, VERSION};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::clock::uptime_us;
use crate::console::{chain, say};
use crate::listen::VsockAddr;

/// The pause before asking again, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LAST_PAUSE: Duration = Duration::from_millis(250);

/// A connection that has stood so long was no mere attempt.
const STOOD: Duration = Duration::from_millis(10);

/// How long a host that took the connection may leave it without an answer before it is asked anew: it may have died
/// without its end being announced. A host that lives answers at once.
const ANSWER: Duration = Duration::from_secs(30);

/// How long a wait is silent at first, and between two lines about it.
const FIRST_SILENCE: Duration = Duration::from_secs(5);
const SILENCE: Duration = Duration::from_secs(30);

/// An answer that will not change, however often the guest asks.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the host refuses to give the config: {0}")]
    Refused(String),
    #[error("the host speaks version {host} of the boot dialogue, this guest version {VERSION}")]
    Version { host: u16 },
    #[error("the host's answer is to another question")]
    Unasked,
}

/// Why one attempt came to nothing.
#[derive(Debug, thiserror::Error)]
enum Attempt {
    #[error("there is no vsock device")]
    NoDevice,
    #[error("vsock port {CONFIG_PORT} of the host")]
    Socket(#[source] std::io::Error),
    #[error("the host hung up")]
    HungUp,
    #[error("the host took the connection and does not answer")]
    NoAnswer,
    #[error("the host's answer")]
    Frame(#[source] frame::Error),
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Config,
    /// Who the machine is, after a standstill that whoever froze it has not ended.
    Renewal,
}

/// The dialogue up to its answer.
#[derive(Debug)]
pub(crate) struct Dialogue {
    hello: Hello,
    /// Since when nothing happens in the guest but this dialogue, microseconds on the monotonic clock.
    settled_us: Option<u64>,
    state: State,
    pause: Duration,
    /// What came of the last attempt.
    last: Option<Attempt>,
    next_notice: Instant,
}

#[derive(Debug)]
enum State {
    /// Nothing is under way until then.
    Idle(Instant),
    Connecting(OwnedFd),
    Asked(Question),
}

/// A hello that has had no answer yet.
#[derive(Debug)]
struct Question {
    stream: UnixStream,
    decoder: Decoder,
    /// The answer is awaited until then.
    deadline: Instant,
    /// The host has been told that nothing else happens.
    settled: bool,
}

impl Dialogue {
    /// `init_us` is when PID 1 began, on the monotonic clock.
    pub(crate) fn new(init_us: u64, purpose: Purpose) -> Self {
        let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
        let powerunit = env!("CARGO_PKG_VERSION").into();
        let hello = Hello {
            version: VERSION,
            powerunit,
            kernel,
            uptime_us: 0,
            init_us,
            renewal: purpose == Purpose::Renewal,
        };
        let now = Instant::now();
        Self {
            hello,
            settled_us: None,
            state: State::Idle(now),
            pause: FIRST_PAUSE,
            last: None,
            next_notice: now + FIRST_SILENCE,
        }
    }

    /// Goes as far as it can without waiting. Gives the answer and the stream it came on, for the reports.
    pub(crate) fn advance(&mut self) -> Result<Option<(HostMessage, UnixStream)>, Refusal> {
        match self.attempt() {
            Ok(Some((HostMessage::Refused { reason }, _))) => Err(Refusal::Refused(reason)),
            Ok(answer) => Ok(answer),
            Err(attempt) => {
                self.again(attempt);
                Ok(None)
            }
        }
    }

    /// From now on nothing happens in the guest but this dialogue, which every host hears that has not answered by then.
    pub(crate) fn settle(&mut self) {
        self.settled_us = Some(uptime_us());
        if let State::Asked(question) = &mut self.state {
            question.settled = false;
        }
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.settled_us.is_some()
    }

    /// Waits until [`Self::advance`] has something to do, or `caller` can be read, at most until `end`.
    pub(crate) fn wait(&mut self, caller: Option<BorrowedFd<'_>>, end: Option<Instant>) {
        let now = Instant::now();
        if now >= self.next_notice {
            let last = self.last.as_ref().map(|last| format!(": {}", chain(last)));
            let wanted = if self.hello.renewal {
                "word from the host who this machine is"
            } else {
                "config from the host"
            };
            say(&format!("no {wanted} yet{}", last.unwrap_or_default()));
            self.next_notice = now + SILENCE;
        }
        let (socket, deadline) = match &self.state {
            State::Idle(next) => (None, *next),
            State::Connecting(socket) => (Some(PollFd::new(socket, PollFlags::OUT)), self.next_notice),
            State::Asked(question) => (
                Some(PollFd::new(&question.stream, PollFlags::IN)),
                question.deadline,
            ),
        };
        let caller = caller.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        let mut fds: Vec<PollFd<'_>> = socket.into_iter().chain(caller).collect();
        let deadline = deadline.min(self.next_notice).min(end.unwrap_or(deadline));
        let result = poll(&mut fds, deadline.saturating_duration_since(now));
        // A wait that fails ends early, which costs one more round.
        let _ = result;
    }

    fn attempt(&mut self) -> Result<Option<(HostMessage, UnixStream)>, Attempt> {
        if matches!(self.state, State::Idle(until) if Instant::now() >= until) {
            self.state = State::Connecting(dial()?);
        }
        if let State::Connecting(socket) = &self.state {
            let Some(stream) = connected(socket)? else {
                return Ok(None);
            };
            self.hello.uptime_us = uptime_us();
            let hello = GuestMessage::Hello(self.hello.clone());
            let frame = frame::encode(&hello).map_err(Attempt::Frame)?;
            // A fresh stream has room for so little.
            rustix::io::write(&stream, &frame).map_err(socket_error)?;
            self.state = State::Asked(Question {
                stream,
                decoder: Decoder::default(),
                deadline: Instant::now() + ANSWER,
                settled: false,
            });
        }
        let State::Asked(question) = &mut self.state else {
            return Ok(None);
        };
        let open = question.receive()?;
        match question.decoder.message().map_err(Attempt::Frame)? {
            Some(message) => {
                let stream = question.stream.try_clone().map_err(Attempt::Socket)?;
                Ok(Some((message, stream)))
            }
            None if !open => Err(Attempt::HungUp),
            None if Instant::now() >= question.deadline => Err(Attempt::NoAnswer),
            None => self
                .settled_us
                .map_or(Ok(()), |uptime_us| question.say_settled(uptime_us))
                .map(|()| None),
        }
    }

    fn again(&mut self, attempt: Attempt) {
        // A broken connection is no sign of a host that is not there: ask again soon; and at once if it stood for a while, as
        // that of a guest did which was kept while it waited.
        self.pause = match &self.state {
            State::Asked(question) if question.stood() >= STOOD => Duration::ZERO,
            State::Asked(_) => FIRST_PAUSE,
            _ => (self.pause * 2).clamp(FIRST_PAUSE, LAST_PAUSE),
        };
        self.state = State::Idle(Instant::now() + self.pause);
        self.last = Some(attempt);
    }
}

impl Question {
    /// For how long there has been no answer.
    fn stood(&self) -> Duration {
        ANSWER.saturating_sub(self.deadline.saturating_duration_since(Instant::now()))
    }

    /// Reads all there is. False when the host has hung up.
    fn receive(&mut self) -> Result<bool, Attempt> {
        let mut buffer = [0; 4096];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Ok(false),
                Ok(length) => self.decoder.push(buffer.get(..length).unwrap_or_default()),
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => return Ok(true),
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Attempt::Socket(e)),
            }
        }
    }

    /// Once on each connection.
    fn say_settled(&mut self, uptime_us: u64) -> Result<(), Attempt> {
        if self.settled {
            return Ok(());
        }
        let frame = frame::encode(&GuestMessage::Settled { uptime_us }).map_err(Attempt::Frame)?;
        // There is room: all that was sent before is one hello.
        rustix::io::write(&self.stream, &frame).map_err(socket_error)?;
        self.settled = true;
        Ok(())
    }
}

/// What a guest that asks for its config may be told.
#[derive(Debug)]
pub(crate) enum Answer {
    Config(Box<Config>),
    /// It is to set up what it can until the config comes.
    Prepare(Vec<Interface>),
}

/// The host's answer to a guest that asks for its config, if it is one, and of this version.
pub(crate) fn answer(answer: HostMessage) -> Result<Answer, Refusal> {
    match answer {
        HostMessage::Prepare { interfaces } => Ok(Answer::Prepare(interfaces)),
        HostMessage::Config(config) if config.version == VERSION => Ok(Answer::Config(config)),
        HostMessage::Config(config) => Err(Refusal::Version { host: config.version }),
        _ => Err(Refusal::Unasked),
    }
}

/// Starts to connect.
fn dial() -> Result<OwnedFd, Attempt> {
    // Asking for a socket of a family that is not there makes the kernel run modprobe, which nobody has here.
    if rustix::fs::access("/dev/vsock", rustix::fs::Access::EXISTS).is_err() {
        return Err(Attempt::NoDevice);
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::VSOCK, SocketType::STREAM, flags, None)
        .map_err(socket_error)?;
    match rustix::net::connect(
        &socket,
        &VsockAddr {
            cid: HOST_CID,
            port: CONFIG_PORT,
        },
    ) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(Errno::NODEV) => Err(Attempt::NoDevice),
        Err(e) => Err(socket_error(e)),
    }
}

/// The stream, once the host has taken the connection.
fn connected(socket: &OwnedFd) -> Result<Option<UnixStream>, Attempt> {
    let mut ready = [PollFd::new(socket, PollFlags::OUT)];
    poll(&mut ready, Duration::ZERO).map_err(socket_error)?;
    let [ready] = ready;
    if ready.revents().is_empty() {
        return Ok(None);
    }
    rustix::net::sockopt::socket_error(socket)
        .and_then(|result| result)
        .map_err(socket_error)?;
    // Only reading, writing and closing are asked of it, which are the same on every stream socket.
    let stream = socket.try_clone().map_err(Attempt::Socket)?;
    Ok(Some(UnixStream::from(stream)))
}

fn poll(fds: &mut [PollFd<'_>], wait: Duration) -> Result<(), Errno> {
    let wait = Timespec {
        tv_sec: wait.as_secs().cast_signed(),
        tv_nsec: wait.subsec_nanos().into(),
    };
    rustix::event::poll(fds, Some(&wait)).map(|_| ())
}

fn socket_error(e: Errno) -> Attempt {
    Attempt::Socket(e.into())
}

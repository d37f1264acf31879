//! The host's end of the boot dialogue (see [`guest_protocol`]). The invariant: the config leaves this process once. Who asks
//! after it was handed over is refused and reported, whether or not the first taker is still there.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use guest_protocol::frame::{self, Decoder};
use guest_protocol::{Exit, GuestMessage, Hello, HostMessage, Interface, VERSION};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

use super::clock::Clock;
use super::guest::clock_ns;
use super::{StartEvent, Wait};

/// How long a stranger may take to say what it wants.
const STRANGER: Duration = Duration::from_secs(5);

/// The most strangers listened to at once.
const MAX_STRANGERS: usize = 16;

/// How the dialogue ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// As far as was asked for.
    Done,
    /// The command ended before the guest had said that all is up: there was little to do.
    Exited(Exit),
    /// A step failed that the machine cannot do without.
    Failed { step: String, message: String },
    /// The guest's init is of another time than this program.
    Version(u16),
}

/// Waits until the guest has come to ask and has said that nothing else will happen in it, has it set up `interfaces`, and
/// waits until it has said so again: the moment to keep it. Whoever keeps it hangs up once it is paused. A guest that still ran
/// would ask anew at once, and Firecracker, which breaks the connections of a guest when it keeps it, would break that one too,
/// after its question was heard.
pub(super) async fn settled(
    listener: &UnixListener,
    clock: &Clock<'_>,
    interfaces: &[Interface],
) -> io::Result<Result<Conversation, End>> {
    let prepare = HostMessage::Prepare {
        interfaces: interfaces.to_vec(),
    };
    let prepare = frame::encode(&prepare).map_err(io::Error::other)?;
    loop {
        let (mut guest, hello) = match asked(listener).await? {
            Ok(Come { guest, hello }) => (guest, hello),
            Err(end) => return Ok(Err(end)),
        };
        note_arrival(clock, &hello);
        let prepared = async {
            guest.settled().await?;
            clock.guest("settled", Duration::ZERO);
            guest.send(&prepare).await?;
            guest.settled().await
        };
        match prepared.await {
            Ok(()) => {
                clock.guest("prepared", Duration::ZERO);
                return Ok(Ok(guest));
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(error),
            Err(error) => tracing::debug!(%error, "the guest hung up before it had settled"),
        }
    }
}

/// Waits until a guest that was frozen, and whose connection the VMM broke, has asked who it is; it is who it was.
pub(crate) async fn unchanged(listener: &UnixListener) -> io::Result<()> {
    loop {
        let mut guest = match asked(listener).await? {
            Ok(Come { guest, hello }) if hello.renewal => guest,
            _ => continue,
        };
        let answer = HostMessage::Unchanged { clock_ns: clock_ns() };
        let frame = frame::encode(&answer).map_err(io::Error::other)?;
        if guest.send(&frame).await.is_err() {
            continue;
        }
        loop {
            match guest.message().await {
                Ok(GuestMessage::Ready(_)) => return Ok(()),
                Ok(_) => {}
                Err(_) => break,
            }
        }
    }
}

/// A guest with its question.
struct Come {
    guest: Conversation,
    hello: Hello,
}

/// Waits for a guest to ask. A connection without a question is none, and a guest whose connection broke asks anew.
async fn asked(listener: &UnixListener) -> io::Result<Result<Come, End>> {
    loop {
        let mut guest = Conversation::new(listener.accept().await?.0);
        match tokio::time::timeout(STRANGER, guest.hello())
            .await
            .unwrap_or_else(|late| Err(late.into()))
        {
            Ok(hello) if hello.version != VERSION => {
                let reason = format!("version {VERSION} of the dialogue is spoken here");
                guest.send(&refusal(reason)?).await.ok();
                return Ok(Err(End::Version(hello.version)));
            }
            Ok(hello) => return Ok(Ok(Come { guest, hello })),
            Err(error) => tracing::debug!(%error, "a connection without a question"),
        }
    }
}

/// Waits for the guest, gives it `answer` and listens to what it says, as far as `until`. Sets `has_asked` when the guest has
/// come. `boots` tells that it comes from its kernel's start, and not out of a snapshot.
pub(super) async fn hold(
    listener: &UnixListener,
    mut answer: HostMessage,
    until: Wait,
    clock: &Clock<'_>,
    boots: bool,
    has_asked: &AtomicBool,
) -> io::Result<End> {
    let mut guest = loop {
        let Come { mut guest, hello } = match asked(listener).await? {
            Ok(come) => come,
            Err(end) => return Ok(end),
        };
        has_asked.store(true, Ordering::Relaxed);
        if boots {
            note_arrival(clock, &hello);
        } else {
            clock.guest("hello", Duration::ZERO);
        }
        // The guest may have taken its time.
        set_clock(&mut answer, clock_ns());
        let frame = frame::encode(&answer).map_err(io::Error::other)?;
        match guest.send(&frame).await {
            Ok(()) => break guest,
            Err(error) => tracing::debug!(%error, "the guest hung up before its config was sent"),
        }
    };
    clock.guest("config", Duration::ZERO);
    if until == Wait::Config {
        return Ok(End::Done);
    }
    let mut strangers = JoinSet::new();
    loop {
        tokio::select! {
            message = guest.message() => match message? {
                GuestMessage::Ready(_) => {
                    clock.guest("ready", Duration::ZERO);
                    return Ok(End::Done);
                }
                GuestMessage::Exited(exit) => return Ok(End::Exited(exit)),
                GuestMessage::Failed { step, message } => return Ok(End::Failed { step, message }),
                GuestMessage::Listening { .. } => clock.guest("ssh listening", Duration::ZERO),
                GuestMessage::Phase { name, .. } => clock.guest(&name, Duration::ZERO),
                GuestMessage::Warning { step, message } => clock.tell(StartEvent::Warning { step, message }),
                // It crossed the answer on its way.
                GuestMessage::Settled { .. } => {}
                GuestMessage::Hello(_) => return Err(io::Error::other("the guest asked twice on one connection")),
            },
            stranger = listener.accept() => {
                let message = "another process in the guest asked for the config, and was refused".to_owned();
                clock.tell(StartEvent::Warning { step: "config".to_owned(), message });
                if strangers.len() < MAX_STRANGERS {
                    strangers.spawn(tokio::time::timeout(STRANGER, refuse(stranger?.0)));
                }
            }
            Some(_) = strangers.join_next() => {}
        }
    }
}

/// Puts the host's wall clock into an answer that has one.
fn set_clock(answer: &mut HostMessage, now: u64) {
    match answer {
        HostMessage::Config(config) => config.clock_ns = now,
        HostMessage::Renew(renewal) => renewal.clock_ns = now,
        HostMessage::Unchanged { clock_ns } => *clock_ns = now,
        HostMessage::Prepare { .. } | HostMessage::Refused { .. } => {}
    }
}

/// The guest's clock tells how long ago its kernel had started init.
fn note_arrival(clock: &Clock<'_>, hello: &Hello) {
    let since_init = Duration::from_micros(hello.uptime_us.saturating_sub(hello.init_us));
    clock.guest("kernel", since_init);
    clock.guest("hello", Duration::ZERO);
}

async fn refuse(stranger: UnixStream) -> io::Result<()> {
    let mut stranger = Conversation::new(stranger);
    stranger.hello().await?;
    stranger
        .send(&refusal("the config was handed out already".to_owned())?)
        .await
}

fn refusal(reason: String) -> io::Result<Vec<u8>> {
    frame::encode(&HostMessage::Refused { reason }).map_err(io::Error::other)
}

/// A connection of the guest's, which ends when this is dropped.
pub(super) struct Conversation {
    stream: UnixStream,
    decoder: Decoder,
}

impl Conversation {
    fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            decoder: Decoder::default(),
        }
    }

    async fn hello(&mut self) -> io::Result<Hello> {
        match self.message().await? {
            GuestMessage::Hello(hello) => Ok(hello),
            other => Err(io::Error::other(format!("not a hello: {other:?}"))),
        }
    }

    async fn settled(&mut self) -> io::Result<()> {
        match self.message().await? {
            GuestMessage::Settled { .. } => Ok(()),
            other => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("not settled: {other:?}"),
            )),
        }
    }

    /// Safe to drop and call again.
    async fn message(&mut self) -> io::Result<GuestMessage> {
        let mut buffer = [0; 4096];
        loop {
            if let Some(message) = self.decoder.message().map_err(io::Error::other)? {
                return Ok(message);
            }
            match self.stream.read(&mut buffer).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                got => self.decoder.push(buffer.get(..got).unwrap_or_default()),
            }
        }
    }

    async fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        self.stream.write_all(frame).await?;
        self.stream.flush().await
    }
}

//! Signals as events, so that nothing of ours ends half way.

use std::future::poll_fn;
use std::io;
use std::task::Poll;

use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

/// The signals that concern us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    HangUp,
    Interrupt,
    Quit,
    User1,
    User2,
    Terminate,
    WindowChange,
}

impl Signal {
    /// What asks a command to end.
    pub(crate) const ENDINGS: [Self; 3] = [Self::Interrupt, Self::Terminate, Self::HangUp];

    fn kind(self) -> SignalKind {
        match self {
            Self::HangUp => SignalKind::hangup(),
            Self::Interrupt => SignalKind::interrupt(),
            Self::Quit => SignalKind::quit(),
            Self::User1 => SignalKind::user_defined1(),
            Self::User2 => SignalKind::user_defined2(),
            Self::Terminate => SignalKind::terminate(),
            Self::WindowChange => SignalKind::window_change(),
        }
    }

    /// Without `SIG`, as SSH names it (RFC 4254, 6.10).
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::HangUp => "HUP",
            Self::Interrupt => "INT",
            Self::Quit => "QUIT",
            Self::User1 => "USR1",
            Self::User2 => "USR2",
            Self::Terminate => "TERM",
            Self::WindowChange => "WINCH",
        }
    }

    /// The exit code of a program that ended for it: 128 and the signal's number.
    pub(crate) fn exit_code(self) -> u8 {
        u8::try_from(self.kind().as_raw_value()).map_or(u8::MAX, |number| number.saturating_add(128))
    }
}

/// Signals that are events from when this is made; none of them ends the process any more.
#[derive(Debug)]
pub(crate) struct Signals {
    streams: Vec<(Signal, Stream)>,
}

impl Signals {
    pub(crate) fn watch(signals: &[Signal]) -> io::Result<Self> {
        let stream = |&watched: &Signal| Ok((watched, signal(watched.kind())?));
        Ok(Self {
            streams: signals.iter().map(stream).collect::<io::Result<_>>()?,
        })
    }

    /// The next one. Losing this future loses no signal.
    pub(crate) async fn next(&mut self) -> Signal {
        poll_fn(|context| {
            for (signal, stream) in &mut self.streams {
                if stream.poll_recv(context).is_ready() {
                    return Poll::Ready(*signal);
                }
            }
            Poll::Pending
        })
        .await
    }
}

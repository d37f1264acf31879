//! Signals that end the process in an orderly way.
//!
//! Invariant: with or without a handler the process ends as Firecracker does: SIGHUP, SIGXCPU and SIGXFSZ by their exit
//! codes; SIGINT and SIGTERM by the signal itself, once the terminal is as it was and nothing is left behind. Faults of
//! this program (SIGSEGV and the like) keep their default action.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that are listened to.
#[derive(Debug)]
pub(crate) struct Signals {
    listeners: Vec<(i32, Signal)>,
}

impl Signals {
    /// Starts listening.
    pub(crate) fn listen() -> io::Result<Self> {
        let numbers = [
            libc::SIGHUP,
            libc::SIGINT,
            libc::SIGTERM,
            libc::SIGXCPU,
            libc::SIGXFSZ,
        ];
        let listen = |number| Ok((number, signal(SignalKind::from_raw(number))?));
        Ok(Self {
            listeners: numbers.into_iter().map(listen).collect::<io::Result<_>>()?,
        })
    }

    /// Waits for the next signal.
    pub(crate) async fn next(&mut self) -> i32 {
        std::future::poll_fn(|context| {
            for (number, listener) in &mut self.listeners {
                if listener.poll_recv(context).is_ready() {
                    return std::task::Poll::Ready(*number);
                }
            }
            std::task::Poll::Pending
        })
        .await
    }
}

/// Ends the process by a signal, as if nobody had listened to it. Returns only if that is not possible.
pub fn die_by(number: i32) {
    // SAFETY: SIG_DFL is a valid disposition for every signal that can be listened to, and no Rust value is touched.
    unsafe {
        libc::signal(number, libc::SIG_DFL);
        libc::raise(number);
    }
}

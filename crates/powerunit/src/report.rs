//! What the guest tells its host while it boots, or becomes another machine, and the console with it.
//!
//! The invariant: a report never fails and never blocks the boot for longer than [`PATIENCE`]; a host that has gone away is
//! forgotten.

use std::error::Error;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use guest_protocol::{Exit, GuestMessage, Init, Ready, console, frame};

use crate::clock::uptime_us;
use crate::console::{chain, drain, say, say_whole};

/// How long a host may leave its end unread before it is given up.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where reports go.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// The vsock stream to the host, from the host's answer until the host hangs up.
    host: Option<UnixStream>,
}

impl Report {
    /// Reports go to `host` from here on.
    pub(crate) fn connect(&mut self, host: UnixStream) {
        let bounded = host
            .set_nonblocking(false)
            .and_then(|()| host.set_write_timeout(Some(PATIENCE)));
        self.host = bounded.is_ok().then_some(host);
    }

    /// Forgets the host, which sees the end of the stream.
    pub(crate) fn disconnect(&mut self) {
        self.host = None;
    }

    pub(crate) fn listening(&mut self) {
        self.send(&GuestMessage::Listening {
            uptime_us: uptime_us(),
        });
    }

    pub(crate) fn phase(&mut self, name: &str) {
        self.send(&GuestMessage::Phase {
            name: name.into(),
            uptime_us: uptime_us(),
        });
    }

    /// `init` is PID 1 from now on.
    pub(crate) fn ready(&mut self, init: Init, memory_available_kib: u64) {
        self.send(&GuestMessage::Ready(Ready {
            uptime_us: uptime_us(),
            memory_available_kib,
            init,
        }));
    }

    /// The boot goes on without `step`.
    pub(crate) fn warning(&mut self, step: &str, error: &dyn Error) {
        let message = chain(error);
        say(&format!("{step}: {message}"));
        self.send(&GuestMessage::Warning {
            step: step.into(),
            message,
        });
    }

    /// The machine cannot do what it was made for, because of `step`.
    pub(crate) fn failed(&mut self, step: &str, error: &dyn Error) {
        let message = chain(error);
        say_whole(&format!("{}{step}: {message}", console::FAILED));
        // Whoever hears of it looks at the console, and may then end the machine.
        drain();
        self.send(&GuestMessage::Failed {
            step: step.into(),
            message,
        });
    }

    /// The entrypoint ended. On the console too, since by now the host has usually hung up.
    pub(crate) fn exited(&mut self, exit: &Exit) {
        say_whole(&console::exit_line(exit));
        self.send(&GuestMessage::Exited(exit.clone()));
    }

    fn send(&mut self, message: &GuestMessage) {
        let Some(host) = &mut self.host else { return };
        let sent = frame::encode(message).is_ok_and(|frame| host.write_all(&frame).is_ok());
        if !sent {
            self.host = None;
        }
    }
}

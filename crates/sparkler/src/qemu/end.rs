//! Why a machine ended, from all that is known once QEMU is gone.
//!
//! Invariant: a pure function of what was seen, in the order of what explains most: the guest's own shutdown as QEMU
//! told it, refined by its log (triple fault) and the console (panic); else how the process ended.

use std::os::unix::process::ExitStatusExt;

use super::process::Remains;
use super::qmp::Event;
use crate::exit::Exit;

/// Why a machine ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The guest rebooted.
    Reset,
    /// The guest powered itself off.
    PowerOff,
    /// The guest's kernel panicked and rebooted.
    Panic(String),
    /// The guest's processor gave up.
    TripleFault,
    /// QEMU was killed by a signal.
    Signal(i32),
    /// QEMU ended by itself, with this code.
    Failed(i32),
    /// How QEMU ended could not be learnt.
    Unknown,
}

impl End {
    /// Judges by QEMU's last event, what the process left, and the console's panic line.
    #[must_use]
    pub fn judge(shutdown: Option<&Event>, remains: &Remains, panic: Option<String>) -> Self {
        if let Some(Event::Shutdown { reason, .. }) = shutdown {
            return match (remains.triple_fault, panic, reason.as_str()) {
                (true, _, _) => Self::TripleFault,
                (false, Some(line), _) => Self::Panic(line),
                (false, None, "guest-shutdown" | "host-qmp-quit") => Self::PowerOff,
                (false, None, _) => Self::Reset,
            };
        }
        match &remains.status {
            Ok(status) => match (status.signal(), status.code()) {
                (Some(signal), _) => Self::Signal(signal),
                (None, Some(code)) => Self::Failed(code),
                (None, None) => Self::Unknown,
            },
            Err(_) => Self::Unknown,
        }
    }

    /// The exit code that tells it.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Reset | Self::PowerOff => Exit::Ok,
            Self::Panic(_) => Exit::GuestPanic,
            Self::TripleFault => Exit::TripleFault,
            Self::Signal(signal) => Exit::from_signal(*signal),
            Self::Failed(_) | Self::Unknown => Exit::GenericError,
        }
    }
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Reset => f.write_str("the guest rebooted"),
            Self::PowerOff => f.write_str("the guest powered off"),
            Self::Panic(line) => write!(f, "the guest's kernel panicked: {line}"),
            Self::TripleFault => f.write_str("the guest's processor ended in a triple fault"),
            Self::Signal(signal) => write!(f, "QEMU was ended by signal {signal}"),
            Self::Failed(code) => write!(f, "QEMU ended by itself with code {code}"),
            Self::Unknown => f.write_str("QEMU ended in an unknown way"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::ExitStatus;

    use super::*;

    fn remains(raw: i32, triple_fault: bool) -> Remains {
        Remains {
            status: Ok(ExitStatus::from_raw(raw)),
            complaints: Vec::new(),
            triple_fault,
        }
    }

    fn shutdown(reason: &str) -> Event {
        Event::Shutdown {
            guest: true,
            reason: reason.to_owned(),
        }
    }

    #[test]
    fn every_end_has_its_own_name_and_code() {
        let judge = |event: Option<&str>, raw, triple, panic: Option<&str>| {
            let event = event.map(shutdown);
            let end = End::judge(event.as_ref(), &remains(raw, triple), panic.map(str::to_owned));
            (end.exit().code(), end)
        };
        let killed_by_us = 9;
        assert_eq!(
            judge(Some("guest-reset"), killed_by_us, false, None),
            (0, End::Reset)
        );
        assert_eq!(
            judge(Some("guest-shutdown"), killed_by_us, false, None),
            (0, End::PowerOff)
        );
        assert_eq!(
            judge(Some("guest-reset"), killed_by_us, true, None),
            (161, End::TripleFault)
        );
        let panic = judge(Some("guest-reset"), killed_by_us, false, Some("Kernel panic"));
        assert_eq!(panic, (160, End::Panic("Kernel panic".to_owned())));
        assert_eq!(judge(None, 9, false, None), (1, End::Signal(9)));
        assert_eq!(judge(None, 11, false, Some("x")), (150, End::Signal(11)));
        assert_eq!(judge(None, 1 << 8, false, None), (1, End::Failed(1)));
        assert_eq!(judge(None, 31, false, None), (148, End::Signal(31)));
    }
}

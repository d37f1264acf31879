//! Exit codes: Firecracker's own, and two for what Firecracker cannot tell.
//!
//! Source: `FcExitCode` in Firecracker's `src/vmm/src/lib.rs`.

use std::process::ExitCode;

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// The guest shut down or rebooted, or only a question was answered.
    Ok = 0,
    /// Anything without a code of its own; QEMU killed or failed.
    GenericError = 1,
    /// Cannot happen if the program is right.
    UnexpectedError = 2,
    /// QEMU was ended by its seccomp filter (SIGSYS).
    BadSyscall = 148,
    /// QEMU was ended by SIGBUS.
    Sigbus = 149,
    /// QEMU was ended by SIGSEGV.
    Sigsegv = 150,
    /// Ended by SIGXFSZ.
    Sigxfsz = 151,
    /// The configuration is wrong.
    BadConfiguration = 152,
    /// The command line is wrong.
    ArgParsing = 153,
    /// Ended by SIGXCPU.
    Sigxcpu = 154,
    /// QEMU was ended by SIGPIPE.
    Sigpipe = 155,
    /// Ended by SIGHUP.
    Sighup = 156,
    /// QEMU was ended by SIGILL.
    Sigill = 157,
    /// The guest's kernel panicked and rebooted; Firecracker ends with 0.
    GuestPanic = 160,
    /// The guest's processor gave up (triple fault); Firecracker ends with 0.
    TripleFault = 161,
}

impl Exit {
    /// The number the process ends with.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The code for a process ended by a signal.
    #[must_use]
    pub fn from_signal(signal: i32) -> Self {
        match signal {
            libc::SIGSYS => Self::BadSyscall,
            libc::SIGBUS => Self::Sigbus,
            libc::SIGSEGV => Self::Sigsegv,
            libc::SIGXFSZ => Self::Sigxfsz,
            libc::SIGXCPU => Self::Sigxcpu,
            libc::SIGPIPE => Self::Sigpipe,
            libc::SIGHUP => Self::Sighup,
            libc::SIGILL => Self::Sigill,
            _ => Self::GenericError,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

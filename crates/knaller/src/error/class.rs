//! Classes of errors, which are exit codes.

/// The class of an [`Error`](super::Error); its number is the exit code of a command that fails with it. Numbers are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Class {
    Host = 1,
    Usage = 2,
    NotFound = 3,
    Conflict = 4,
    Port = 5,
    Missing = 6,
    Image = 7,
    Resources = 8,
    Vmm = 9,
    Guest = 10,
    Timeout = 11,
    Access = 12,
    Transfer = 13,
    Registry = 14,
}

impl Class {
    /// All classes, in the order of their codes.
    pub const ALL: [Self; 14] = [
        Self::Host,
        Self::Usage,
        Self::NotFound,
        Self::Conflict,
        Self::Port,
        Self::Missing,
        Self::Image,
        Self::Resources,
        Self::Vmm,
        Self::Guest,
        Self::Timeout,
        Self::Access,
        Self::Transfer,
        Self::Registry,
    ];

    /// The exit code, 1 to 14.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }

    /// What happened, in a few words.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Host => "the host refused something: a file, a process, a socket",
            Self::Usage => "what was asked for makes no sense",
            Self::NotFound => "there is no machine, kernel, image, user or file of that name",
            Self::Conflict => {
                "the name is taken, something is in use, or the machine is not in the state that it takes"
            }
            Self::Port => "a port of the host is taken",
            Self::Missing => "the host lacks something: `doctor` names the remedy",
            Self::Image => "no kernel was imported yet, or a kernel or image cannot be used",
            Self::Resources => "not enough memory or disk",
            Self::Vmm => "the VMM refused the machine or died",
            Self::Guest => "the guest panicked or could not boot",
            Self::Timeout => "something did not answer in time",
            Self::Access => "SSH into the guest failed",
            Self::Transfer => "a copy or a forward into the guest failed",
            Self::Registry => "a registry could not be reached, or refused something",
        }
    }
}

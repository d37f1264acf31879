//! microVMs on one Linux machine, without root and without a daemon.

mod claim;
mod copy;
mod disk;
pub mod doctor;
mod error;
mod exec;
mod exit;
mod forwarding;
mod heal;
mod info;
mod knaller;
mod layout;
mod leash;
mod list;
mod logs;
mod machine;
mod memory;
mod name;
pub mod netns;
mod network;
mod options;
mod process;
mod programs;
mod readable;
mod record;
mod runtime_folder;
mod spec;
mod ssh;
mod start;
mod stop;
mod tail;
mod task;
mod vmm;
mod vsock;
mod watch;

pub use copy::{CopyEvent, CopyOptions};
pub use error::{Class, Error, Result};
pub use exec::{Command, ExecExit, ExecRequest, Output, Pty, Session, SessionEvent, SessionInput};
pub use exit::Exit;
pub use forwarding::Forwarding;
pub use info::{MachineInfo, State};
pub use knaller::Knaller;
pub use logs::{LogSource, Logs};
pub use machine::{Machine, StopOptions, StopOutcome};
pub use name::{InvalidName, MAX_LEN as MAX_NAME_LEN, Name};
pub use options::{Options, Paths, Programs};
pub use spec::{
    Forward, Init, InvalidForward, InvalidSpec, Kernel, MachineSpec, Network, Protocol, Root, Vmm,
};
pub use start::{Side, StartEvent, StartOptions, Step, Timeline, Wait};

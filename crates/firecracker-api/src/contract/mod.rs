//! What any server of this API must answer: named cases of requests and expected answers.
//!
//! The invariant: every expected answer is Firecracker 1.17's, taken from the source file named beside it, and seen on a
//! real Firecracker; where a stand-in has a right to differ a [`Capability`] says so. The cases compare what clients
//! see: status, body, `Deprecation` header.
//!
//! Tell how to start a server by implementing [`Server`], then:
//!
//! ```no_run
//! # async fn judge(server: impl firecracker_api::contract::Server) {
//! let report = firecracker_api::contract::run(&server, |_| true).await;
//! println!("{report}");
//! assert!(report.is_kept());
//! # }
//! ```

mod case;
mod cases;
mod check;
mod report;
mod run;

pub use case::{Case, Phase};
pub use cases::all;
pub use report::{Outcome, Report, Verdict};
pub use run::run;

use std::any::Any;
use std::error::Error;
use std::path::PathBuf;

/// A kind of server under judgement.
pub trait Server: Sync {
    /// Whether the server can do this. Cases that need what it cannot do are skipped; where it cannot, it must refuse.
    fn offers(&self, capability: Capability) -> bool;

    /// A server that nobody has talked to yet, without PCI (`--enable-pci`), without metadata, and with the limits it has
    /// by default.
    fn fresh(&self) -> impl Future<Output = Result<Fresh, Box<dyn Error + Send + Sync>>> + Send;
}

/// A server that was just started.
#[derive(Debug)]
pub struct Fresh {
    /// Its API socket. It answers.
    pub socket: PathBuf,
    /// What the requests may name.
    pub files: Files,
    /// Ends the server and removes its files when dropped.
    pub guard: Box<dyn Any + Send>,
}

/// Files that are there for one server. All paths are absolute, and the same for the server and the judge.
#[derive(Clone, Debug)]
pub struct Files {
    /// A folder both may write in; short, since sockets are made there. Nothing in it is named `contract-…`.
    pub folder: String,
    /// A kernel the server can start.
    pub kernel: String,
    /// An initrd, if the kernel needs one to stay alive.
    pub initrd: Option<String>,
    /// Arguments with which the guest neither powers off nor reboots by itself, whatever it finds.
    pub boot_args: String,
    /// A file of some MiB that the server may write.
    pub drive: String,
    /// Another one, of another size.
    pub other_drive: String,
    /// The name of a TAP device the server may use, for servers that offer [`Capability::Tap`].
    pub tap: Option<String>,
}

/// What not every server can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Capability {
    /// Guests can be started.
    Start,
    /// There is a TAP device to use.
    Tap,
    /// CPU templates, built-in and custom.
    CpuTemplates,
    /// Huge pages, to be configured at least.
    HugePages,
    /// Persistent memory devices.
    Pmem,
    /// Hot-pluggable memory.
    MemoryHotplug,
    /// Free page hinting and reporting.
    PageHinting,
    /// Snapshots.
    Snapshots,
    /// A keyboard that can be pressed (`x86_64`).
    Keyboard,
}

//! Everything that can go wrong, one variant per cause. The invariant: each text says what happened and to what,
//! [`Error::hint`] says what to do about it, and [`Error::class`] puts each error into one stable class with one exit
//! code.

mod class;
mod excerpt;
mod from;
mod hint;

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use images::files::TrustError;
use images::oci::Platform;
use images::sparse_archive::ArchiveError;

pub use class::Class;
use excerpt::tail;

use crate::{InvalidSpec, Name, Protocol, State};

/// What a call of this library ends with.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("cannot {action} {}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("cannot {action}")]
    System { action: &'static str, source: io::Error },
    #[error("{} is not usable: {reason}", path.display())]
    Folder { path: PathBuf, reason: String },
    #[error(transparent)]
    Untrusted(TrustError),
    #[error("{} is damaged", path.display())]
    Record {
        path: PathBuf,
        source: serde_json::Error,
    },

    #[error(transparent)]
    InvalidSpec(#[from] InvalidSpec),

    #[error("there is no machine named {0}")]
    NotFound(String),
    #[error("there is no remedy for {0} that can be applied")]
    NoRemedy(String),
    #[error("there is no file {}", .0.display())]
    NoFile(PathBuf),
    #[error("there is no file or folder {path} in {name}")]
    NoGuestFile { name: Name, path: String },
    #[error("{name} has no user {user}, or none that may log in")]
    NoUser { name: Name, user: String },

    #[error("a machine named {name} exists already ({})", state.as_str())]
    NameTaken { name: Name, state: State },
    #[error("{0} is not running")]
    NotRunning(Name),
    #[error("{0} is running")]
    Running(Name),
    #[error("{0} is paused")]
    Paused(Name),
    #[error("{0} is not paused")]
    NotPaused(Name),
    #[error("another command is working on {0}")]
    Busy(Name),
    #[error("cannot adopt {name}: {reason}")]
    NotAdoptable { name: Name, reason: String },
    #[error("a volume named {0} exists already")]
    VolumeExists(Name),
    #[error("there is no volume named {0}")]
    NoVolume(Name),
    #[error("a snapshot named {0} exists already")]
    SnapshotExists(Name),
    #[error("there is no snapshot named {0}")]
    NoSnapshot(Name),
    #[error("another command is working on the snapshot {}", .0.display())]
    SnapshotBusy(PathBuf),
    #[error("the snapshot {name} is damaged: {reason}")]
    SnapshotDamaged { name: Name, reason: String },
    #[error("the snapshot {name}, on which {child} builds, is gone")]
    ParentMissing { child: Name, name: Name },
    #[error("the snapshot {name} is another one than that on which {child} builds")]
    ParentChanged { child: Name, name: Name },
    #[error("{name} builds on as many snapshots as one can: {limit} with itself")]
    ChainTooLong { name: Name, limit: usize },
    #[error("the snapshot {name} is needed by {}", listed(children, ", "))]
    SnapshotNeeded { name: Name, children: Vec<Name> },
    #[error("the snapshot {name} cannot be taken from host to host: {reason}")]
    SnapshotNotPortable { name: Name, reason: String },
    #[error(transparent)]
    SnapshotArchive(Box<ArchiveError>),
    #[error("the snapshot {name} cannot be loaded here: {reason}")]
    SnapshotUnfit { name: Name, reason: String },
    #[error("there is no template whose key begins with {0}")]
    NoTemplate(String),
    #[error("there are several templates whose keys begin with {0}")]
    ManyTemplates(String),
    #[error("no template was taken: {reason}")]
    NoTemplateKept {
        reason: String,
        /// What kind of failure it was; none if another start was only quicker.
        class: Option<Class>,
    },
    #[error("a machine is being made from the template {0} just now")]
    TemplateInUse(String),
    #[error("the volume {volume} is in use by {}", users.join(", "))]
    VolumeInUse { volume: String, users: Vec<String> },
    #[error("the volume {volume} is in use by {}", users.join(", "))]
    VolumeHeld { volume: Name, users: Vec<String> },
    #[error("the volume {volume} is needed by the snapshot{} {}", if snapshots.len() == 1 { "" } else { "s" }, listed(snapshots, ", "))]
    VolumeNeeded { volume: Name, snapshots: Vec<Name> },
    #[error("nobody can tell whether the volume {volume} is in use: the records of these machines are damaged: {}", damaged.join(", "))]
    VolumeUncertain { volume: String, damaged: Vec<String> },

    #[error("{protocol} port {port} of {} is taken by {}", host(*bind), owner(by.as_ref()))]
    PortTaken {
        bind: Option<IpAddr>,
        port: u16,
        protocol: Protocol,
        by: Option<Name>,
    },
    #[error("{protocol} port {port} cannot be forwarded: ports below {first} are reserved for root")]
    PortReserved {
        port: u16,
        protocol: Protocol,
        first: u16,
    },

    #[error("{address} is no address of this host")]
    NotOurAddress { address: IpAddr },

    #[error("{program} was not found")]
    ProgramMissing { program: String, hint: String },
    #[error("user namespaces are forbidden: {reason}")]
    UserNamespaces { reason: String, remedy: String },
    #[error("the machine's memory cannot be served by userfaultfd: {reason}")]
    Userfault { reason: String, remedy: String },
    #[error("the network could not be set up: {reason}")]
    Network { reason: String },
    #[error("only root can have {what}")]
    NeedsRoot {
        what: &'static str,
        remedy: &'static str,
    },
    #[error("{name} has no address: {reason}")]
    UnknownHost { name: String, reason: String },
    #[error("there can be no control group for the machine: {reason}")]
    Cgroup { reason: String, remedy: String },
    #[error("the jail could not be made: {reason}")]
    Jail { reason: String },

    #[error("there is no kernel yet")]
    NoKernel,
    #[error("there is no kernel {0}")]
    UnknownKernel(String),
    #[error(transparent)]
    Kernel(Box<images::bundle::StoreError>),
    #[error(transparent)]
    Initrd(Box<images::bundle::InitrdError>),
    #[error("{} is no regular file", .0.display())]
    NotRegular(PathBuf),
    #[error("the image {0} that the machine's disk belongs to is gone")]
    NoImage(String),
    #[error(
        "the image {image} is for {platform}, and this machine is {}",
        Platform::host()
    )]
    ForeignImage { image: String, platform: Platform },
    #[error(transparent)]
    Store(Box<images::store::StoreError>),
    #[error(transparent)]
    Convert(Box<images::convert::RootfsError>),
    #[error(transparent)]
    Import(Box<images::import::ImportError>),
    #[error("{0} was not started from an image, so there is nothing that its changes could be a layer of")]
    NoImageToCommit(Name),
    #[error(transparent)]
    Commit(Box<images::commit::CommitError>),
    #[error("the machine's disk was not unmounted, and cannot be put in order")]
    Replay(#[source] Box<images::ext4::read::ReplayError>),
    #[error(transparent)]
    Registry(Box<images::registry::RegistryError>),
    #[error(transparent)]
    Builtin(Box<images::builtin::BuiltinError>),
    #[error(transparent)]
    Overlay(Box<images::overlay::OverlayError>),
    #[error(transparent)]
    Rootfs(Box<images::rootfs::RootfsError>),
    #[error(transparent)]
    Grow(Box<images::rootfs::GrowError>),
    #[error(transparent)]
    RawDisk(Box<images::raw_disk::RawDiskError>),
    #[error(
        "{0} has a disk of its own, which an ordinary snapshot copies: only a machine on a raw disk, or on none, leaves that to its caller"
    )]
    NotOwnersDisk(Name),
    #[error("the snapshot is of a machine that writes to {wanted} disks, and {given} were given for it")]
    RawDisks { wanted: usize, given: usize },
    #[error("what was to be done while the machine stood still has failed; it goes on")]
    WhilePaused(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("{name} writes to a disk of its owner's, {}, which nothing here copies", path.display())]
    OwnersDisk { name: Name, path: PathBuf },
    #[error(transparent)]
    DiskCopy(Box<images::files::CopyError>),

    #[error("not enough memory: {wanted_mib} MiB are wanted and {available_mib} MiB are available")]
    Memory { wanted_mib: u64, available_mib: u64 },
    #[error("the disk of {} is full: {action} needs {needed} bytes and {available} are free", path.display())]
    DiskFull {
        action: &'static str,
        path: PathBuf,
        needed: u64,
        available: u64,
    },
    #[error("{} cannot be written: its disk is full, or this user's share of it", path.display())]
    NoSpace { path: PathBuf },

    #[error("{vmm} refused the machine: {message}")]
    VmmRefused { vmm: String, message: String },
    #[error("{vmm} died{}", tail("its log", log))]
    VmmDied { vmm: &'static str, log: String },

    #[error("the guest panicked: {line}{}", tail("its console", console))]
    GuestPanicked { line: String, console: String },
    #[error("the guest could not boot: {step}: {message}{}", tail("its console", console))]
    GuestFailed {
        step: String,
        message: String,
        console: String,
    },
    #[error("the guest ended while it booted{}", tail("its console", console))]
    GuestEnded { console: String },
    #[error("the guest speaks version {guest} of the boot dialogue and this program {host}")]
    GuestVersion { guest: u16, host: u16 },

    #[error(
        "the guest never asked for its config within {}{}",
        seconds(after),
        tail("its console", console)
    )]
    NeverAsked { after: Duration, console: String },
    #[error(
        "SSH did not answer within {}{}",
        seconds(after),
        tail("the guest's console", console)
    )]
    SshTimeout { after: Duration, console: String },
    #[error("{what} did not answer within {}", seconds(after))]
    NoAnswer { what: String, after: Duration },
    #[error("{what} did not end within {}", seconds(after))]
    Timeout { what: String, after: Duration },

    #[error("cannot reach SSH of {name}: {reason}")]
    Ssh { name: Name, reason: String },
    #[error("cannot reach vsock port {port} of {name}")]
    Vsock {
        name: Name,
        port: u32,
        source: io::Error,
    },
    #[error("{name} showed another host key than the one made for it: something pretends to be this machine")]
    HostKey { name: Name },

    #[error("cannot copy {what}: {reason}")]
    Copy { what: String, reason: String },
    #[error("cannot forward to port {port} of {name}: {reason}")]
    Forward { name: Name, port: u16, reason: String },
}

impl Error {
    pub(crate) fn io(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Self::Io { action, path, source }
    }

    pub(crate) fn system(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { action, source }
    }
}

/// An error with what led to it, in one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let chain = std::iter::successors(Some(error), |error| error.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn host(address: Option<IpAddr>) -> String {
    address.map_or_else(|| "the host".to_owned(), |address| address.to_string())
}

fn owner(machine: Option<&Name>) -> String {
    machine.map_or_else(|| "another program".to_owned(), |name| format!("machine {name}"))
}

fn listed(names: &[Name], between: &str) -> String {
    names.iter().map(Name::as_str).collect::<Vec<_>>().join(between)
}

fn seconds(time: &Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_name_the_machine_in_the_way() {
        let by = Some("web".parse().unwrap());
        let taken = Error::PortTaken {
            bind: None,
            port: 80,
            protocol: Protocol::Tcp,
            by,
        };
        assert_eq!(
            taken.to_string(),
            "tcp port 80 of the host is taken by machine web"
        );
        assert_eq!(taken.class().code(), 5);
    }
}

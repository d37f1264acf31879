//! Everything that can go wrong, one variant per cause. The invariant: each text says what happened and to what,
//! [`Error::hint`] says what to do about it, and [`Error::class`] puts each error into one stable class with one exit
//! code.

mod class;
mod from;

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use images::bundle;
use images::commit::CommitError;
use images::convert;
use images::files::{ReadError, TrustError};
use images::is_full_disk;
use images::oci::Platform;
use images::raw_disk::RawDiskError;
use images::registry::RegistryError;
use images::rootfs::GrowError;
use images::sparse_archive::ArchiveError;
use images::store::StoreError;

pub use class::Class;

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
    #[error("{0} has no snapshot that a difference could build on")]
    NoParent(Name),
    #[error(
        "{machine} was started anew since its snapshot {parent} was taken, on which a difference would build"
    )]
    OtherBoot { machine: Name, parent: Name },
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
    NoTemplateKept { reason: String },
    #[error("a machine is being made from the template {0} just now")]
    TemplateInUse(String),
    #[error("the volume {volume} is in use by {}", users.join(", "))]
    VolumeInUse { volume: String, users: Vec<String> },

    #[error("{protocol} port {port} of {} is taken by {}", bind.map_or_else(|| "the host".to_owned(), |a| a.to_string()), by.as_ref().map_or_else(|| "another program".to_owned(), |name| format!("machine {name}")))]
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
    /// Which kind of failure this is. A disk that is full is that, whatever it stood in the way of.
    #[must_use]
    pub fn class(&self) -> Class {
        if is_full_disk(self) {
            Class::Resources
        } else {
            self.class_of_variant()
        }
    }

    fn class_of_variant(&self) -> Class {
        match self {
            Self::Io { .. }
            | Self::System { .. }
            | Self::Folder { .. }
            | Self::Untrusted(_)
            | Self::Record { .. } => Class::Host,
            Self::InvalidSpec(_) => Class::Usage,
            Self::NotFound(_)
            | Self::NoRemedy(_)
            | Self::NoFile(_)
            | Self::NoGuestFile { .. }
            | Self::NoUser { .. }
            | Self::NoVolume(_)
            | Self::NoTemplate(_)
            | Self::NoSnapshot(_)
            | Self::UnknownHost { .. }
            | Self::UnknownKernel(_) => Class::NotFound,
            Self::NameTaken { .. }
            | Self::NotRunning(_)
            | Self::Running(_)
            | Self::Paused(_)
            | Self::NotPaused(_)
            | Self::Busy(_)
            | Self::NotAdoptable { .. }
            | Self::VolumeExists(_)
            | Self::VolumeInUse { .. }
            | Self::ManyTemplates(_)
            | Self::SnapshotExists(_)
            | Self::SnapshotBusy(_)
            | Self::NoParent(_)
            | Self::OtherBoot { .. }
            | Self::ChainTooLong { .. }
            | Self::SnapshotNeeded { .. }
            | Self::SnapshotUnfit { .. }
            | Self::NoTemplateKept { .. }
            | Self::TemplateInUse(_) => Class::Conflict,
            Self::PortTaken { .. } | Self::PortReserved { .. } | Self::NotOurAddress { .. } => Class::Port,
            Self::ProgramMissing { .. }
            | Self::UserNamespaces { .. }
            | Self::Network { .. }
            | Self::NeedsRoot { .. }
            | Self::Cgroup { .. }
            | Self::Jail { .. } => Class::Missing,
            Self::Kernel(error) if error.is_absence() => Class::NotFound,
            Self::Store(error) if error.is_absence() => Class::NotFound,
            Self::Import(error) if error.is_absence() => Class::NotFound,
            Self::Registry(error) if matches!(**error, RegistryError::NotFound { .. }) => Class::NotFound,
            Self::Registry(error)
                if matches!(
                    **error,
                    RegistryError::Name { .. } | RegistryError::NoTag(_) | RegistryError::Config(_)
                ) =>
            {
                Class::Usage
            }
            // The registry is not to blame for what the image is.
            Self::Registry(error)
                if matches!(**error, RegistryError::Walk(_) | RegistryError::Manifest { .. }) =>
            {
                Class::Image
            }
            Self::Registry(_) => Class::Registry,
            Self::Store(error)
                if matches!(
                    **error,
                    StoreError::InUse { .. } | StoreError::SeveralNames { .. }
                ) =>
            {
                Class::Conflict
            }
            Self::RawDisk(error) if matches!(**error, RawDiskError::InUse { .. }) => Class::Conflict,
            Self::RawDisk(error) if matches!(&**error, RawDiskError::Read(error) if error.is_absence()) => {
                Class::NotFound
            }
            Self::OwnersDisk { .. } | Self::NotOwnersDisk(_) => Class::Conflict,
            Self::RawDisks { .. } => Class::Usage,
            Self::WhilePaused(_) => Class::Host,
            Self::Grow(error) if matches!(**error, GrowError::Shrinks { .. }) => Class::Usage,
            Self::NoKernel
            | Self::NotRegular(_)
            | Self::Kernel(_)
            | Self::Initrd(_)
            | Self::NoImage(_)
            | Self::ForeignImage { .. }
            | Self::Store(_)
            | Self::Convert(_)
            | Self::Import(_)
            | Self::NoImageToCommit(_)
            | Self::Commit(_)
            | Self::Replay(_)
            | Self::Builtin(_)
            | Self::Overlay(_)
            | Self::Rootfs(_)
            | Self::Grow(_)
            | Self::RawDisk(_)
            | Self::DiskCopy(_) => Class::Image,
            Self::ParentMissing { .. } | Self::ParentChanged { .. } => Class::Image,
            Self::SnapshotDamaged { .. } | Self::SnapshotNotPortable { .. } | Self::SnapshotArchive(_) => {
                Class::Image
            }
            Self::Memory { .. } | Self::DiskFull { .. } | Self::NoSpace { .. } => Class::Resources,
            Self::VmmRefused { .. } | Self::VmmDied { .. } => Class::Vmm,
            Self::GuestPanicked { .. }
            | Self::GuestFailed { .. }
            | Self::GuestEnded { .. }
            | Self::GuestVersion { .. } => Class::Guest,
            Self::NeverAsked { .. }
            | Self::SshTimeout { .. }
            | Self::NoAnswer { .. }
            | Self::Timeout { .. } => Class::Timeout,
            Self::Ssh { .. } | Self::Vsock { .. } | Self::HostKey { .. } => Class::Access,
            Self::Copy { .. } | Self::Forward { .. } => Class::Transfer,
        }
    }

    /// What to do about it, where there is something to do: a sentence without its full stop.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Record { .. } => "remove the machine with `knaller rm --force`".to_owned(),
            Self::NotFound(_) => "`knaller list` shows what there is".to_owned(),
            Self::NameTaken {
                name,
                state: State::Stopped,
            } => format!(
                "`knaller start {name}` starts it again as it is; or choose another name, or remove it with `knaller rm {name}`"
            ),
            Self::NameTaken { name, .. } => format!(
                "choose another name, or stop that machine with `knaller stop {name}` and remove it with `knaller rm {name}`"
            ),
            Self::NotRunning(name) => format!("start it with `knaller start {name}`"),
            Self::Running(name) => format!("stop it first with `knaller stop {name}`"),
            Self::Busy(_) => "wait for it to end".to_owned(),
            Self::NotAdoptable { name, .. } => format!("`knaller kill {name}` ends what is left of it"),
            Self::VolumeInUse { .. } => {
                "a disk that is written to belongs to one machine: stop that first; several may share it if all add `:ro`"
                    .to_owned()
            }
            Self::OwnersDisk { .. } => {
                "a program that embeds the library copies the disk itself while the machine stands still: Machine::create_raw; or stop the machine, copy the disk and start another from the copy".to_owned()
            }
            Self::NoTemplate(_) | Self::ManyTemplates(_) => "`knaller template ls` shows what there is".to_owned(),
            Self::Paused(name) => format!("let it go on: knaller resume {name}"),
            Self::NoSnapshot(_) => "`knaller snapshot ls` shows what there is".to_owned(),
            Self::SnapshotExists(name) => format!("take another name, or remove it: knaller snapshot rm {name}"),
            Self::SnapshotUnfit { .. } => "--cold-fallback boots its disks instead".to_owned(),
            Self::SnapshotDamaged { .. } => "take it anew".to_owned(),
            Self::NoParent(machine) | Self::OtherBoot { machine, .. } => {
                format!("take a whole one first: knaller snapshot create {machine}")
            }
            Self::ParentMissing { .. } | Self::ParentChanged { .. } => "take a whole one, without --diff".to_owned(),
            Self::ChainTooLong { name, .. } => format!("make that one whole: knaller snapshot merge {name}"),
            Self::SnapshotNeeded { name, children } => format!(
                "make them whole first, with `knaller snapshot merge {}`, or remove all of them: knaller snapshot rm --recursive {name}",
                listed(children, " ")
            ),
            Self::SnapshotBusy(_) | Self::TemplateInUse(_) | Self::NoTemplateKept { .. } => "try again in a moment".to_owned(),
            Self::NoVolume(_) => "`knaller volume ls` shows what there is".to_owned(),
            Self::PortTaken { by: Some(name), .. } => {
                format!("take another port, or 0 for a free one, or stop {name} with `knaller stop {name}`")
            }
            Self::PortTaken { by: None, .. } => "take another port, or 0 for a free one".to_owned(),
            Self::PortReserved { first, .. } => format!(
                "take a port from {first} on, or let root lower net.ipv4.ip_unprivileged_port_start with sysctl"
            ),
            Self::ProgramMissing { hint, .. } if !hint.is_empty() => hint.clone(),
            Self::UserNamespaces { remedy, .. } | Self::Cgroup { remedy, .. } => remedy.clone(),
            Self::NeedsRoot { remedy, .. } => (*remedy).to_owned(),
            Self::UnknownHost { .. } => "look at the name, and at the name servers in /etc/resolv.conf".to_owned(),
            Self::ProgramMissing { .. } | Self::Network { .. } => {
                "`knaller doctor` checks what a start needs and names the remedy".to_owned()
            }
            Self::Jail { .. } => "`knaller doctor` checks what a jail needs; --no-jail starts a trusted guest without one".to_owned(),
            Self::DiskFull { .. } | Self::NoSpace { .. } => MORE_ROOM.to_owned(),
            Self::Convert(error) if is_full_disk(&**error) => MORE_ROOM.to_owned(),
            Self::Convert(_) | Self::Import(_) | Self::Commit(_) => format!(
                "if the image is to be trusted, set KNALLER_IMAGE_LIMITS to a higher limit: {}=NUMBER",
                self.limit()?
            ),
            Self::Kernel(error) => match &**error {
                bundle::StoreError::Import(bundle::ImportError::Read(ReadError::Denied { path })) => {
                    format!("let its owner run: sudo chmod a+r {}", path.display())
                }
                _ => return None,
            },
            Self::Registry(error) => return error.hint(),
            Self::ForeignImage { .. } => {
                format!("`--platform {}` fetches the one for this machine, if there is one", Platform::host())
            }
            Self::NoKernel => "make one from the host's own with `knaller kernel import`".to_owned(),
            Self::UnknownKernel(_) => "`knaller kernel ls` shows what there is".to_owned(),
            Self::Memory { .. } => "ask for less with --memory, or stop another machine".to_owned(),
            Self::VmmDied { .. } => {
                "`knaller doctor` checks what a start needs, and `knaller start --verbose` shows all that the VMM says"
                    .to_owned()
            }
            Self::GuestPanicked { .. } | Self::GuestEnded { .. } => {
                "`knaller start --verbose` shows the whole console".to_owned()
            }
            Self::NoAnswer { .. } => "if the host is busy, give it longer with --boot-timeout".to_owned(),
            Self::NeverAsked { .. } | Self::SshTimeout { .. } => {
                "if the host is busy, give it longer with --boot-timeout; `knaller start --verbose` shows the whole console"
                    .to_owned()
            }
            Self::GuestVersion { .. } => "import the kernel again with `knaller kernel import`".to_owned(),
            _ => return None,
        })
    }

    /// The limit on images that was in the way, if one was.
    fn limit(&self) -> Option<&'static str> {
        match self {
            Self::Convert(error) => match &**error {
                convert::RootfsError::Convert { source, .. } => source.limit(),
                convert::RootfsError::Store(_) => None,
            },
            Self::Import(error) => error.limit(),
            Self::Commit(error) => match &**error {
                CommitError::Limit { name, .. } => Some(name),
                _ => None,
            },
            _ => None,
        }
    }

    /// The text without the log or console at its end, for those who show [`Self::excerpt`] in their own way.
    #[must_use]
    pub fn headline(&self) -> String {
        let mut text = self.to_string();
        if let (Some(_), Some(end)) = (self.excerpt(), text.find(TAIL)) {
            text.truncate(end);
        }
        text
    }

    /// The end of the log or console that tells more, and what it is; empty if nothing was written. It is part of the
    /// error's text as well.
    #[must_use]
    pub fn excerpt(&self) -> Option<(&'static str, &str)> {
        match self {
            Self::VmmDied { log, .. } => Some(("the VMM's log", log)),
            Self::GuestPanicked { console, .. }
            | Self::GuestFailed { console, .. }
            | Self::GuestEnded { console }
            | Self::NeverAsked { console, .. }
            | Self::SshTimeout { console, .. } => Some(("the guest's console", console)),
            _ => None,
        }
    }

    pub(crate) fn store(error: images::bundle::StoreError) -> Self {
        use images::bundle::StoreError;

        match error {
            StoreError::Empty => Self::NoKernel,
            StoreError::Unknown(what) => Self::UnknownKernel(what),
            other => Self::Kernel(Box::new(other)),
        }
    }

    pub(crate) fn io(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Self::Io { action, path, source }
    }

    pub(crate) fn system(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { action, source }
    }
}

/// What helps against a full disk.
const MORE_ROOM: &str = "make room, or set XDG_DATA_HOME to a folder on a larger disk";

/// What stands between an error's headline and the log it ends with.
const TAIL: &str = "; the end of ";

/// `; the end of WHAT:` and the text, or nothing if there is no text.
fn listed(names: &[Name], between: &str) -> String {
    names.iter().map(Name::as_str).collect::<Vec<_>>().join(between)
}

fn tail(what: &str, text: &str) -> String {
    match text.trim_end() {
        "" => String::new(),
        text => format!("{TAIL}{what}:\n{text}"),
    }
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

    #[test]
    fn a_name_that_is_taken_is_freed_by_its_state() {
        let hint = |state| {
            let name = "b".parse().unwrap();
            Error::NameTaken { name, state }.hint().unwrap()
        };
        assert!(hint(State::Stopped).starts_with("`knaller start b` starts it again"));
        for state in [State::Running, State::Unresponsive] {
            let hint = hint(state);
            assert!(
                hint.contains("knaller stop b") && !hint.contains("knaller start"),
                "{hint}"
            );
        }
    }

    #[test]
    fn what_is_not_there_has_one_class() {
        let name: Name = "web".parse().unwrap();
        for error in [
            Error::store(images::bundle::StoreError::Unknown("nope".into())),
            Error::NoFile("nope".into()),
            Error::NoGuestFile {
                name: name.clone(),
                path: "/nope".into(),
            },
            Error::NoUser {
                name,
                user: "nosuch".into(),
            },
        ] {
            assert_eq!(error.class(), Class::NotFound, "{error}");
        }
        assert_eq!(Error::NoKernel.class(), Class::Image);
    }

    #[test]
    fn a_log_is_shown_only_if_there_is_one() {
        let died = |log: &str| Error::VmmDied {
            vmm: "sparkler",
            log: log.into(),
        };
        assert_eq!(died("\n").to_string(), "sparkler died");
        let error = died("a\nb\n");
        assert_eq!(error.to_string(), "sparkler died; the end of its log:\na\nb");
        assert_eq!(error.headline(), "sparkler died");
        assert_eq!(error.excerpt(), Some(("the VMM's log", "a\nb\n")));
    }
}

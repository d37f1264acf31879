//! Classes of errors, which are exit codes. The invariant: each error is in one class, and a full disk is in that of
//! [`Class::Resources`] whatever it stood in the way of.

use images::is_full_disk;
use images::raw_disk::RawDiskError;
use images::registry::RegistryError;
use images::rootfs::GrowError;
use images::store::StoreError;

use super::Error;

/// The class of an [`Error`]; its number is the exit code of a command that fails with it. Numbers are never reused.
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
            Self::NotFound => {
                "there is nothing of that name: no machine, snapshot, image, kernel, volume, template, user or file"
            }
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
            | Self::VolumeHeld { .. }
            | Self::VolumeNeeded { .. }
            | Self::VolumeUncertain { .. }
            | Self::ManyTemplates(_)
            | Self::SnapshotExists(_)
            | Self::SnapshotBusy(_)
            | Self::ChainTooLong { .. }
            | Self::SnapshotNeeded { .. }
            | Self::SnapshotUnfit { .. }
            | Self::TemplateInUse(_) => Class::Conflict,
            Self::NoTemplateKept { class, .. } => class.unwrap_or(Class::Conflict),
            Self::PortTaken { .. } | Self::PortReserved { .. } | Self::NotOurAddress { .. } => Class::Port,
            Self::ProgramMissing { .. }
            | Self::UserNamespaces { .. }
            | Self::Network { .. }
            | Self::NeedsRoot { .. }
            | Self::Cgroup { .. }
            | Self::Userfault { .. }
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Name;

    #[test]
    fn what_is_not_there_has_one_class() {
        let name: Name = "web".parse().unwrap();
        for error in [
            images::bundle::StoreError::Unknown("nope".into()).into(),
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
}

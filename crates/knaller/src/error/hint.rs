//! What to do about an error. The invariant: a hint names a command, a setting or a choice that helps in just that case;
//! where nothing is known to help there is none.

use std::io::ErrorKind;
use std::path::Path;

use images::commit::CommitError;
use images::convert;
use images::files::ReadError;
use images::oci::Platform;
use images::sparse_archive::ArchiveError;
use images::{bundle, is_full_disk};

use super::{Class, Error, listed};
use crate::State;

/// What helps against a full disk.
const MORE_ROOM: &str = "make room, or set XDG_DATA_HOME to a folder on a larger disk";

impl Error {
    /// What to do about it, where there is something to do: a sentence without its full stop.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Record { path, .. } => of_damage(path)?,
            // What may not be read is better made readable.
            Self::Io {
                action: "read",
                path,
                source,
            } if source.kind() != ErrorKind::PermissionDenied => of_damage(path)?,
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
            Self::VolumeHeld { users, .. } => format!(
                "a machine has its volumes while it is stopped, too: remove it first, with `knaller rm {}`",
                users.join(" ")
            ),
            Self::VolumeNeeded { snapshots, .. } => format!(
                "machines made of them go on with it: remove them first, with `knaller snapshot rm {}`",
                listed(snapshots, " ")
            ),
            Self::VolumeUncertain { damaged, .. } => {
                format!("remove what is left of them first: knaller rm --force {}", damaged.join(" "))
            }
            Self::OwnersDisk { .. } => {
                "a program that embeds the library copies the disk itself while the machine stands still: Machine::create_raw; or stop the machine, copy the disk and start another from the copy".to_owned()
            }
            Self::NoTemplate(_) | Self::ManyTemplates(_) => "`knaller template ls` shows what there is".to_owned(),
            Self::Paused(name) => format!("let it go on: knaller resume {name}"),
            Self::NoSnapshot(_) => "`knaller snapshot ls` shows what there is".to_owned(),
            Self::SnapshotExists(name) => format!("take another name, or remove it: knaller snapshot rm {name}"),
            Self::SnapshotUnfit { .. } => "--cold-fallback boots its disks instead".to_owned(),
            Self::SnapshotArchive(error) => match **error {
                ArchiveError::Write(_) if is_full_disk(&**error) => {
                    "make room, or name a file on a disk with more of it".to_owned()
                }
                ArchiveError::Tar(_) | ArchiveError::Unpack(_) => {
                    "it is not whole, or nothing that `knaller snapshot export` has written: copy it again, or export it anew"
                        .to_owned()
                }
                ArchiveError::Empty
                | ArchiveError::NotPacked
                | ArchiveError::Lacks(_)
                | ArchiveError::Garbled { .. }
                | ArchiveError::Unexpected(_) => "what `knaller snapshot export` writes can be imported".to_owned(),
                _ => return None,
            },
            Self::SnapshotDamaged { .. } => "take it anew".to_owned(),
            Self::ParentMissing { .. } | Self::ParentChanged { .. } => {
                "bring that one back, or take one anew that builds on none".to_owned()
            }
            Self::ChainTooLong { name, .. } => format!("make that one whole: knaller snapshot merge {name}"),
            Self::SnapshotNeeded { name, children } => format!(
                "make them whole first, with `knaller snapshot merge {}`, or remove all of them: knaller snapshot rm --recursive {name}",
                listed(children, " ")
            ),
            Self::NoTemplateKept {
                class: Some(Class::Resources),
                ..
            } => MORE_ROOM.to_owned(),
            Self::SnapshotBusy(_) | Self::TemplateInUse(_) | Self::NoTemplateKept { class: None, .. } => {
                "try again in a moment".to_owned()
            }
            Self::NoVolume(_) => "`knaller volume ls` shows what there is".to_owned(),
            Self::PortTaken { by: Some(name), .. } => {
                format!("take another port, or 0 for a free one, or stop {name} with `knaller stop {name}`")
            }
            Self::PortTaken { by: None, .. } => "take another port, or 0 for a free one".to_owned(),
            Self::PortReserved { first, .. } => format!(
                "take a port from {first} on, or let root lower net.ipv4.ip_unprivileged_port_start with sysctl"
            ),
            Self::ProgramMissing { hint, .. } if !hint.is_empty() => hint.clone(),
            Self::UserNamespaces { remedy, .. } | Self::Cgroup { remedy, .. } | Self::Userfault { remedy, .. } => {
                remedy.clone()
            }
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
                "`knaller doctor` checks what a start needs; what a VMM that did not die at once said before is shown by `knaller start --verbose`"
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
}

/// How to get rid of what a description that cannot be read is of, which its file and folder tell.
fn of_damage(path: &Path) -> Option<String> {
    let name = path.parent()?.file_name()?.to_str()?;
    match path.file_name()?.to_str()? {
        "vm.json" => Some(format!("`knaller rm --force {name}` removes that machine")),
        "snapshot.json" => Some(format!("`knaller snapshot rm {name}` removes that snapshot")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn an_archive_that_cannot_be_read_or_written_says_what_helps() {
        let write = |kind: std::io::ErrorKind| ArchiveError::Write(kind.into());
        let hint = |error| Error::SnapshotArchive(Box::new(error)).hint();
        assert!(
            hint(write(std::io::ErrorKind::StorageFull))
                .unwrap()
                .starts_with("make room")
        );
        // A pipe whose reader went away has no more room.
        assert_eq!(hint(write(std::io::ErrorKind::BrokenPipe)), None);
        assert!(hint(ArchiveError::NotPacked).unwrap().contains("snapshot export"));
        let cut = ArchiveError::Unpack(std::io::ErrorKind::UnexpectedEof.into());
        assert!(hint(cut).unwrap().contains("not whole"));
    }
}

//! Which file of a machine is where. The invariant: what is in the data folder is intent and disks, what is in the runtime
//! folder is sockets; neither says whether the machine runs. A VMM can make what it likes in the runtime folder and in
//! `handover`: nothing in them is believed for its name.
//!
//! ```text
//! DATA/vms/NAME/      vm.json      what was asked for (see `record`)
//!                     creating     only while the first start has not succeeded
//!                     halted       which boot somebody asked to end: no supervisor starts the machine after that
//!                     overlay.ext4 or rootfs.ext4
//!                     console.log  vmm.log     the end of each: see `keep`
//!                     host_key     client_key     known_hosts
//!                     baseline.json   which snapshot the next difference is one to: see `snapshot::baseline`
//!                     pausing      only while the machine stands still for a command
//!                     commit.ext4  only for the moment in which a commit copies the disk
//!                     handover/    what the VMM writes for us to take: see `handover`
//! RUNTIME/NAME/       api.sock     the VMM's
//!                     vsock.sock   the VMM's
//!                     drive-ID     links to the disks, by which the VMM has them
//!                     vsock.sock_1024   ours, only while a start goes on
//!                     pages.sock   the same: see `pager`
//! RUNTIME/ports.lock  see `network::ports`
//! RUNTIME/supervisors see `supervise`
//! ```

use std::path::PathBuf;

use images::files::private_folder;

use crate::{Error, Name, Paths, Result};

/// The longest path of a Unix socket: `sun_path` has 108 bytes, one of them the NUL (unix(7)).
const MAX_SOCKET_PATH: usize = 107;

/// The name of the VMM's vsock socket in the runtime folder.
pub(crate) const VSOCK: &str = "vsock.sock";

/// A machine's own disk: over an image's root file system, or a copy of the file that was given.
pub(crate) const OVERLAY: &str = "overlay.ext4";
pub(crate) const ROOTFS: &str = "rootfs.ext4";

/// One machine's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Files {
    pub(crate) data: PathBuf,
    pub(crate) runtime: PathBuf,
}

impl Files {
    pub(crate) fn record(&self) -> PathBuf {
        self.data.join("vm.json")
    }

    pub(crate) fn creating(&self) -> PathBuf {
        self.data.join("creating")
    }

    pub(crate) fn attended(&self) -> PathBuf {
        self.data.join("attended")
    }

    pub(crate) fn halted(&self) -> PathBuf {
        self.data.join("halted")
    }

    pub(crate) fn overlay(&self) -> PathBuf {
        self.data.join(OVERLAY)
    }

    pub(crate) fn rootfs(&self) -> PathBuf {
        self.data.join(ROOTFS)
    }

    pub(crate) fn console(&self) -> PathBuf {
        self.data.join("console.log")
    }

    pub(crate) fn handover(&self) -> PathBuf {
        self.data.join("handover")
    }

    pub(crate) fn vmm_log(&self) -> PathBuf {
        self.data.join("vmm.log")
    }

    pub(crate) fn host_key(&self) -> PathBuf {
        self.data.join("host_key")
    }

    pub(crate) fn client_key(&self) -> PathBuf {
        self.data.join("client_key")
    }

    pub(crate) fn known_hosts(&self) -> PathBuf {
        self.data.join("known_hosts")
    }

    pub(crate) fn api_socket(&self) -> PathBuf {
        self.runtime.join("api.sock")
    }

    pub(crate) fn vsock_socket(&self) -> PathBuf {
        self.runtime.join(VSOCK)
    }

    /// Says that the machine stands still for somebody: see `snapshot::pause`.
    pub(crate) fn pausing(&self) -> PathBuf {
        self.data.join("pausing")
    }

    /// A copy of the disk that becomes an image: see `image::commit`.
    pub(crate) fn commit(&self) -> PathBuf {
        self.data.join("commit.ext4")
    }

    /// See `snapshot::baseline`.
    pub(crate) fn baseline(&self) -> PathBuf {
        self.data.join("baseline.json")
    }

    /// Where a VMM connects to that has its guest's memory served.
    pub(crate) fn pages_socket(&self) -> PathBuf {
        self.runtime.join("pages.sock")
    }

    /// Where Firecracker connects to when the guest dials the host's port (docs/vsock.md: `uds_path_PORT`).
    pub(crate) fn config_socket(&self) -> PathBuf {
        self.runtime
            .join(format!("{VSOCK}_{}", guest_protocol::CONFIG_PORT))
    }
}

/// The VMM's path of a drive, relative to the runtime folder: the same for every machine, so that a snapshot of one can be
/// loaded as another.
pub(crate) fn drive(id: &str) -> String {
    format!("drive-{id}")
}

pub(crate) fn vms(paths: &Paths) -> PathBuf {
    paths.data.join("vms")
}

/// Where a machine's files are if it is started now. One that exists may have its sockets elsewhere: its record tells.
pub(crate) fn files(paths: &Paths, name: &Name) -> Files {
    Files {
        data: vms(paths).join(name.as_str()),
        runtime: paths.runtime.join(name.as_str()),
    }
}

/// Whether sockets of a machine of this name can be bound at all.
pub(crate) fn check_length(files: &Files) -> Result<()> {
    let length = files.config_socket().as_os_str().len();
    if length <= MAX_SOCKET_PATH {
        return Ok(());
    }
    Err(Error::Folder {
        path: files.runtime.clone(),
        reason: format!(
            "the socket in it would have a path of {length} bytes, and {MAX_SOCKET_PATH} are possible: take a shorter name, or a shorter runtime folder"
        ),
    })
}

/// The longest name whose sockets can be bound, in bytes.
pub(crate) fn longest_name(paths: &Paths) -> usize {
    let around = Files {
        data: paths.data.clone(),
        runtime: paths.runtime.join(""),
    }
    .config_socket();
    // With a name there is one slash more.
    MAX_SOCKET_PATH
        .saturating_sub(around.as_os_str().len() + 1)
        .min(crate::MAX_NAME_LEN)
}

/// Makes both folders, and sees to it that nobody but this user can write to them: a folder below /tmp can be made by
/// anybody.
pub(crate) fn prepare(paths: &Paths) -> Result<()> {
    for folder in [&paths.data, &vms(paths), &paths.runtime] {
        private_folder(folder)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn folders_are_made_private_and_those_of_others_refused() {
        let temp = tempfile::tempdir().unwrap();
        let paths = Paths {
            data: temp.path().join("a/data"),
            runtime: temp.path().join("run"),
        };
        prepare(&paths).unwrap();
        prepare(&paths).unwrap();
        for folder in [&paths.data, &vms(&paths), &paths.runtime] {
            assert_eq!(
                folder.metadata().unwrap().permissions().mode() & 0o777,
                0o700,
                "{}",
                folder.display()
            );
        }
        let shared = |folder: &std::path::Path, mode| {
            std::fs::set_permissions(folder, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        shared(&paths.runtime, 0o777);
        assert!(matches!(prepare(&paths), Err(Error::Untrusted(_))));
        // Who may only look into it sees names: what is in there is private by itself.
        shared(&paths.runtime, 0o755);
        shared(&paths.data, 0o755);
        std::fs::remove_dir(vms(&paths)).unwrap();
        prepare(&paths).unwrap();
        let mode = vms(&paths).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        shared(&paths.data, 0o775);
        assert!(matches!(prepare(&paths), Err(Error::Untrusted(_))));
    }

    #[test]
    fn the_longest_name_fits_and_no_longer_one() {
        let paths = Paths {
            data: "/d".into(),
            runtime: "/run/user/1000/some/folder/that/is/long/enough/here".into(),
        };
        let longest = longest_name(&paths);
        let name = |length: usize| "a".repeat(length).parse::<Name>().unwrap();
        assert!(longest < crate::MAX_NAME_LEN);
        assert!(check_length(&files(&paths, &name(longest))).is_ok());
        assert!(check_length(&files(&paths, &name(longest + 1))).is_err());
    }

    #[test]
    fn names_too_long_for_a_socket_are_refused_before_anything_is_made() {
        let name: Name = "a".repeat(63).parse().unwrap();
        let short = Paths {
            data: "/d".into(),
            runtime: "/run/user/1000/knaller".into(),
        };
        assert!(check_length(&files(&short, &name)).is_ok());
        let long = Paths {
            data: "/d".into(),
            runtime: "/run/user/1000/a/rather/long/folder/indeed".into(),
        };
        assert!(matches!(
            check_length(&files(&long, &name)),
            Err(Error::Folder { .. })
        ));
    }
}

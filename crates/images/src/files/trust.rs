//! Whose folders are believed.
//!
//! The invariant: a kernel or an image is taken only from a folder that nobody but this user can write to. Another user
//! who could would choose what this user's machines run.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Why a folder is not used.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    #[error("{path} cannot be used")]
    Io { path: PathBuf, source: io::Error },
    #[error(
        "{path} belongs to the user with uid {owner}, not to uid {user}: what lies there is not trusted. Set XDG_DATA_HOME to a folder of your own"
    )]
    Owner { path: PathBuf, owner: u32, user: u32 },
    #[error(
        "{path} can be written to by others (mode {mode:04o}): what lies there is not trusted. Run: chmod go-w {path}"
    )]
    Writable { path: PathBuf, mode: u32 },
    #[error("{path} is no folder")]
    NoFolder { path: PathBuf },
}

/// Makes `path` and its parents where they are missing, with mode 0700, and checks it as [`check_owner`] does.
///
/// # Errors
/// It cannot be made, or is not this user's alone.
pub fn private_folder(path: &Path) -> Result<(), TrustError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| TrustError::Io {
        path: path.to_owned(),
        source,
    })?;
    check_owner(path)
}

/// Checks that `path` is a folder (and no link to one) of this user that nobody else can write to.
///
/// # Errors
/// It is not.
pub fn check_owner(path: &Path) -> Result<(), TrustError> {
    let path = path.to_owned();
    let metadata = match std::fs::symlink_metadata(&path) {
        Ok(metadata) => metadata,
        Err(source) => return Err(TrustError::Io { path, source }),
    };
    let (owner, user, mode) = (
        metadata.uid(),
        rustix::process::geteuid().as_raw(),
        metadata.mode() & 0o7777,
    );
    if !metadata.is_dir() {
        Err(TrustError::NoFolder { path })
    } else if owner != user {
        Err(TrustError::Owner { path, owner, user })
    } else if mode & 0o022 != 0 {
        Err(TrustError::Writable { path, mode })
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_new_folder_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        private_folder(&path).unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o700);
        private_folder(&path).unwrap();
    }

    #[test]
    fn what_others_can_write_to_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        set_permissions(folder.path(), Permissions::from_mode(0o770)).unwrap();
        let error = check_owner(folder.path()).unwrap_err();
        assert!(
            matches!(error, TrustError::Writable { mode: 0o770, .. }),
            "{error}"
        );
    }

    #[test]
    fn another_users_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        // Root's own for everybody else; for root, one that was given away.
        let path = if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(folder.path(), Some(65534), None).unwrap();
            folder.path()
        } else {
            Path::new("/usr")
        };
        assert!(matches!(check_owner(path), Err(TrustError::Owner { .. })));
    }

    #[test]
    fn a_link_is_no_folder() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        symlink(folder.path(), &link).unwrap();
        assert!(matches!(check_owner(&link), Err(TrustError::NoFolder { .. })));
    }
}

//! Volumes: folders of the guest with a life of their own, and what is mounted on them.
//!
//! The invariant: everything happens inside the root file system, which is this process's own root by now, so that no
//! `..` and no link of the image leads out of it. The outer volume is there before one inside it. One that cannot be
//! had is an error: what relies on it would write into the root instead, and be lost with it.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use guest_protocol::{MAX_VOLUMES, Volume, VolumeSource};
use rustix::fs::{Mode, OFlags};
use rustix::mount::MountFlags;

use super::{fill, root};
use crate::files;

/// Why a volume cannot be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("a machine has at most {MAX_VOLUMES} volumes")]
    TooMany,
    #[error("a volume cannot be at `{0}`: an absolute path other than `/` is expected")]
    Path(String),
    #[error("there are two volumes at {}", .0.display())]
    Twice(PathBuf),
    #[error("cannot make the folder {} for a volume", path.display())]
    Folder {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("cannot mount the volume at {}", path.display())]
    Disk {
        path: PathBuf,
        #[source]
        source: root::Error,
    },
    #[error("cannot copy the image's files into the volume at {}", path.display())]
    Fill {
        path: PathBuf,
        #[source]
        source: fill::Error,
    },
    #[error("cannot set the volume at {} apart from the root file system", path.display())]
    Apart {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

/// Makes and mounts all of `volumes`. In a root that is to be `sealed`, folders stay writable. Says whether the image's files
/// were copied into one.
pub(super) fn mount(volumes: &[Volume], sealed: bool) -> Result<bool, Error> {
    let mut filled = false;
    // The image's file systems: what the kernel's own (/proc, say) have is not to be kept.
    let mut of_image = BTreeSet::from_iter(Path::new("/").metadata().map(|root| root.dev()));
    for (path, volume) in order(volumes)? {
        let folder = |source| Error::Folder {
            path: path.clone(),
            source,
        };
        let place = files::within(Path::new("/"), &path).map_err(folder)?;
        files::make_folder(&place, Mode::from_raw_mode(0o755)).map_err(folder)?;
        match &volume.source {
            VolumeSource::Disk(disk) => {
                let read_only = volume.read_only || disk.read_only;
                let covered = open(&place).map_err(folder)?;
                root::mount_disk(disk, read_only, &place).map_err(|source| Error::Disk {
                    path: path.clone(),
                    source,
                })?;
                let mounted = open(&place).map_err(folder)?;
                let device = |fd| rustix::fs::fstat(fd).map(|stat| stat.st_dev);
                if !read_only {
                    let image = device(&covered).is_ok_and(|device| of_image.contains(&device));
                    let fill = fill::fill(&covered, image, &mounted);
                    filled |= fill.map_err(|source| Error::Fill { path, source })?;
                }
                of_image.extend(device(&mounted));
            }
            VolumeSource::Folder if sealed || volume.read_only => {
                set_apart(&place, volume.read_only).map_err(|source| Error::Apart { path, source })?;
            }
            VolumeSource::Folder => {}
        }
    }
    Ok(filled)
}

fn open(folder: &Path) -> std::io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(folder, flags, Mode::empty())?)
}

/// The volumes by their paths without `.` and `..`, outer ones first.
fn order(volumes: &[Volume]) -> Result<Vec<(PathBuf, &Volume)>, Error> {
    if volumes.len() > MAX_VOLUMES {
        return Err(Error::TooMany);
    }
    let mut by_path = BTreeMap::new();
    for volume in volumes {
        let path = clean(&volume.path).ok_or_else(|| Error::Path(volume.path.clone()))?;
        if by_path.insert(path.clone(), volume).is_some() {
            return Err(Error::Twice(path));
        }
    }
    // Paths are compared name by name, and what begins another comes before it.
    Ok(by_path.into_iter().collect())
}

/// An absolute path as it reads, without a look at any link; `None` for `/` and for what is none.
fn clean(text: &str) -> Option<PathBuf> {
    let path = Path::new(text);
    if !path.is_absolute() || text.contains('\0') {
        return None;
    }
    let mut clean = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => drop(clean.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    (clean != Path::new("/")).then_some(clean)
}

/// Makes a folder a mount of its own, which what is done to the root's does not touch.
fn set_apart(place: &Path, read_only: bool) -> std::io::Result<()> {
    rustix::mount::mount_bind_recursive(place, place)?;
    if read_only {
        rustix::mount::mount_remount(place, MountFlags::BIND.union(MountFlags::RDONLY), c"")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn volume(path: &str) -> Volume {
        Volume {
            path: path.into(),
            source: VolumeSource::Folder,
            read_only: false,
        }
    }

    #[test]
    fn the_outer_comes_before_the_inner() {
        let volumes = ["/srv/a/b", "/srv/a-b", "/srv/./a/", "/x/../srv"].map(volume);
        let order = order(&volumes).unwrap();
        let paths: Vec<&Path> = order.iter().map(|(path, _)| path.as_path()).collect();
        assert_eq!(paths, ["/srv", "/srv/a", "/srv/a/b", "/srv/a-b"].map(Path::new));
    }

    #[test]
    fn what_is_no_place_is_refused() {
        for path in ["", "/", "data", "/..", "/a/../..", "/a\0b"] {
            assert!(matches!(order(&[volume(path)]), Err(Error::Path(_))), "{path:?}");
        }
        assert!(matches!(
            order(&[volume("/a/b"), volume("/a/./b/")]),
            Err(Error::Twice(_))
        ));
        let many: Vec<Volume> = (0..=MAX_VOLUMES).map(|n| volume(&format!("/{n}"))).collect();
        assert!(matches!(order(&many), Err(Error::TooMany)));
    }

    proptest! {
        #[test]
        fn every_folder_precedes_what_it_holds(paths in prop::collection::btree_set("(/[ab.-]{1,2}){1,4}", 0..10)) {
            let volumes: Vec<Volume> = paths.iter().map(|path| volume(path)).collect();
            if let Ok(order) = order(&volumes) {
                for (index, (outer, _)) in order.iter().enumerate() {
                    prop_assert!(!order.iter().take(index).any(|(before, _)| before.starts_with(outer)));
                }
            }
        }
    }
}

//! Files of the image, read and written by root while nobody watches.
//!
//! The invariant: an image is foreign. Reading never hangs (on a FIFO or a terminal put where a file belongs) and never takes
//! more than its limit; writing replaces a name with a new regular file, and never follows what stood there before.

use std::ffi::OsString;
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

/// The content of a regular file of at most `limit` bytes, symbolic links followed.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let content = read_start(path, limit.saturating_add(1))?;
    if content.len() as u64 > limit {
        return Err(Error::new(ErrorKind::FileTooLarge, format!("over {limit} bytes")));
    }
    Ok(content)
}

/// The first `length` bytes of a regular file, or all if it has fewer, symbolic links followed.
pub(crate) fn read_start(path: &Path, length: u64) -> Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&file)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Error::new(ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut content = Vec::new();
    std::fs::File::from(file).take(length).read_to_end(&mut content)?;
    Ok(content)
}

/// Puts a regular file with `content` at `path`, whatever was there before (but a folder). The old file, or symbolic link, is
/// there until the new one is complete.
pub(crate) fn replace(path: &Path, content: &[u8], mode: Mode) -> Result<()> {
    let fresh = beside(path).ok_or(ErrorKind::InvalidFilename)?;
    match rustix::fs::unlink(&fresh) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(e) => return Err(e.into()),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::open(&fresh, flags, mode)?;
    let put = std::fs::File::from(file)
        .write_all(content)
        .and_then(|()| Ok(rustix::fs::rename(&fresh, path)?));
    if put.is_err() {
        // The error that counts is the one before.
        let _ = rustix::fs::unlink(&fresh);
    }
    put
}

/// Gives a regular file, which may well be seen half written meanwhile, that content.
fn rewrite(path: &Path, content: &[u8]) -> Result<()> {
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty())?;
    if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) != FileType::RegularFile {
        return Err(Error::new(ErrorKind::InvalidInput, "not a regular file"));
    }
    rustix::fs::ftruncate(&file, 0)?;
    std::fs::File::from(file).write_all(content)
}

/// Where the files are that cover those of a read-only root.
const COVERS: &str = "/run/powerunit";

/// As [`replace`]; where something is mounted on the file, it is written to. Where the root is read-only, the new file is
/// mounted over the old one.
pub(crate) fn replace_or_cover(path: &Path, content: &[u8], mode: Mode) -> Result<()> {
    match replace(path, content, mode) {
        Err(e) if e.kind() == ErrorKind::ResourceBusy => rewrite(path, content),
        Err(e) if e.kind() == ErrorKind::ReadOnlyFilesystem => {
            if rewrite(path, content).is_ok() {
                return Ok(());
            }
            make_folder(Path::new(COVERS), Mode::from_raw_mode(0o755))?;
            let cover = Path::new(COVERS).join(path.file_name().ok_or(ErrorKind::InvalidFilename)?);
            replace(&cover, content, mode)?;
            Ok(rustix::mount::mount_bind(&cover, path)?)
        }
        result => result,
    }
}

/// The name under which a new version of `path` is written.
fn beside(path: &Path) -> Option<PathBuf> {
    let mut name = OsString::from(".");
    name.push(path.file_name()?);
    name.push(".powerunit");
    Some(path.with_file_name(name))
}

/// The most links on the way to one file; the kernel's own limit (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// Where `path` leads below `root`: links are followed and `..` climbs as if `root` were `/`, so that nothing leads out. What
/// is not there is taken as it is named.
pub(crate) fn within(root: &Path, path: &Path) -> Result<PathBuf> {
    let (mut found, mut links) = (PathBuf::new(), 0);
    let mut left = names(path);
    while let Some(name) = left.pop() {
        if name == ".." {
            found.pop();
            continue;
        }
        let Ok(target) = rustix::fs::readlink(root.join(&found).join(&name), Vec::new()) else {
            found.push(name);
            continue;
        };
        links += 1;
        if links > MAX_LINKS {
            return Err(Errno::LOOP.into());
        }
        let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
        if target.is_absolute() {
            found.clear();
        }
        left.extend(names(&target));
    }
    Ok(root.join(found))
}

/// The names in a path, the last one first.
fn names(path: &Path) -> Vec<OsString> {
    let named = |part| matches!(part, Component::Normal(_) | Component::ParentDir).then_some(part);
    let names = path.components().filter_map(named);
    names.rev().map(|part| part.as_os_str().to_owned()).collect()
}

/// Makes the folder `path` with that mode, its parents (0755) too, also where a link leads into nowhere. Says whether it was
/// made.
pub(crate) fn make_folder(path: &Path, mode: Mode) -> Result<bool> {
    match rustix::fs::mkdir(path, mode) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) if path.is_dir() => Ok(false),
        Err(Errno::EXIST) if path.is_symlink() => {
            let real = within(Path::new("/"), path)?;
            // What is there is no folder, or it would have been found above.
            if real.is_symlink() || real.exists() {
                return Err(Errno::NOTDIR.into());
            }
            make_folder(&real, mode)
        }
        Err(Errno::NOENT) => {
            let parent = path.parent().ok_or(ErrorKind::NotFound)?;
            make_folder(parent, Mode::from_raw_mode(0o755))?;
            Ok(rustix::fs::mkdir(path, mode).map(|()| true)?)
        }
        Err(e) => Err(e.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_fifo_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("passwd");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert_eq!(read(&fifo, 10).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert!(read(folder.path(), 10).is_err());
    }

    #[test]
    fn a_file_is_read_up_to_its_limit_and_not_beyond() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("hosts");
        std::fs::write(&file, "12345").unwrap();
        assert_eq!(read(&file, 5).unwrap(), b"12345");
        assert_eq!(read(&file, 4).unwrap_err().kind(), ErrorKind::FileTooLarge);
    }

    #[test]
    fn a_link_is_replaced_and_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (victim, link) = (folder.path().join("victim"), folder.path().join("resolv.conf"));
        std::fs::write(&victim, "precious").unwrap();
        for target in [victim.as_path(), Path::new("/nowhere/at/all")] {
            let _ = std::fs::remove_file(&link);
            symlink(target, &link).unwrap();
            replace(&link, b"new", Mode::from_raw_mode(0o644)).unwrap();
            assert!(!link.is_symlink());
            assert_eq!(std::fs::read(&link).unwrap(), b"new");
        }
        assert_eq!(std::fs::read(&victim).unwrap(), b"precious");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_leftover_of_an_interrupted_write_is_no_obstacle() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("hosts");
        symlink("/etc/passwd", folder.path().join(".hosts.powerunit")).unwrap();
        replace(&file, b"new", Mode::from_raw_mode(0o644)).unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"new");
    }

    #[test]
    fn folders_are_made_with_their_parents() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a/b/c");
        assert!(make_folder(&deep, Mode::from_raw_mode(0o700)).unwrap());
        assert!(!make_folder(&deep, Mode::from_raw_mode(0o700)).unwrap());
        std::fs::write(folder.path().join("file"), "").unwrap();
        assert!(make_folder(&folder.path().join("file"), Mode::empty()).is_err());
    }

    #[test]
    fn a_link_into_nowhere_becomes_a_way_to_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let [run, wrong, ring] = ["run", "wrong", "ring"].map(|name| folder.path().join(name));
        symlink("var/run", &run).unwrap();
        assert!(make_folder(&run, Mode::from_raw_mode(0o755)).unwrap());
        assert!(folder.path().join("var/run").is_dir() && run.is_symlink());
        std::fs::write(folder.path().join("file"), "").unwrap();
        symlink("file", &wrong).unwrap();
        symlink("ring", &ring).unwrap();
        assert!(make_folder(&wrong, Mode::empty()).is_err());
        assert!(make_folder(&ring, Mode::empty()).is_err());
    }

    #[test]
    fn nothing_leads_out_of_a_root() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        std::fs::create_dir(root.join("etc")).unwrap();
        symlink("/etc", root.join("absolute")).unwrap();
        symlink("../../../..", root.join("etc/up")).unwrap();
        symlink("/absolute/new", root.join("chain")).unwrap();
        symlink("b", root.join("a")).unwrap();
        symlink("a", root.join("b")).unwrap();
        let leads = |path: &str| within(root, Path::new(path)).unwrap();
        for (path, place) in [
            ("/", ""),
            ("/../../x", "x"),
            ("/absolute/passwd", "etc/passwd"),
            ("/etc/up/etc/up/x", "x"),
            ("chain/x", "etc/new/x"),
            ("/none/../there/./x", "there/x"),
        ] {
            assert_eq!(leads(path), root.join(place), "{path}");
        }
        assert_eq!(
            within(root, Path::new("/a")).unwrap_err().raw_os_error(),
            Some(libc::ELOOP)
        );
    }
}

//! The disks that the host attached, by the names the kernel gives them.

use std::path::{Path, PathBuf};

use super::uevent;

/// Why there is no such disk.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("`{0}` is no name of a disk: lower-case letters and digits are expected, such as `vda`")]
    Name(String),
    #[error("no disk {name} appeared within {} s; the kernel has {present}", uevent::PATIENCE.as_secs())]
    Absent { name: String, present: String },
}

/// The device's path in /dev.
pub(super) fn find(name: &str) -> Result<PathBuf, Error> {
    let path = path(name)?;
    if path.exists() {
        return Ok(path);
    }
    Err(Error::Absent {
        name: name.into(),
        present: present(Path::new("/sys/class/block")),
    })
}

/// Whether it need not be waited for: it is there, or its name is none.
pub(super) fn is_settled(name: &str) -> bool {
    path(name).map_or(true, |path| path.exists())
}

fn path(name: &str) -> Result<PathBuf, Error> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    if name.is_empty() || name.len() > 31 || !name.bytes().all(plain) {
        return Err(Error::Name(name.into()));
    }
    Ok(Path::new("/dev").join(name))
}

/// The names of a class of devices in sysfs, for a person to read.
pub(super) fn present(class: &Path) -> String {
    let entries = std::fs::read_dir(class).into_iter().flatten().flatten().take(64);
    let mut names: Vec<_> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    if names.is_empty() {
        "none".into()
    } else {
        names.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_never_leaves_dev() {
        assert_eq!(path("vda").unwrap(), PathBuf::from("/dev/vda"));
        for name in ["", "../sda", "mapper/root", "vda\n", "VDA", &"a".repeat(32)] {
            assert!(matches!(path(name), Err(Error::Name(_))), "{name:?}");
        }
    }

    #[test]
    fn only_a_device_that_can_still_come_is_waited_for() {
        assert_eq!(find("null").unwrap(), PathBuf::from("/dev/null"));
        assert!(is_settled("null") && is_settled("../x") && !is_settled("vdzz"));
        assert!(matches!(find("vdzz"), Err(Error::Absent { .. })));
    }

    #[test]
    fn what_is_there_is_listed() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(present(folder.path()), "none");
        std::fs::write(folder.path().join("vdb"), "").unwrap();
        std::fs::write(folder.path().join("vda"), "").unwrap();
        assert_eq!(present(folder.path()), "vda, vdb");
    }
}

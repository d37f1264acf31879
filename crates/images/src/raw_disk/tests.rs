use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::process::Command;

use testkit::{LoopDevice, skip};

use super::*;
use crate::Task;
use crate::overlay::{MIN_SIZE, create_overlay};

fn sample(folder: &Path) -> PathBuf {
    let path = folder.join("disk.ext4");
    create_overlay(&folder.join("data"), &path, MIN_SIZE, &Task::new()).unwrap();
    path
}

#[test]
fn a_file_system_is_used_by_whatever_path() {
    let folder = tempfile::tempdir().unwrap();
    let path = sample(folder.path());
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert_eq!(check(&link, false).unwrap(), path.canonicalize().unwrap());
    assert_eq!(Identity::of(&link), Identity::of(&path));
    assert_eq!(Identity::of(&folder.path().join("no")), []);
}

#[test]
fn what_is_no_root_file_system_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    let file = File::create_new(&path).unwrap();
    assert!(matches!(
        check(folder.path(), false),
        Err(RawDiskError::NoDisk { .. })
    ));
    assert!(matches!(
        check(Path::new("/dev/zero"), false),
        Err(RawDiskError::NoDisk { .. })
    ));
    assert!(
        matches!(check(&folder.path().join("no"), false), Err(RawDiskError::Read(error)) if error.is_absence())
    );
    assert!(matches!(check(&path, false), Err(RawDiskError::Empty { .. })));
    file.set_len(MIN_SIZE).unwrap();
    let error = check(&path, false).unwrap_err();
    assert!(error.to_string().contains("mkfs.ext4"), "{error}");
    file.write_all_at(b"EFI PART", 512).unwrap();
    let error = check(&path, false).unwrap_err();
    assert!(error.to_string().contains("partition"), "{error}");
    file.write_all_at(b"XFSB", 0).unwrap();
    file.write_all_at(&[0; 8], 512).unwrap();
    assert!(matches!(
        check(&path, false),
        Err(RawDiskError::Other {
            what: Contents::Xfs,
            ..
        })
    ));
}

#[test]
fn a_journal_is_not_recovered_by_who_only_reads() {
    let folder = tempfile::tempdir().unwrap();
    let path = sample(folder.path());
    let file = File::options().read(true).write(true).open(&path).unwrap();
    let mut incompatible = [0];
    file.read_exact_at(&mut incompatible, 1024 + 0x60).unwrap();
    file.write_all_at(&[incompatible[0] | 4], 1024 + 0x60).unwrap();
    check(&path, false).unwrap();
    assert!(matches!(
        check(&path, true),
        Err(RawDiskError::Unrecovered { .. })
    ));
    file.set_len(MIN_SIZE - 4096).unwrap();
    assert!(matches!(check(&path, false), Err(RawDiskError::CutOff { .. })));
}

#[test]
fn one_writes_or_many_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = sample(folder.path());
    let one = claim(&path, true).unwrap().unwrap();
    let other = claim(&path, true).unwrap().unwrap();
    assert!(claim(&path, false).unwrap().is_none());
    drop((one, other));
    let writer = claim(&path, false).unwrap().unwrap();
    assert!(claim(&path, true).unwrap().is_none());
    drop(writer);
    claim(&path, false).unwrap().unwrap();
}

#[test]
fn a_device_is_one_by_all_its_names() {
    let folder = tempfile::tempdir().unwrap();
    let path = sample(folder.path());
    let Some(device) = LoopDevice::over(&path) else {
        return skip("a_device_is_one_by_all_its_names", "loop device");
    };
    check(device.path(), false).unwrap();
    // What is below a loop device is the same disk, and nobody else's while the device is there.
    assert!(Identity::of(device.path()).contains(&Identity::of(&path)[0]));
    let error = check(&path, false).unwrap_err();
    assert!(
        error.to_string().contains(device.path().to_str().unwrap()),
        "{error}"
    );
    let node = folder.path().join("node");
    let number = fs::metadata(device.path()).unwrap().rdev();
    let made = rustix::fs::mknodat(
        rustix::fs::CWD,
        &node,
        rustix::fs::FileType::BlockDevice,
        rustix::fs::Mode::RUSR,
        number,
    );
    made.unwrap();
    let claimed = claim(device.path(), false).unwrap().unwrap();
    if let Ok(other) = claim(&node, false) {
        assert!(other.is_none());
        assert!(matches!(check(&node, false), Err(RawDiskError::InUse { .. })));
    }
    drop(claimed);
}

#[test]
fn a_device_that_the_host_has_mounted_is_refused_with_the_folder() {
    const NAME: &str = "a_device_that_the_host_has_mounted_is_refused_with_the_folder";
    let folder = tempfile::tempdir().unwrap();
    let path = sample(folder.path());
    let Some(device) = LoopDevice::over(&path) else {
        return skip(NAME, "loop device");
    };
    let mounted = folder.path().join("mounted");
    fs::create_dir(&mounted).unwrap();
    let done = Command::new("mount")
        .args([device.path(), &mounted])
        .status()
        .unwrap();
    if !done.success() {
        return skip(NAME, "file system that can be mounted");
    }
    let (refused, claimed) = (check(device.path(), true), claim(device.path(), false));
    let done = Command::new("umount").arg(&mounted).status().unwrap();
    assert!(done.success());
    let error = refused.unwrap_err().to_string();
    assert!(
        error.contains(&format!("is mounted at {}", mounted.display())),
        "{error}"
    );
    assert!(claimed.unwrap().is_none());
}

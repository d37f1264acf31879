//! What on this host uses a block device, for the text that says so. The invariant: told from what the kernel says of
//! mounts, swap and devices; what it does not say is not guessed.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{major, minor};

/// A sentence without its full stop.
pub(super) fn of(number: u64) -> String {
    let devices = with_partitions(number);
    let known = devices.iter().find_map(|device| {
        let name = name(device);
        mount(device)
            .map(|folder| format!("{name} is mounted at {folder}"))
            .or_else(|| swapped(|path| is_device(path, device)).map(|_| format!("the host swaps to {name}")))
            .or_else(|| above(device).map(|above| format!("{name} is a part of {above}")))
    });
    known.unwrap_or_else(|| super::OTHERS.to_owned())
}

/// That the host swaps to the file, if it does.
pub(super) fn swap(file: &Path) -> Option<String> {
    swapped(|path| path == file).map(|path| format!("the host swaps to {}", path.display()))
}

/// The file below a loop device.
pub(super) fn backing_file(number: u64) -> Option<PathBuf> {
    let text = fs::read_to_string(sysfs(&text(number)).join("loop/backing_file")).ok()?;
    Some(text.trim_end_matches('\n').into())
}

/// `MAJOR:MINOR` of the device and of its partitions.
fn with_partitions(number: u64) -> Vec<String> {
    let own = text(number);
    let inside = fs::read_dir(sysfs(&own)).into_iter().flatten().flatten();
    let partitions = inside.filter_map(|entry| {
        let folder = entry.path();
        folder.join("partition").exists().then_some(())?;
        let number = fs::read_to_string(folder.join("dev")).ok()?;
        Some(number.trim().to_owned())
    });
    std::iter::once(own.clone()).chain(partitions).collect()
}

fn text(number: u64) -> String {
    format!("{}:{}", major(number), minor(number))
}

fn sysfs(device: &str) -> PathBuf {
    Path::new("/sys/dev/block").join(device)
}

fn name(device: &str) -> String {
    let folder = fs::canonicalize(sysfs(device)).ok();
    let name = folder.as_deref().and_then(Path::file_name);
    name.map_or_else(
        || format!("the device {device}"),
        |name| format!("/dev/{}", name.display()),
    )
}

/// Where it is mounted, as this process sees it (proc(5): the third and fifth word of a line of mountinfo).
fn mount(device: &str) -> Option<String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    mounts.lines().find_map(|line| {
        let mut words = line.split(' ').skip(2);
        (words.next() == Some(device)).then(|| words.nth(1).map(str::to_owned))?
    })
}

/// The first swap space that `is` (proc(5): the first word of a line, blanks as `\040`).
fn swapped(is: impl Fn(&Path) -> bool) -> Option<PathBuf> {
    let swaps = fs::read_to_string("/proc/swaps").ok()?;
    let words = swaps
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().next());
    words
        .map(|word| PathBuf::from(word.replace("\\040", " ")))
        .find(|path| is(path))
}

fn is_device(path: &Path, device: &str) -> bool {
    path.metadata()
        .is_ok_and(|metadata| metadata.file_type().is_block_device() && text(metadata.rdev()) == device)
}

/// A device that is made of it: LVM, RAID, encryption.
fn above(device: &str) -> Option<String> {
    let mut holders = fs::read_dir(sysfs(device).join("holders")).ok()?.flatten();
    Some(format!("/dev/{}", holders.next()?.file_name().display()))
}

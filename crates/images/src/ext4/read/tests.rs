//! Images of mke2fs read back, and what damage does. What our own writer makes is read in tests/convert.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::Path;
use std::process::Command;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

/// A small image that mke2fs fills from a folder; every `options` is a file system of another form.
fn image(root: &Path, options: &[&str]) -> File {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image");
    File::create(&path).unwrap().set_len(8 << 20).unwrap();
    let output = Command::new("/usr/sbin/mke2fs")
        .args(["-q", "-F", "-t", "ext4", "-E", "no_copy_xattrs", "-d"])
        .arg(root)
        .args(options)
        .arg(&path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{options:?}: {said}");
    File::options().read(true).write(true).open(&path).unwrap()
}

fn tree() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    fs::create_dir_all(root.join("folder/below")).unwrap();
    for number in 0..300 {
        fs::write(root.join(format!("folder/of-a-long-name-{number:04}")), "x").unwrap();
    }
    symlink("short", root.join("short-link")).unwrap();
    symlink("l".repeat(200), root.join("long-link")).unwrap();
    fs::write(root.join("tiny"), "in the inode").unwrap();
    let sparse = File::create(root.join("sparse")).unwrap();
    for piece in 0..400u64 {
        sparse.write_all_at(&[1; 1024], piece * (8 << 10)).unwrap();
    }
    // With inline_data, mke2fs 1.47.0 forgets a hole at the end.
    sparse.write_all_at(b"end", 5_000_000).unwrap();
    folder
}

/// Compares a folder in an image with one of the host.
fn compare(filesystem: &Filesystem<'_, File>, inode: &Inode, place: &Path) {
    let mut entries = filesystem.directory(inode).unwrap();
    entries.retain(|entry| entry.name != b"lost+found");
    let mut there: Vec<_> = fs::read_dir(place)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    there.sort();
    assert_eq!(entries.len(), there.len());
    for (entry, name) in entries.iter().zip(there) {
        assert_eq!(entry.name, name.as_encoded_bytes());
        let (inode, place) = (filesystem.inode(entry.inode).unwrap(), place.join(name));
        let metadata = place.symlink_metadata().unwrap();
        assert_eq!(u32::from(inode.mode), metadata.mode() & 0o7777);
        assert_eq!((inode.uid, inode.gid), (metadata.uid(), metadata.gid()));
        assert_eq!(inode.mtime.seconds, metadata.mtime());
        match inode.kind {
            Kind::Directory => compare(filesystem, &inode, &place),
            Kind::Symlink => {
                let target = fs::read_link(&place).unwrap();
                assert_eq!(
                    filesystem.target(&inode).unwrap(),
                    target.as_os_str().as_encoded_bytes()
                );
            }
            Kind::File => {
                let mut data = Vec::new();
                filesystem
                    .contents(&inode)
                    .unwrap()
                    .read_to_end(&mut data)
                    .unwrap();
                assert!(data == fs::read(&place).unwrap(), "{}", place.display());
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn every_form_of_mke2fs_is_read() {
    let tree = tree();
    for options in [
        &[][..],
        &["-b", "1024", "-O", "^64bit,^metadata_csum"],
        &["-b", "2048", "-I", "128", "-O", "^flex_bg,^extra_isize"],
        &["-b", "4096", "-I", "1024", "-O", "inline_data"],
        &[
            "-b",
            "4096",
            "-O",
            "^has_journal,metadata_csum_seed,large_dir,ea_inode",
        ],
    ] {
        let image = image(tree.path(), options);
        let filesystem = Filesystem::open(&image).unwrap();
        let root = filesystem.inode(InodeNumber::ROOT).unwrap();
        compare(&filesystem, &root, tree.path());
        let found = filesystem.look_up(b"/folder/below/").unwrap().unwrap();
        assert_eq!(found.kind, Kind::Directory);
        assert!(filesystem.look_up(b"folder/none").unwrap().is_none());
        assert!(filesystem.look_up(b"tiny/none").unwrap().is_none());
    }
}

#[test]
fn a_deep_tree_of_extents_is_read() {
    let tree = tree();
    let image = image(tree.path(), &["-b", "1024"]);
    let filesystem = Filesystem::open(&image).unwrap();
    let sparse = filesystem.look_up(b"sparse").unwrap().unwrap();
    // So many pieces are more than the four of an inode, and the 84 of a block of 1 KiB.
    assert_eq!(filesystem.extents(&sparse).unwrap().len(), 401);
}

#[test]
fn a_disk_that_was_not_unmounted_is_refused_until_its_journal_is_replayed() {
    let tree = tree();
    let image = image(tree.path(), &["-b", "4096", "-O", "^metadata_csum"]);
    // Says that there is something to recover, which a kernel does as long as it is mounted.
    let mut features = [0; 4];
    FileExt::read_exact_at(&image, &mut features, 1024 + 0x60).unwrap();
    features[0] |= 4;
    image.write_all_at(&features, 1024 + 0x60).unwrap();
    assert!(matches!(Filesystem::open(&image), Err(ReadError::Journal)));
    let path = format!("/proc/{}/fd/{}", std::process::id(), image.as_raw_fd());
    replay_journal(Path::new(&path)).unwrap();
    let filesystem = Filesystem::open(&image).unwrap();
    let root = filesystem.inode(InodeNumber::ROOT).unwrap();
    compare(&filesystem, &root, tree.path());
}

#[test]
fn what_is_no_file_system_is_refused() {
    assert!(matches!(
        Filesystem::open(&[0; 4096][..]),
        Err(ReadError::Superblock(_))
    ));
    assert!(matches!(Filesystem::open(&[0; 1500][..]), Err(ReadError::Io(_))));
}

/// Reads all that there is to read, as far as it goes; folders no more than once, as who reads hostile images must.
fn read_all(bytes: &[u8]) {
    let Ok(filesystem) = Filesystem::open(bytes) else {
        return;
    };
    let (mut seen, mut pending) = (std::collections::HashSet::new(), vec![InodeNumber::ROOT]);
    while let Some(number) = pending.pop() {
        let Ok(inode) = filesystem.inode(number) else {
            continue;
        };
        if !seen.insert(number) || seen.len() > 500 {
            continue;
        }
        let _ = (
            filesystem.xattrs(&inode),
            filesystem.target(&inode),
            filesystem.extents(&inode),
        );
        if let Ok(contents) = filesystem.contents(&inode) {
            let _ = contents.take(1 << 20).read_to_end(&mut Vec::new());
        }
        if let Ok(entries) = filesystem.directory(&inode) {
            pending.extend(entries.into_iter().map(|entry| entry.inode));
        }
    }
}

fn sample() -> &'static [u8] {
    static SAMPLE: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    SAMPLE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("folder")).unwrap();
        fs::write(folder.path().join("folder/file"), "x").unwrap();
        symlink("l".repeat(70), folder.path().join("link")).unwrap();
        let options = [
            "-b",
            "1024",
            "-I",
            "256",
            "-N",
            "32",
            "-O",
            "^has_journal,^resize_inode,inline_data",
        ];
        let mut bytes = Vec::new();
        image(folder.path(), &options)
            .take(200 << 10)
            .read_to_end(&mut bytes)
            .unwrap();
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn a_damaged_image_is_read_without_a_panic(
        flips in proptest::collection::vec((0usize..60 << 10, any::<u8>()), 1..40),
    ) {
        let mut bytes = sample().to_vec();
        for (at, byte) in flips {
            bytes[at] = byte;
        }
        read_all(&bytes);
    }
}

//! Archives that GNU tar made.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::Path;
use std::process::Command;

use super::*;

fn tar(folder: &Path, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("tar")
        .args(["--create", "--file=-", "--sort=name", "--directory"])
        .arg(folder)
        .args(arguments)
        .arg(".")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

#[test]
fn every_form_gives_the_same_tree() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let deep = format!("{}/{}", "d".repeat(90), "e".repeat(60));
    fs::create_dir_all(root.join(&deep)).unwrap();
    fs::write(root.join("plain"), "text").unwrap();
    fs::hard_link(root.join("plain"), root.join("zz-hard")).unwrap();
    symlink("plain", root.join("soft")).unwrap();
    let sparse = File::create(root.join("sparse")).unwrap();
    for piece in 0..40u64 {
        sparse.write_all_at(&[b'x'; 4096], piece * (256 << 10)).unwrap();
    }
    sparse.set_len(12 << 20).unwrap();
    let long = long_name(&deep);
    fs::write(root.join(&long), [7; 1000]).unwrap();

    for options in [
        &["--format=v7", "--exclude=ddd*"][..],
        &["--format=ustar"],
        &["--format=oldgnu", "--sparse"],
        &["--format=gnu", "--sparse"],
        &["--format=pax", "--sparse", "--sparse-version=0.0"],
        &["--format=pax", "--sparse", "--sparse-version=0.1"],
        &["--format=pax", "--sparse", "--sparse-version=1.0"],
        &[
            "--format=pax",
            "--pax-option=globexthdr.name=g,comment=made,delete=atime",
        ],
        &["--format=gnu", "--label=name"],
    ] {
        let entries = read_all(&tar(root, options)).unwrap();
        for (entry, content) in &entries {
            let name = std::str::from_utf8(&entry.path).unwrap();
            let path = root.join(name.trim_end_matches('/'));
            let metadata = path.symlink_metadata().unwrap();
            assert_eq!(entry.mtime.seconds, metadata.mtime(), "{options:?} {name}");
            assert_eq!(
                (entry.uid, entry.gid),
                (metadata.uid(), metadata.gid()),
                "{options:?} {name}"
            );
            if options[0] == "--format=pax" {
                assert_eq!(
                    i64::from(entry.mtime.nanoseconds),
                    metadata.mtime_nsec(),
                    "{options:?} {name}"
                );
            }
            match &entry.kind {
                Kind::File { size } => {
                    assert_eq!(*size, metadata.len(), "{options:?} {name}");
                    assert!(*content == fs::read(&path).unwrap(), "{options:?} {name}");
                    assert_eq!(u32::from(entry.mode), metadata.mode() & 0o7777);
                }
                Kind::Directory => assert!(metadata.is_dir()),
                Kind::Symlink { target } => assert_eq!(target, b"plain"),
                Kind::HardLink { target, size } => {
                    assert_eq!((target.as_slice(), *size), (&b"./plain"[..], 0));
                }
                other => panic!("{other:?}"),
            }
        }
        let expected = if options[0].ends_with("v7") { 5 } else { 8 };
        assert_eq!(entries.len(), expected, "{options:?}");
    }
}

/// A name that ustar can still hold: 100 bytes behind a prefix of 155.
fn long_name(deep: &str) -> String {
    let parent = deep.split('/').next().unwrap();
    format!("{parent}/{}", "n".repeat(100))
}

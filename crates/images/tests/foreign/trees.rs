//! Plain root file systems: tars and folders.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use images::import::ImportError;
use images::layer::{self, Expected, Layer};
use images::store::{Image, Store};
use images::tar::{self, Entry, Kind, Reader};

use crate::sample::{Sample, run};

/// What is in the only layer of an image, with the files' bytes.
fn entries(store: &Store, image: &Image) -> BTreeMap<String, (Entry, Vec<u8>)> {
    let blob = store.open_blob(&image.manifest.layers[0]).unwrap();
    let layer = Layer::open(blob, Expected::default(), &layer::Limits::default()).unwrap();
    let mut reader = Reader::new(layer, &tar::Limits::default());
    let mut entries = BTreeMap::new();
    while let Some(entry) = reader.next().unwrap() {
        let mut bytes = Vec::new();
        while let Some((_, data)) = reader.data().unwrap() {
            bytes.extend_from_slice(data);
        }
        let name = String::from_utf8_lossy(&entry.path).into_owned();
        entries.insert(name, (entry, bytes));
    }
    entries
}

fn tree(root: &Path) {
    fs::create_dir_all(root.join("bin")).unwrap();
    fs::write(root.join("bin/sh"), "shell").unwrap();
    fs::hard_link(root.join("bin/sh"), root.join("bin/bash")).unwrap();
    symlink("../bin/sh", root.join("bin/link")).unwrap();
}

#[test]
fn a_tar_becomes_an_image_of_one_layer_however_it_is_packed() {
    let sample = Sample::new();
    tree(&sample.path("tree"));
    let plain = sample.text("plain");
    run("tar", ["-C", &sample.text("tree"), "-cf", &plain, "."]);
    let expected = sample.import(&plain).unwrap().image;
    assert_eq!(entries(&sample.store, &expected).len(), 5);
    assert_eq!(expected.config.platform, images::oci::Platform::host());
    assert_eq!(expected.history().len(), 1);
    for tool in ["gzip", "bzip2", "xz", "zstd"] {
        let packed = sample.path(&format!("packed-by-{tool}"));
        fs::write(
            &packed,
            Command::new(tool).args(["-c", &plain]).output().unwrap().stdout,
        )
        .unwrap();
        assert_eq!(sample.import(&packed).unwrap().image, expected, "{tool}");
    }
    // Not a byte after the end may be missing: the digest is of all of it.
    let bytes = fs::read(&plain).unwrap();
    fs::write(&plain, &bytes[..1300]).unwrap();
    assert!(matches!(sample.import(&plain), Err(ImportError::Tar(_))));
}

#[test]
fn a_folder_becomes_an_image_with_all_that_is_in_it() {
    let sample = Sample::new();
    let root = sample.path("tree");
    tree(&root);
    let long = format!("{}/{}", "d".repeat(200), "f".repeat(200));
    fs::create_dir(root.join("d".repeat(200))).unwrap();
    fs::write(root.join(&long), "long").unwrap();
    symlink("t".repeat(300), root.join("far")).unwrap();
    fs::write(root.join(".wh.gone"), "").unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
    let path = |name: &str| root.join(name).into_os_string().into_string().unwrap();
    run("mkfifo", ["-m", "0640", &path("fifo")]);
    run("setfattr", ["-n", "user.note", "-v", "text", &path("bin/sh")]);
    run("touch", ["-d", "1969-12-31T23:59:58.5Z", &path("bin/sh")]);
    run("chmod", ["4755", &path("bin/sh")]);
    let is_root = testkit::is_root();
    if is_root {
        run("mknod", [&path("null"), "c", "1", "3"]);
        run("chown", ["-h", "3000000000:70000", &path("far")]);
    }
    let imported = sample.import(&root).unwrap();
    assert_eq!(imported.notices.len(), 2, "{:?}", imported.notices);
    let entries = entries(&sample.store, &imported.image);
    let entry = |name: &str| &entries[name].0;
    assert_eq!(entry("./").kind, Kind::Directory);
    assert_eq!(entry("bin/").kind, Kind::Directory);
    let shell = entry("bin/bash");
    assert_eq!((shell.mode, shell.kind.clone()), (0o4755, Kind::File { size: 5 }));
    assert_eq!(entries["bin/bash"].1, b"shell");
    assert_eq!((shell.mtime.seconds, shell.mtime.nanoseconds), (-2, 500_000_000));
    assert!(shell.xattrs.contains(&(b"user.note".to_vec(), b"text".to_vec())));
    let target = b"bin/bash".to_vec();
    assert_eq!(entry("bin/sh").kind, Kind::HardLink { target, size: 0 });
    assert_eq!(entries[&long].1, b"long");
    assert!(matches!(&entry("far").kind, Kind::Symlink { target } if target.len() == 300));
    assert_eq!(
        (entry("fifo").kind.clone(), entry("fifo").mode),
        (Kind::Fifo, 0o640)
    );
    if is_root {
        assert_eq!(entry("null").kind, Kind::CharDevice { major: 1, minor: 3 });
        assert_eq!((entry("far").uid, entry("far").gid), (3_000_000_000, 70_000));
    }
    assert!(!entries.contains_key("socket") && !entries.contains_key(".wh.gone"));
    // The same folder is the same image.
    assert_eq!(sample.import(&root).unwrap().image, imported.image);
}

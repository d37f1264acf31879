//! A disk that is full is said to be, and nothing is left on it.

#![allow(clippy::unwrap_used, reason = "a test's helpers")]

use std::error::Error;
use std::fs::{self, File};
use std::io::{Cursor, Read, Write};
use std::path::Path;
use std::process::Command;

use images::Task;
use images::builtin::builtin_image;
use images::bundle::{KernelStore, Source};
use images::import::{Options, import};
use images::overlay::create_overlay;
use images::store::Store;

/// What the test below runs in a process of its own, where a folder is a disk of 24 MiB.
#[test]
#[ignore = "not a test by itself: the test below runs it with a small disk"]
fn everything_on_a_small_disk() {
    let small = std::env::var_os("IMAGES_TEST_SMALL").unwrap();
    let small = Path::new(&small);
    let data = small.join("data");
    let store = KernelStore::open(&data).unwrap();
    let source = Source::Installed {
        version: None,
        root: testkit::kernel_root(),
    };
    assert_full(&store.import(&source, &Task::new()).unwrap_err());
    for folder in ["names", "sources"] {
        assert_eq!(
            fs::read_dir(data.join("kernels").join(folder)).unwrap().count(),
            0
        );
    }
    assert_eq!(fs::read_dir(data.join("kernels")).unwrap().count(), 2);

    image_on_a_small_disk(&data);

    let mut filler = File::create(small.join("filler")).unwrap();
    while filler.write(&[1; 4096]).is_ok() {}
    assert_full(&builtin_image(&data, &Task::new()).unwrap_err());
    let disk = small.join("disk");
    assert_full(&create_overlay(&data, &disk, 1 << 30, &Task::new()).unwrap_err());
    assert!(!disk.exists());
    println!("all said");
}

/// A root file system of 40 MiB that nothing makes smaller.
fn image_on_a_small_disk(data: &Path) {
    const SIZE: u64 = 40 << 20;
    let store = Store::open(data).unwrap();
    let mut header = tar::Header::new_gnu();
    header.set_path("noise").unwrap();
    header.set_size(SIZE);
    header.set_mode(0o644);
    header.set_cksum();
    let noise = File::open("/dev/urandom").unwrap().take(SIZE);
    let stream = Cursor::new(*header.as_bytes())
        .chain(noise)
        .chain(Cursor::new([0; 1024]));
    let from = images::import::Source::Stream(Box::new(stream));
    let imported = import(&store, from, &Options::default(), &Task::new(), |_, _| Ok(()));
    assert_full(&imported.unwrap_err());
    for folder in ["blobs/sha256", "ingest", "rootfs"] {
        assert_eq!(
            fs::read_dir(store.path().join(folder)).unwrap().count(),
            0,
            "{folder}"
        );
    }
}

fn assert_full(error: &(dyn Error + 'static)) {
    assert!(images::is_full_disk(error), "{error:?}");
    let mut chain = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause {
        chain.push(error.to_string());
        cause = error.source();
    }
    assert!(
        chain.iter().any(|text| text.contains("its disk is full")),
        "{chain:?}"
    );
}

#[test]
fn a_full_disk_is_said_and_left_clean() {
    let folder = tempfile::tempdir().unwrap();
    let program = std::env::current_exe().unwrap();
    // A namespace of its own, so that the disk goes with the process; and a copy of the kernel's root is outside of it.
    let script = format!(
        "mount -t tmpfs -o size=24m small {small} && exec {program} --ignored --exact everything_on_a_small_disk --nocapture",
        small = folder.path().display(),
        program = program.display(),
    );
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script])
        .env("IMAGES_TEST_SMALL", folder.path())
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(output.status.success() && text.contains("all said"), "{text}");
}

//! Imports that are killed, and imports at the same time.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use images::Task;
use images::import::{Options, Source, import};
use images::store::{Store, StoreError};
use testkit::{Apart, stay};

use crate::sample::{Sample, copy};

const DATA: &str = "IMAGES_TEST_DATA";
const ARCHIVE: &str = "IMAGES_TEST_ARCHIVE";
const STOP: &str = "IMAGES_TEST_STOP";

/// A file that says when it was read so far, and then gives nothing more.
struct Stopping {
    file: File,
    left: u64,
}

impl Read for Stopping {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.left == 0 {
            stay();
        }
        let most = usize::try_from(self.left).unwrap().min(buffer.len());
        let count = self.file.read(&mut buffer[..most])?;
        self.left -= count as u64;
        Ok(count)
    }
}

/// It imports and stays where it is told to: at a byte of the archive, or when all is read and nothing entered.
#[test]
#[ignore = "not a test by itself: the test below runs it in a process of its own"]
fn import_and_stay() {
    let [data, archive] = [DATA, ARCHIVE].map(|name| PathBuf::from(std::env::var_os(name).unwrap()));
    let store = Store::open(&data).unwrap();
    let file = File::open(archive).unwrap();
    let left = std::env::var(STOP).unwrap().parse().unwrap();
    let source = Source::Stream(Box::new(Stopping { file, left }));
    import(
        &store,
        source,
        &Options::default(),
        &Task::new(),
        |adding, image| {
            adding.rootfs(image, &Task::new(), |_| -> Result<(), StoreError> { stay() })?;
            Ok(())
        },
    )
    .unwrap();
}

#[test]
fn what_a_killed_import_left_is_used_or_removed() {
    let sample = Sample::new();
    let layout = sample.layout();
    // A layer that is larger than all buffers on the way.
    let mut noise = vec![0; 8 << 20];
    File::open("/dev/urandom")
        .unwrap()
        .read_exact(&mut noise)
        .unwrap();
    let large = sample.path("large");
    fs::create_dir(&large).unwrap();
    fs::write(large.join("noise"), noise).unwrap();
    let layer = sample.text("large.tar");
    crate::sample::run("tar", ["-C", large.to_str().unwrap(), "-cf", &layer, "."]);
    crate::sample::run(
        "umoci",
        ["raw", "add-layer", "--image", &format!("{layout}:v1"), &layer],
    );
    let archive = sample.text("archive");
    copy(&format!("oci:{layout}:v1"), &format!("oci-archive:{archive}:x:1"));
    let mut file = File::open(&archive).unwrap();
    let size = file.seek(SeekFrom::End(0)).unwrap();
    for stop in [size / 3, size / 2, size - 1024, u64::MAX] {
        let (data, at) = (sample.data(), stop.to_string());
        let variables = [
            (DATA, data.as_ref()),
            (ARCHIVE, archive.as_ref()),
            (STOP, at.as_ref()),
        ];
        drop(Apart::until_it_stays("killed::import_and_stay", &variables));
        assert!(sample.store.list().unwrap().is_empty(), "{stop}");
    }
    assert!(!sample.files("blobs/sha256").is_empty() && !sample.files("rootfs").is_empty());
    let image = sample.import(&archive).unwrap().image;
    assert_eq!(sample.files("blobs/sha256").len(), image.blobs().len());
    assert!(sample.files("ingest").is_empty(), "{:?}", sample.files("ingest"));
    assert!(sample.files("rootfs").is_empty(), "{:?}", sample.files("rootfs"));
    sample.store.remove("x:1", |_| Vec::new()).unwrap();
    sample.assert_empty();
}

#[test]
fn two_imports_at_once_do_the_work_once() {
    let sample = Sample::new();
    let layout = sample.layout();
    let archive = sample.text("archive");
    copy(&format!("oci:{layout}:v1"), &format!("oci-archive:{archive}:x:1"));
    let made = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let source = Source::Path(archive.clone().into());
                import(
                    &sample.store,
                    source,
                    &Options::default(),
                    &Task::new(),
                    |adding, image| {
                        adding.rootfs(image, &Task::new(), |mut file| {
                            made.fetch_add(1, Ordering::Relaxed);
                            file.write_all(b"root").map_err(|_| StoreError::TooManyNames)
                        })?;
                        Ok(())
                    },
                )
                .unwrap();
            });
        }
    });
    assert_eq!(made.into_inner(), 1);
    let listed = sample.store.list().unwrap();
    assert_eq!((listed.len(), listed[0].image.names.len()), (1, 1));
    assert_eq!(
        (sample.files("rootfs").len(), sample.files("ingest").len()),
        (1, 0)
    );
}

//! Archives of images and tars of root file systems, all the way into a store: one that is refused leaves nothing there.

use std::io::Cursor;
use std::path::Path;
use std::sync::OnceLock;

use images::Task;
use images::import::{Options, Source, import, verify};
use images::store::Store;

/// Where nothing is written to a disk.
const MEMORY: &str = "/dev/shm";

static STORE: OnceLock<(tempfile::TempDir, Store)> = OnceLock::new();

pub(crate) fn run(bytes: &[u8]) {
    let (_, store) = STORE.get_or_init(|| {
        let folder = tempfile::tempdir_in(MEMORY).unwrap();
        let store = Store::open(folder.path()).unwrap();
        (folder, store)
    });
    let (task, mut options) = (Task::new(), Options::default());
    options.layer.total = 16 << 20;
    let source = Source::Stream(Box::new(Cursor::new(bytes.to_vec())));
    let imported = import(store, source, &options, &task, |adding, image| {
        verify(adding, image, &options.layer, &task)
    });
    if let Ok(imported) = imported {
        let digest = imported.image.digest.to_string();
        assert_eq!(store.resolve(&digest).unwrap(), imported.image);
        // Whatever it is called, it goes with the last of its names.
        for name in imported.image.names {
            store.remove(&name.to_string(), |_| Vec::new()).unwrap();
        }
        let _ = store.remove(&digest, |_| Vec::new());
    }
    for folder in ["blobs/sha256", "blobs/sha512", "ingest", "rootfs"] {
        assert_eq!(names(&store.path().join(folder)), [""; 0]);
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

//! The store with Debian's real cloud kernel, as if it were installed.

#![allow(clippy::unwrap_used, reason = "a test's helpers")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use images::bundle::{Imported, KernelStore, Source, StoreError};
use images::cpio::{Reader, kind};
use images::{Progress, Task};

fn store(folder: &Path) -> KernelStore {
    KernelStore::open(&folder.join("data")).unwrap()
}

fn debian() -> Source {
    Source::Installed {
        version: None,
        root: testkit::kernel_root(),
    }
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn the_installed_kernel_becomes_a_bundle() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let steps: Arc<Mutex<Vec<Progress>>> = Arc::default();
    let seen = Arc::clone(&steps);
    let task = Task::watched(move |progress| seen.lock().unwrap().push(progress));

    let Imported { bundle, new } = store.import(&debian(), &task).unwrap();
    assert!(new);
    let manifest = bundle.manifest();
    assert!(manifest.features.pvh, "QEMU cannot boot it");
    assert!(manifest.version.ends_with("-amd64") || manifest.version.ends_with("-arm64"));
    for name in ["ext4", "overlay", "squashfs"] {
        assert!(
            manifest.features.filesystems.iter().any(|other| other == name),
            "{name}"
        );
    }
    assert!(fs::read(bundle.vmlinux()).unwrap().starts_with(b"\x7fELF"));

    let at = |name: &str| manifest.modules.iter().position(|module| module == name);
    let in_this_order = [
        "virtio_mmio",
        "vmw_vsock_virtio_transport",
        "virtio_net",
        "virtio_blk",
        "overlay",
        "squashfs",
        "virtio_rng",
    ];
    assert!(
        in_this_order.iter().is_sorted_by_key(|name| at(name).unwrap()),
        "{:?}",
        manifest.modules
    );
    assert!(at("virtio_ring") < at("virtio") && at("virtio") < at("virtio_mmio"));

    let cpio = fs::read(bundle.folder().join("modules.cpio")).unwrap();
    let entries: Vec<_> = Reader::new(&cpio).map(Result::unwrap).collect();
    let order = entries
        .iter()
        .find(|entry| entry.name == "modules/order")
        .unwrap();
    let order = std::str::from_utf8(order.data).unwrap();
    assert_eq!(order.lines().count(), manifest.modules.len());
    for file in order.lines() {
        let entry = entries
            .iter()
            .find(|entry| entry.name == format!("modules/{file}"))
            .unwrap();
        assert!(entry.data.starts_with(b"\x7fELF"), "{file} is packed");
    }
    let console = entries.iter().find(|entry| entry.name == "dev/console").unwrap();
    assert_eq!(
        (console.mode, console.device),
        (kind::CHARACTER_DEVICE | 0o600, (5, 1))
    );
    assert!(
        steps
            .lock()
            .unwrap()
            .iter()
            .any(|progress| progress.step == "packing the modules")
    );

    let again = store.import(&debian(), &Task::new()).unwrap();
    assert!(!again.new);
    assert_eq!(again.bundle.manifest(), manifest);
    assert_eq!(
        names(&folder.path().join("data/kernels")),
        [bundle.id(), "names", "sources"].map(str::to_owned).into()
    );
}

#[test]
fn a_bundle_is_found_by_all_it_is_called() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    assert!(matches!(store.default_bundle(), Err(StoreError::Empty)));
    let bundle = store.import(&debian(), &Task::new()).unwrap().bundle;
    store.set_name(&bundle, "mine").unwrap();
    store.set_name(&bundle, "mine").unwrap();
    for what in [bundle.id(), &bundle.id()[..6], &bundle.manifest().version, "mine"] {
        assert_eq!(store.get(what).unwrap().id(), bundle.id(), "{what}");
    }
    assert_eq!(store.default_bundle().unwrap().id(), bundle.id());
    for what in ["default", "", "../x", "zzzz", &bundle.id()[..3]] {
        assert!(matches!(store.get(what), Err(StoreError::Unknown(_))), "{what}");
    }
    store.set_name(&bundle, "default").unwrap();
    assert_eq!(store.get("default").unwrap().id(), bundle.id());
    assert_eq!(store.names().unwrap().len(), 2);
    assert!(matches!(
        store.set_name(&bundle, "../x"),
        Err(StoreError::Name(_))
    ));

    store.remove(&bundle).unwrap();
    assert!(store.list().unwrap().is_empty() && store.names().unwrap().is_empty());
    assert_eq!(
        names(&folder.path().join("data/kernels")),
        ["names", "sources"].map(str::to_owned).into()
    );
}

#[test]
fn importers_at_once_make_one_bundle() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let imported: Vec<Imported> = std::thread::scope(|scope| {
        let import = || store.import(&debian(), &Task::new()).unwrap();
        let threads: Vec<_> = (0..3).map(|_| scope.spawn(import)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(imported.iter().filter(|imported| imported.new).count(), 1);
    assert_eq!(store.list().unwrap().len(), 1);
    assert_eq!(names(&folder.path().join("data/kernels")).len(), 3);
}

#[test]
fn an_import_that_is_called_off_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let handle: Arc<Mutex<Option<Task>>> = Arc::default();
    let inner = Arc::clone(&handle);
    let task = Task::watched(move |progress| {
        if progress.step == "packing the modules" {
            inner.lock().unwrap().as_ref().unwrap().cancel();
        }
    });
    *handle.lock().unwrap() = Some(task.clone());
    let error = store.import(&debian(), &task).unwrap_err();
    assert!(
        matches!(&error, StoreError::Import(error) if error.is_cancelled()),
        "{error}"
    );
    assert_eq!(
        names(&folder.path().join("data/kernels")),
        ["names", "sources"].map(str::to_owned).into()
    );
}

#[test]
fn an_initrd_is_made_once_for_each_init() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let bundle = store.import(&debian(), &Task::new()).unwrap().bundle;
    let init = folder.path().join("powerunit");
    fs::copy("/bin/busybox", &init).unwrap();

    let initrd = bundle.initrd(&init).unwrap();
    let bytes = fs::read(&initrd).unwrap();
    let entries: Vec<_> = Reader::new(&bytes).map(Result::unwrap).collect();
    let last = entries.last().unwrap();
    assert_eq!((last.name, last.mode), ("init", kind::REGULAR | 0o755));
    assert!(last.data == fs::read(&init).unwrap());
    assert!(entries.iter().any(|entry| entry.name == "modules/order"));

    let made = fs::metadata(&initrd).unwrap().modified().unwrap();
    assert_eq!(bundle.initrd(&init).unwrap(), initrd);
    assert_eq!(fs::metadata(&initrd).unwrap().modified().unwrap(), made);

    // A copy is the same init under another inode; a changed one is not.
    let copy = folder.path().join("copy");
    fs::copy(&init, &copy).unwrap();
    assert_eq!(bundle.initrd(&copy).unwrap(), initrd);
    let mut changed = fs::read(&init).unwrap();
    *changed.last_mut().unwrap() ^= 1;
    fs::write(&init, changed).unwrap();
    assert_ne!(bundle.initrd(&init).unwrap(), initrd);

    let dynamic = bundle.initrd(&std::env::current_exe().unwrap()).unwrap_err();
    assert!(dynamic.to_string().contains("linked dynamically"), "{dynamic}");
    let script = folder.path().join("script");
    fs::write(&script, "#!/bin/sh\n").unwrap();
    assert!(
        bundle
            .initrd(&script)
            .unwrap_err()
            .to_string()
            .contains("no program")
    );
}

#[test]
fn a_damaged_bundle_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let bundle = store.import(&debian(), &Task::new()).unwrap().bundle;
    fs::File::options()
        .write(true)
        .open(bundle.vmlinux())
        .unwrap()
        .set_len(1000)
        .unwrap();
    let error = store.get(bundle.id()).unwrap_err();
    assert!(error.to_string().contains("1000 bytes instead of"), "{error}");
    assert!(store.list().unwrap().is_empty());
    assert!(matches!(store.default_bundle(), Err(StoreError::Empty)));
}

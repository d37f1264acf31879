//! An import that is killed leaves nothing that the next one does not remove.

#![allow(clippy::unwrap_used, reason = "a test's helpers")]

use std::path::PathBuf;

use images::Task;
use images::bundle::{KernelStore, Source};
use testkit::{Apart, stay};

const DATA: &str = "IMAGES_TEST_DATA";
const STEP: &str = "IMAGES_TEST_STEP";

fn debian() -> Source {
    Source::Installed {
        version: None,
        root: testkit::kernel_root(),
    }
}

/// It imports, says when it comes to the step, and stays there.
#[test]
#[ignore = "not a test by itself: the test below runs it in a process of its own"]
fn import_and_stay() {
    let (data, step) = (std::env::var_os(DATA).unwrap(), std::env::var(STEP).unwrap());
    let store = KernelStore::open(&PathBuf::from(data)).unwrap();
    let task = Task::watched(move |progress| {
        if progress.step == step {
            stay();
        }
    });
    store.import(&debian(), &task).unwrap();
}

#[test]
fn what_a_killed_import_left_is_removed_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let kernels = data.join("kernels");
    let names = || {
        std::fs::read_dir(&kernels)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
    };
    for step in ["reading the kernel", "writing the kernel", "packing the modules"] {
        let variables = [(DATA, data.as_os_str()), (STEP, step.as_ref())];
        drop(Apart::until_it_stays("import_and_stay", &variables));
        assert_eq!(
            names().filter(|name| name.starts_with(".new-")).count(),
            1,
            "{step}"
        );
    }
    let store = KernelStore::open(&data).unwrap();
    assert!(store.list().unwrap().is_empty());
    let bundle = store.import(&debian(), &Task::new()).unwrap().bundle;
    let mut left: Vec<String> = names().collect();
    left.sort();
    let mut expected = [bundle.id(), "names", "sources"].map(str::to_owned);
    expected.sort();
    assert_eq!(left, expected);
}

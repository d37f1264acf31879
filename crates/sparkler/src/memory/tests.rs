//! Memory that changes between snapshots, against what it should be.

use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;

const PAGES: usize = 600;

/// A guest's memory without a guest.
struct Guest {
    memory: Memory,
    folder: tempfile::TempDir,
    // Shared memory needs no other process.
    qemu: Remote,
}

impl Guest {
    fn new() -> Self {
        Self::of(Memory::new((PAGES * PAGE) as u64).unwrap())
    }

    fn of(memory: Memory) -> Self {
        Self {
            memory,
            folder: tempfile::tempdir().unwrap(),
            qemu: Remote::open(std::process::id()).unwrap(),
        }
    }

    fn write(&self, page: usize, value: u8) {
        let at = (page * PAGE) as u64;
        self.memory.file.write_all_at(&[value; PAGE], at).unwrap();
    }

    fn save(&mut self, kind: SnapshotType, name: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        self.memory.save(kind, &path, &self.qemu).unwrap();
        path
    }

    fn now(&self) -> Vec<u8> {
        let mut bytes = vec![0; PAGES * PAGE];
        self.memory.file.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }
}

fn open(path: &Path) -> File {
    fs::OpenOptions::new().read(true).write(true).open(path).unwrap()
}

/// Copies what is no hole, as whoever merges snapshots does.
fn lay_over(base: &Path, diff: &Path) {
    let base = open(base);
    let size = (PAGES * PAGE) as u64;
    each_data(&open(diff), size, |at, bytes| base.write_all_at(bytes, at)).unwrap();
}

fn data_bytes(path: &Path) -> u64 {
    let mut sum = 0;
    each_data(&open(path), (PAGES * PAGE) as u64, |_, bytes| {
        sum += bytes.len() as u64;
        Ok(())
    })
    .unwrap();
    sum
}

#[test]
fn zeros_are_holes_in_a_full_snapshot_and_data_in_a_diff() {
    let mut guest = Guest::new();
    guest.write(3, 7);
    guest.write(5, 7);
    guest.write(5, 0);
    let full = guest.save(SnapshotType::Full, "full");
    assert!(fs::read(&full).unwrap() == guest.now());
    assert_eq!(data_bytes(&full), PAGE as u64);
    guest.write(3, 0);
    let diff = guest.save(SnapshotType::Diff, "diff");
    assert_eq!(data_bytes(&diff), PAGE as u64);
    lay_over(&full, &diff);
    assert!(fs::read(&full).unwrap() == guest.now());
}

#[test]
fn an_old_file_is_written_over_whole() {
    let mut guest = Guest::new();
    let path = guest.folder.path().join("full");
    for size in [PAGES * PAGE, 5, PAGES * PAGE + 1] {
        fs::write(&path, vec![0xaa; size]).unwrap();
        guest.write(size % PAGES, 1);
        guest.save(SnapshotType::Full, "full");
        assert!(fs::read(&path).unwrap() == guest.now());
    }
}

#[test]
fn a_base_that_was_changed_is_not_trusted() {
    let mut guest = Guest::new();
    guest.write(1, 1);
    guest.write(2, 2);
    let full = guest.save(SnapshotType::Full, "full");
    open(&full).write_all_at(&[9; PAGE], 2 * PAGE as u64).unwrap();
    let diff = guest.save(SnapshotType::Diff, "diff");
    lay_over(&full, &diff);
    assert!(fs::read(&full).unwrap() == guest.now());
}

#[test]
fn a_base_that_is_called_otherwise_since_is_the_base() {
    let mut guest = Guest::new();
    guest.write(1, 1);
    guest.write(2, 2);
    let full = guest.save(SnapshotType::Full, "full");
    let kept = guest.folder.path().join("kept");
    fs::rename(&full, &kept).unwrap();
    fs::hard_link(&kept, &full).unwrap();
    guest.write(2, 3);
    let diff = guest.save(SnapshotType::Diff, "diff");
    assert_eq!(data_bytes(&diff), PAGE as u64);
    lay_over(&kept, &diff);
    assert!(fs::read(&kept).unwrap() == guest.now());
}

#[test]
fn a_file_of_another_size_is_no_memory() {
    let file = tempfile::tempfile().unwrap();
    file.set_len(PAGE as u64).unwrap();
    assert!(Memory::private(file.try_clone().unwrap(), PAGE as u64 * 2).is_err());
    assert!(Memory::copy(file, PAGE as u64 / 2).is_err());
}

#[test]
fn a_copy_knows_what_it_is_a_copy_of() {
    let mut guest = Guest::new();
    guest.write(1, 1);
    let full = guest.save(SnapshotType::Full, "full");
    let mut copy = Guest::of(Memory::copy(open(&full), (PAGES * PAGE) as u64).unwrap());
    assert!(copy.now() == guest.now());
    copy.write(9, 9);
    let diff = copy.save(SnapshotType::Diff, "diff");
    assert_eq!(data_bytes(&diff), PAGE as u64);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn diffs_in_their_order_give_the_memory_at_the_last(
        rounds in prop::collection::vec((prop::collection::vec((0..PAGES, 0..3u8), 0..40), any::<bool>()), 1..6),
    ) {
        let mut guest = Guest::new();
        let base = guest.save(SnapshotType::Full, "base");
        let merged = guest.folder.path().join("merged");
        fs::copy(&base, &merged).unwrap();
        for (number, (writes, in_place)) in rounds.into_iter().enumerate() {
            for (page, value) in writes {
                guest.write(page, value);
            }
            let name = if in_place { "base".to_owned() } else { format!("diff{number}") };
            let diff = guest.save(SnapshotType::Diff, &name);
            lay_over(&merged, &diff);
            prop_assert!(fs::read(&merged).unwrap() == guest.now());
            if in_place {
                prop_assert!(fs::read(&base).unwrap() == guest.now());
            }
        }
    }
}

#[test]
fn what_is_kept_of_a_snapshot_cannot_be_written() {
    let mut guest = Guest::new();
    guest.write(1, 1);
    guest.save(SnapshotType::Full, "full");
    let Kind::Shared(Some(base)) = &guest.memory.kind else {
        panic!("nothing is kept");
    };
    let written = base.file().write_all_at(&[2], 0);
    assert_eq!(written.unwrap_err().raw_os_error(), Some(libc::EBADF));
    guest.write(2, 2);
    assert_eq!(data_bytes(&guest.save(SnapshotType::Diff, "diff")), PAGE as u64);
}

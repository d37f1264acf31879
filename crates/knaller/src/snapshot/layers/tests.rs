use proptest::prelude::*;

use super::*;

const SIZE: usize = 300_001;

/// What a file is made of: pieces of it, each a byte as often as it is long. Where none is, there is a hole.
type Pieces = Vec<(usize, usize, u8)>;

fn pieces() -> impl Strategy<Value = Pieces> {
    // Zeros are written as often as anything else: a page that became zeros is a change.
    prop::collection::vec((0..SIZE, 1..20_000usize, 0..3u8), 0..8)
}

fn made(pieces: &Pieces) -> (File, Vec<u8>) {
    let file = tempfile::tempfile().unwrap();
    file.set_len(SIZE as u64).unwrap();
    let mut bytes = vec![0; SIZE];
    for (start, length, byte) in pieces {
        let end = (start + length).min(SIZE);
        bytes[*start..end].fill(*byte);
        file.write_all_at(&bytes[*start..end], *start as u64).unwrap();
    }
    (file, bytes)
}

/// The layer that makes `file` of what is in `below`, as a snapshot has it.
fn layer(below: &Layers, file: &File) -> (File, Pages) {
    let changes = tempfile::tempfile().unwrap();
    changes.set_len(SIZE as u64).unwrap();
    let pages = below
        .difference(file, Among::All, &Task::new(), |bytes, at| {
            changes.write_all_at(bytes, at)
        })
        .unwrap();
    (changes, pages)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn differences_laid_over_each_other_give_the_last_file(files in prop::collection::vec(pieces(), 1..5)) {
        let temp = tempfile::tempdir().unwrap();
        let mut files = files.iter().map(made);
        let (whole, mut last) = files.next().unwrap();
        let mut layers = Layers::new(whole).unwrap();
        for (file, bytes) in files {
            let (changes, pages) = layer(&layers, &file);
            // Nothing is in a layer that was so before.
            for run in pages.runs(0) {
                let places = (run.start..run.end).step_by(4096).map(index);
                for place in places {
                    let end = (place + 4096).min(SIZE);
                    prop_assert_ne!(&bytes[place..end], &last[place..end]);
                }
            }
            layers.lay(changes, pages).unwrap();
            last = bytes;
        }
        let path = temp.path().join("whole");
        layers.write_to(&path, &Task::new()).unwrap();
        prop_assert!(std::fs::read(&path).unwrap() == last);
    }

    #[test]
    fn what_a_layer_does_not_have_takes_no_room_and_what_it_has_stays(one in pieces(), other in pieces()) {
        let (whole, _) = made(&one);
        let (file, bytes) = made(&other);
        let mut layers = Layers::new(whole).unwrap();
        // As a whole memory that a VMM wrote becomes a layer in its place.
        let pages = layers.difference(&file, Among::All, &Task::new(), |_, _| Ok(())).unwrap();
        thin_out(&file, &pages).unwrap();
        layers.lay(file, pages).unwrap();
        let mut read = vec![1; SIZE];
        layers.read(&mut read, 0).unwrap();
        prop_assert!(read == bytes);
    }
}

#[test]
fn holes_of_what_was_changed_are_no_changes() {
    let (whole, _) = made(&vec![(0, SIZE, 1)]);
    // A VMM's: one page as it was, one with other bytes, one of zeros, and holes.
    let (file, _) = made(&vec![(4096, 4096, 1), (3 * 4096, 4096, 2), (9 * 4096, 4096, 0)]);
    let layers = Layers::new(whole).unwrap();
    let pages = layers
        .difference(&file, Among::Written, &Task::new(), |_, _| Ok(()))
        .unwrap();
    let runs: Vec<_> = pages
        .runs(0)
        .map(|run| run.start / 4096..run.end / 4096)
        .collect();
    assert_eq!(runs, [3..4, 9..10]);
}

#[test]
fn a_hole_in_a_page_that_a_layer_has_is_zeros() {
    let (whole, _) = made(&vec![(0, SIZE, 7)]);
    let (hole, _) = made(&vec![]);
    let mut layers = Layers::new(whole).unwrap();
    let mut pages = Pages::default();
    pages.add(4096..2 * 4096);
    layers.lay(hole, pages).unwrap();
    let mut read = vec![1; 3 * 4096];
    layers.read(&mut read, 0).unwrap();
    let expected: Vec<u8> = [7, 0, 7].into_iter().flat_map(|byte| [byte; 4096]).collect();
    assert!(read == expected);
}

#[test]
fn a_layer_of_another_size_is_refused() {
    let mut layers = Layers::new(made(&vec![]).0).unwrap();
    let other = tempfile::tempfile().unwrap();
    assert_eq!(
        layers.lay(other, Pages::default()).unwrap_err().kind(),
        io::ErrorKind::InvalidData
    );
}

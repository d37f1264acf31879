//! What guests of a snapshot touch until they are up, noted beside it: `working-set`, JSON.
//!
//! The invariant: it is advice. One that is damaged, of another memory or of a form to come is no error but absent, and the
//! next start notes it anew; a wrong one costs time and changes no guest.

use std::collections::BTreeSet;
use std::path::Path;

use images::oci::Digest;
use serde::{Deserialize, Serialize};

use crate::record::write_private;
use crate::{Error, Result};

/// The form of the file.
const FORM: u32 = 1;

/// What is noted and put in place as one, in bytes.
pub(crate) const BLOCK: u64 = 64 << 10;

/// The most bytes of a file, and so the most runs.
const MAX_SIZE: u64 = 1 << 20;

/// Blocks of a memory file, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WorkingSet {
    memory: u64,
    blocks: BTreeSet<u64>,
}

#[derive(Serialize, Deserialize)]
struct Noted {
    form: u32,
    /// The size of the memory file, in bytes.
    memory: u64,
    /// First block and number of blocks.
    runs: Vec<(u64, u64)>,
    /// Of the runs.
    checksum: Digest,
}

impl WorkingSet {
    /// Of a memory of so many bytes; what lies outside is left out.
    pub(crate) fn new(memory: u64, blocks: impl IntoIterator<Item = u64>) -> Self {
        let inside = |block: &u64| *block < memory.div_ceil(BLOCK);
        Self {
            memory,
            blocks: blocks.into_iter().filter(inside).collect(),
        }
    }

    /// What is noted there for a memory of so many bytes.
    pub(crate) fn load(path: &Path, memory: u64) -> Option<Self> {
        Self::parse(&images::files::read(path, MAX_SIZE).ok()?, memory)
    }

    pub(crate) fn parse(bytes: &[u8], memory: u64) -> Option<Self> {
        let noted: Noted = serde_json::from_slice(bytes).ok()?;
        if noted.form != FORM || noted.memory != memory || noted.checksum != checksum(&noted.runs) {
            return None;
        }
        let (mut blocks, mut after) = (BTreeSet::new(), 0);
        for (first, count) in noted.runs {
            let end = first.checked_add(count)?;
            if first < after || count == 0 || end > memory.div_ceil(BLOCK) {
                return None;
            }
            blocks.extend(first..end);
            after = end;
        }
        Some(Self { memory, blocks })
    }

    /// Notes it.
    pub(crate) fn save(&self, path: &Path) -> Result<()> {
        write_private(path, &self.to_json()?)
    }

    fn to_json(&self) -> Result<Vec<u8>> {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for block in &self.blocks {
            match runs.last_mut() {
                Some((first, count)) if *first + *count == *block => *count += 1,
                _ => runs.push((*block, 1)),
            }
        }
        let noted = Noted {
            form: FORM,
            memory: self.memory,
            checksum: checksum(&runs),
            runs,
        };
        serde_json::to_vec(&noted).map_err(|error| Error::system("note what a guest touches")(error.into()))
    }

    /// The numbers of the blocks.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = u64> {
        self.blocks.iter().copied()
    }
}

fn checksum(runs: &[(u64, u64)]) -> Digest {
    let bytes: Vec<u8> = runs
        .iter()
        .flat_map(|(first, count)| [first.to_le_bytes(), count.to_le_bytes()])
        .flatten()
        .collect();
    Digest::of(&bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_noted_is_found_again(
            blocks in proptest::collection::btree_set(0u64..3000, 0..300), memory in 0u64..(2000 * BLOCK)
        ) {
            let set = WorkingSet::new(memory, blocks);
            let json = set.to_json().unwrap();
            prop_assert_eq!(WorkingSet::parse(&json, memory), Some(set));
            prop_assert_eq!(WorkingSet::parse(&json, memory + 1), None);
        }

        #[test]
        fn a_changed_byte_is_noticed_or_says_the_same(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let set = WorkingSet::new(100 * BLOCK, [0, 1, 2, 50, 99]);
            let mut json = set.to_json().unwrap();
            let at = at.index(json.len());
            json[at] = byte;
            let parsed = WorkingSet::parse(&json, 100 * BLOCK);
            prop_assert!(parsed.is_none() || parsed == Some(set));
        }

        #[test]
        fn whatever_is_noted_lies_inside(runs in proptest::collection::vec(any::<(u64, u64)>(), 0..4)) {
            let noted = Noted { form: FORM, memory: 10 * BLOCK, checksum: checksum(&runs), runs };
            if let Some(set) = WorkingSet::parse(&serde_json::to_vec(&noted).unwrap(), 10 * BLOCK) {
                prop_assert!(set.blocks().all(|block| block < 10));
            }
        }
    }

    #[test]
    fn what_cannot_be_read_is_absent() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("working-set");
        assert_eq!(WorkingSet::load(&path, BLOCK), None);
        let set = WorkingSet::new(BLOCK, [0]);
        set.save(&path).unwrap();
        assert_eq!(WorkingSet::load(&path, BLOCK), Some(set));
        std::fs::write(&path, vec![b' '; 2 << 20]).unwrap();
        assert_eq!(WorkingSet::load(&path, BLOCK), None);
    }
}

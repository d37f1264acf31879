//! Any order of what can be done keeps what is referred to, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const NAMES: [&str; 3] = ["a:1", "b:1", "c:1"];

#[derive(Clone, Debug)]
enum Act {
    /// An image of these of four layers, under a name.
    Enter(BTreeSet<u8>, usize),
    Tag(usize, usize),
    Remove(usize),
    RemoveWhileAdding(usize),
    Prune(bool),
}

fn act() -> impl Strategy<Value = Act> {
    let name = 0..NAMES.len();
    prop_oneof![
        3 => (proptest::collection::btree_set(0u8..4, 1..3), name.clone()).prop_map(|(layers, name)| Act::Enter(layers, name)),
        1 => (name.clone(), name.clone()).prop_map(|(from, to)| Act::Tag(from, to)),
        1 => name.clone().prop_map(Act::Remove),
        1 => name.prop_map(Act::RemoveWhileAdding),
        1 => any::<bool>().prop_map(Act::Prune),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn whatever_is_done(acts in proptest::collection::vec(act(), 1..12)) {
        let sample = Sample::new();
        // What each name means, and all images that nobody removed.
        let mut names: BTreeMap<&str, BTreeSet<u8>> = BTreeMap::new();
        let mut images: BTreeSet<BTreeSet<u8>> = BTreeSet::new();
        for act in acts {
            match act {
                Act::Enter(layers, name) => {
                    let contents: Vec<Vec<u8>> = layers.iter().map(|layer| vec![*layer; 9]).collect();
                    let contents: Vec<&[u8]> = contents.iter().map(Vec::as_slice).collect();
                    sample.image(NAMES[name], &contents);
                    images.insert(layers.clone());
                    names.insert(NAMES[name], layers);
                }
                Act::Tag(from, to) => {
                    let tagged = sample.store.tag(NAMES[from], &NAMES[to].parse().unwrap());
                    let layers = names.get(NAMES[from]).cloned();
                    prop_assert_eq!(tagged.is_ok(), layers.is_some());
                    names.extend(layers.map(|layers| (NAMES[to], layers)));
                }
                Act::Remove(name) | Act::RemoveWhileAdding(name) => {
                    let hold = matches!(act, Act::RemoveWhileAdding(_)).then(|| sample.adding());
                    let removed = sample.remove(NAMES[name]);
                    drop(hold);
                    prop_assert_eq!(removed.is_ok(), names.contains_key(NAMES[name]));
                    if let Some(layers) = names.remove(NAMES[name]).filter(|layers| names.values().all(|other| other != layers)) {
                        images.remove(&layers);
                    }
                }
                Act::Prune(all) => {
                    let prune = Prune { all, dry_run: false };
                    sample.store.prune(prune, |_| Vec::new()).unwrap().unwrap();
                    images.retain(|layers| !all && names.values().any(|named| named == layers));
                    if all {
                        names.clear();
                    }
                }
            }
            prop_assert_eq!(sample.store.list().unwrap().len(), images.len());
            for name in NAMES {
                let found = sample.store.resolve(name).ok();
                prop_assert_eq!(found.map(|image| image.manifest.layers.len()), names.get(name).map(BTreeSet::len));
            }
        }
        // Every image has a manifest and a configuration, and layers are there once.
        sample.store.prune(Prune::default(), |_| vec!["all".into()]).unwrap().unwrap();
        let kept = sample.store.list().unwrap().len();
        sample.store.prune(Prune::default(), |_| Vec::new()).unwrap().unwrap();
        let named: BTreeSet<&BTreeSet<u8>> = names.values().collect();
        let layers: BTreeSet<u8> = named.iter().flat_map(|layers| layers.iter().copied()).collect();
        prop_assert!(kept >= named.len());
        prop_assert_eq!(sample.files("blobs/sha256"), 2 * named.len() + layers.len());
    }
}

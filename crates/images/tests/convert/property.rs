//! Random layers: the converter does what the model does, and refuses what the model cannot do.

use images::convert::Limits;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::archive::{Entry, Time, What, archive};
use crate::listing::{Listing, check};
use crate::model::Model;
use crate::umoci;

/// Few names, so that paths meet; among them the longest, one that is no text, and ones that mean something in a path.
fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        12 => select(vec!["a", "b", "c", "d"]).prop_map(|name| name.as_bytes().to_vec()),
        1 => Just(vec![b'n'; 255]),
        1 => Just(vec![0xff, 0xfe, b'\n', 0x80]),
        1 => select(vec!["..", ".", ""]).prop_map(|name| name.as_bytes().to_vec()),
    ]
}

fn path() -> impl Strategy<Value = Vec<u8>> {
    let start = select(vec!["", "", "", "/", "./", "../"]);
    let end = select(vec!["", "", "", "/"]);
    let path = (start, vec(name(), 1..5), end)
        .prop_map(|(start, names, end)| [start.as_bytes(), &names.join(&b'/'), end.as_bytes()].concat());
    // An empty pax record says nothing.
    path.prop_map(|path| if path.is_empty() { b".".to_vec() } else { path })
}

fn whiteout() -> impl Strategy<Value = Vec<u8>> {
    let name = prop_oneof![
        3 => name().prop_map(|name| [b".wh.", name.as_slice()].concat()),
        2 => Just(b".wh..wh..opq".to_vec()),
    ];
    (vec(name_of_folder(), 0..3), name).prop_map(|(mut names, last)| {
        names.push(last);
        names.join(&b'/')
    })
}

fn name_of_folder() -> impl Strategy<Value = Vec<u8>> {
    select(vec!["a", "b", "c", "d", ".."]).prop_map(|name| name.as_bytes().to_vec())
}

/// All that is kept: from 1901 to 2310.
fn time() -> impl Strategy<Value = Time> {
    let first = i64::from(i32::MIN);
    let seconds = prop_oneof![
        select(vec![0, -1, first, -first, (3 << 32) + first - 1, 1 << 32]),
        first..(3 << 32) + first,
    ];
    (
        seconds,
        prop_oneof![Just(0), Just(999_999_999), 0u32..1_000_000_000],
    )
}

fn data(length: usize) -> impl Strategy<Value = Vec<u8>> {
    (any::<u8>(), 0..=length).prop_map(|(byte, length)| {
        let mut byte = byte;
        let mut next = || {
            byte = byte.wrapping_mul(5).wrapping_add(1);
            byte
        };
        (0..length).map(|_| next()).collect()
    })
}

/// Files with long runs of zeros, and with holes.
fn file() -> impl Strategy<Value = What> {
    let whole = (data(9000), 0usize..100_000, data(5000)).prop_map(|(mut data, zeros, end)| {
        data.resize(data.len() + zeros, 0);
        data.extend(end);
        What::File {
            size: data.len() as u64,
            pieces: vec![(0, data)],
        }
    });
    let sparse = (vec((0u64..70_000, data(9000)), 0..5), 0u64..70_000).prop_map(|(parts, end)| {
        let mut at = 0;
        let mut pieces = Vec::new();
        for (hole, data) in parts {
            at += hole;
            let length = data.len() as u64;
            pieces.push((at, data));
            at += length;
        }
        What::File {
            size: at + end,
            pieces,
        }
    });
    prop_oneof![
        3 => data(300).prop_map(|data| What::File { size: data.len() as u64, pieces: vec![(0, data)] }),
        1 => whole,
        1 => sparse,
    ]
}

fn what() -> impl Strategy<Value = What> {
    let device = (
        select(vec![0u32, 8, 255, 256, 4095]),
        select(vec![0u32, 1, 255, 256, 1_048_575]),
    );
    prop_oneof![
        5 => Just(What::Directory),
        4 => file(),
        3 => path().prop_map(What::HardLink),
        3 => path().prop_map(What::Symlink),
        1 => (device, any::<bool>()).prop_map(|((major, minor), is_block)| {
            if is_block { What::BlockDevice(major, minor) } else { What::CharDevice(major, minor) }
        }),
        1 => Just(What::Fifo),
    ]
}

/// A list of the owner, the group and others, and if wanted of a user and a group by number with a mask.
fn acl() -> impl Strategy<Value = Vec<u8>> {
    (any::<[u8; 6]>(), any::<bool>(), 0u32..u32::MAX).prop_map(|(bits, named, id)| {
        let none = u32::MAX;
        let mut rules = vec![(1u16, none), (4, none), (32, none)];
        if named {
            rules.extend([(2, id), (8, id), (16, none)]);
            rules.sort_unstable();
        }
        let mut value = vec![2, 0, 0, 0];
        for ((tag, id), bits) in rules.into_iter().zip(bits) {
            value.extend(tag.to_le_bytes());
            value.extend([bits & 7, 0]);
            value.extend(id.to_le_bytes());
        }
        value
    })
}

fn xattr() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let names = vec![
        "user.a",
        "user.longer.name",
        "trusted.t",
        "trusted.overlay.opaque",
        "security.capability",
        "security.selinux",
        "system.other",
        "other.name",
    ];
    let plain = (select(names), data(120));
    let large = prop_oneof![
        (Just("user.large"), data(2500)),
        (select(vec!["user.huge", "trusted.huge"]), data(64 << 10)),
    ];
    let list = (
        select(vec!["system.posix_acl_access", "system.posix_acl_default"]),
        acl(),
    );
    prop_oneof![4 => plain, 1 => large, 2 => list].prop_map(|(name, value)| (name.into(), value))
}

prop_compose! {
    fn entry()(
        path in prop_oneof![5 => path(), 1 => whiteout()],
        what in what(),
        mode in 0u16..0o10000,
        ids in (0u32..u32::MAX, 0u32..u32::MAX),
        mtime in time(),
        atime in prop::option::of(time()),
        xattrs in prop_oneof![3 => Just(Vec::new()), 1 => vec(xattr(), 0..4)],
    ) -> Entry {
        let mut entry = Entry { path, what, mode, uid: ids.0, gid: ids.1, mtime, atime, xattrs: Vec::new() };
        // The last of one name counts in every reader; here it comes once.
        for (name, value) in xattrs {
            entry.xattrs.retain(|(there, _): &(Vec<u8>, _)| *there != name);
            entry.xattrs.push((name, value));
        }
        entry
    }
}

/// The entries that can be applied, and the model after them; and the layers up to the first that cannot.
type Applied = (Vec<Vec<Entry>>, Model, Option<Vec<Vec<Entry>>>);

fn modelled(layers: Vec<Vec<Entry>>) -> Applied {
    let mut model = Model::new();
    let (mut kept, mut refused) = (Vec::new(), None);
    for layer in layers {
        model.next_layer();
        kept.push(Vec::new());
        for entry in layer {
            let mut after = model.clone();
            let done = after.apply(&entry);
            if done.is_err() {
                let upto = || {
                    let mut layers: Vec<Vec<Entry>> = kept.clone();
                    layers.last_mut().unwrap().push(entry.clone());
                    layers
                };
                refused.get_or_insert_with(upto);
                continue;
            }
            model = after;
            kept.last_mut().unwrap().push(entry);
        }
    }
    (kept, model, refused)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]
    #[test]
    fn layers_make_what_the_model_makes(layers in vec(vec(entry(), 0..14), 1..4)) {
        let (layers, model, refused) = modelled(layers);
        let streams: Vec<_> = layers.iter().map(archive).collect();
        let (file, converted) = crate::converted(&streams, &Limits::default()).unwrap();
        check(&file);
        let (listing, expected) = (Listing::of_image(&file), model.listing());
        let differences = expected.differences(&listing);
        prop_assert!(differences.is_empty(), "{differences:#?}\n{layers:#?}");
        prop_assert_eq!(converted.entries + 1, listing.0.len() as u64);
        if let Some(layers) = refused {
            let streams: Vec<_> = layers.iter().map(archive).collect();
            prop_assert!(crate::converted(&streams, &Limits::default()).is_err(), "{layers:#?}");
        }
    }
}

/// What umoci can set too: it fails where Linux does not take an attribute.
fn plain(layers: &mut [Vec<Entry>]) {
    for entry in layers.iter_mut().flatten() {
        // The first second that there is has no fractions in Linux, and Go counts nanoseconds up to 2262.
        entry.mtime.0 = entry.mtime.0.clamp(-1 << 30, 1 << 33);
        let has_users = matches!(entry.what, What::Directory | What::File { .. });
        entry
            .xattrs
            .retain(|(name, _)| has_users && name.starts_with(b"user.") || name.starts_with(b"trusted."));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    /// The model itself is judged: some of what it does umoci 0.4.7 refuses, such as a file that gives way to a folder on an
    /// entry's path, but what umoci does is the same.
    #[test]
    fn layers_make_what_umoci_makes(layers in vec(vec(entry(), 0..14), 1..4)) {
        if let Some(missing) = umoci::missing() {
            testkit::skip("layers_make_what_umoci_makes", missing);
            return Ok(());
        }
        let (mut layers, ..) = modelled(layers);
        plain(&mut layers);
        let streams: Vec<_> = layers.iter().map(archive).collect();
        let layout = umoci::layout(&streams);
        if let Some(differences) = umoci::differences(&layout.path().join("layout"), "test") {
            prop_assert!(differences.is_empty(), "{differences:#?}\n{layers:#?}");
        }
    }
}

//! Layers of any entries through the converter: what its writer of ext4 wrote reads back as what the reference model says, and
//! what the model cannot do is refused. Every so often e2fsck looks at it too.

use std::fs::File;
use std::io::Cursor;
use std::sync::atomic::{AtomicU32, Ordering};

use images::Task;
use images::convert::{ConvertError, Limits, convert};
use images::layer::{self, Expected, Layer};
use libfuzzer_sys::arbitrary::{Result, Unstructured};

use crate::archive::{Entry, What, archive};
use crate::listing::{Listing, check};
use crate::model::Model;

/// Where nothing is written to a disk.
const MEMORY: &str = "/dev/shm";
/// Images between two that e2fsck looks at: it takes longer than all else.
const CHECK: u32 = 256;
const MAX_LAYERS: usize = 4;
const MAX_ENTRIES: usize = 16;
const PAGE: usize = 4096;

static MADE: AtomicU32 = AtomicU32::new(0);

/// Few names, so that paths meet.
const NAMES: [&[u8]; 14] = [
    b"a", b"b", b"c", b"d", b"e", b"f", b"..", b".", b"", b".wh.a", b".wh.b", b".wh..wh..opq", b"\xff\n",
    &[b'n'; 255],
];

const XATTRS: [&str; 10] = [
    "user.a",
    "user.longer.name",
    "user.of.another",
    "trusted.t",
    "trusted.another",
    "trusted.overlay.opaque",
    "security.capability",
    "security.selinux",
    "system.other",
    "user.\u{e9}",
];

pub(crate) fn run(bytes: &[u8]) {
    let mut layers = Vec::new();
    // What ends in the middle of an entry has those before it.
    let _ = read(&mut Unstructured::new(bytes), &mut layers);
    let mut model = Model::new();
    let (mut kept, mut refused) = (Vec::<Vec<Entry>>::new(), None);
    for layer in layers {
        model.next_layer();
        kept.push(Vec::new());
        for entry in layer {
            let mut after = model.clone();
            let done = after.apply(&entry);
            let last = kept.len() - 1;
            kept[last].push(entry);
            if done.is_ok() {
                model = after;
            } else {
                refused.get_or_insert_with(|| kept.clone());
                kept[last].pop();
            }
        }
    }
    let file = converted(&kept).unwrap();
    if MADE.fetch_add(1, Ordering::Relaxed) % CHECK == 0 {
        check(&file);
    }
    let differences = model.listing().differences(&Listing::of_image(&file));
    assert!(differences.is_empty(), "{differences:#?}\n{kept:#?}");
    if let Some(layers) = refused {
        assert!(converted(&layers).is_err(), "{layers:#?}");
    }
}

fn converted(layers: &[Vec<Entry>]) -> std::result::Result<File, ConvertError> {
    let file = tempfile::tempfile_in(MEMORY).unwrap();
    let open = |layer: &Vec<Entry>| {
        let stream = Cursor::new(archive(layer));
        Layer::open(stream, Expected::default(), &layer::Limits::default())
    };
    convert(layers.iter().map(open), [7; 16], &Limits::default(), &file, &Task::new())?;
    Ok(file)
}

fn read(u: &mut Unstructured<'_>, layers: &mut Vec<Vec<Entry>>) -> Result<()> {
    while !u.is_empty() && layers.len() < MAX_LAYERS {
        layers.push(Vec::new());
        let count = u.int_in_range(1..=MAX_ENTRIES)?;
        for _ in 0..count {
            let entry = entry(u)?;
            layers.iter_mut().last().unwrap().push(entry);
        }
    }
    Ok(())
}

fn entry(u: &mut Unstructured<'_>) -> Result<Entry> {
    let mut entry = Entry::new(path(u)?, What::Fifo);
    entry.what = what(u)?;
    let details: u8 = u.arbitrary()?;
    if details & 1 != 0 {
        entry.mode = u.arbitrary::<u16>()? & 0o7777;
        (entry.uid, entry.gid) = (u.int_in_range(0..=u32::MAX - 1)?, u.int_in_range(0..=u32::MAX - 1)?);
    }
    if details & 2 != 0 {
        // All that is kept: from 1901 to 2310.
        let first = i64::from(i32::MIN);
        let mut time = || {
            let seconds = u.int_in_range(first..=(3 << 32) + first - 1)?;
            Ok((seconds, u.int_in_range(0..=999_999_999)?))
        };
        (entry.mtime, entry.atime) = (time()?, Some(time()?));
    }
    if details & 4 != 0 {
        for _ in 0..u.int_in_range(1..=5)? {
            let (name, value) = xattr(u)?;
            // The last of one name counts in every reader; here it comes once.
            entry.xattrs.retain(|(there, _)| *there != name);
            entry.xattrs.push((name, value));
        }
        // Where names are not ASCII, a large value has no place.
        if entry.xattrs.iter().any(|(name, value)| !name.is_ascii() && value.len() > 1000) {
            entry.xattrs.clear();
        }
    }
    Ok(entry)
}

fn path(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let count = u.int_in_range(1..=5)?;
    let names: Result<Vec<&[u8]>> = (0..count).map(|_| u.choose(&NAMES).copied()).collect();
    let path = names?.join(&b'/');
    // An empty pax record says nothing.
    Ok(if path.is_empty() { b".".to_vec() } else { path })
}

fn what(u: &mut Unstructured<'_>) -> Result<What> {
    Ok(match u.int_in_range(0..=11)? {
        0..=2 => What::Directory,
        3..=5 => file(u)?,
        6 => What::HardLink(path(u)?),
        7 => What::Symlink(path(u)?),
        8 => {
            let mut target = vec![b'/'; u.int_in_range(1..=4095)?];
            target[0] = b'a';
            What::Symlink(target)
        }
        9 => What::CharDevice(u.int_in_range(0..=4095)?, u.int_in_range(0..=(1 << 20) - 1)?),
        10 => What::BlockDevice(u.int_in_range(0..=4095)?, u.int_in_range(0..=(1 << 20) - 1)?),
        _ => What::Fifo,
    })
}

/// Pieces of data with holes between them; data of zeros too, which become holes where they are long.
fn file(u: &mut Unstructured<'_>) -> Result<What> {
    let (mut pieces, mut at) = (Vec::new(), 0);
    for _ in 0..u.int_in_range(0..=4)? {
        at += span(u)?;
        let data = vec![*u.choose(&[0, 1])?; span(u)?];
        let length = data.len();
        pieces.push((at as u64, data));
        at += length;
    }
    let size = (at + span(u)?) as u64;
    Ok(What::File { size, pieces })
}

/// A length, at times about whole pages: so many that a run of zeros becomes a hole.
fn span(u: &mut Unstructured<'_>) -> Result<usize> {
    Ok(match u.int_in_range(0..=7)? {
        0 => u.int_in_range(0..=18)? * PAGE,
        1 => 16 * PAGE + u.int_in_range(0..=PAGE)?,
        2 => u.int_in_range(0..=2 * PAGE)?,
        3 | 4 => 0,
        _ => u.int_in_range(0..=300)?,
    })
}

fn xattr(u: &mut Unstructured<'_>) -> Result<(Vec<u8>, Vec<u8>)> {
    /// A list of three rules and one of five, as Linux' xattrs have them.
    const LISTS: [&[u8]; 2] = [
        b"\x02\0\0\0\x01\0\x07\0\xff\xff\xff\xff\x04\0\x05\0\xff\xff\xff\xff\x20\0\x05\0\xff\xff\xff\xff",
        b"\x02\0\0\0\x01\0\x07\0\xff\xff\xff\xff\x02\0\x06\0\x10\x27\0\0\x04\0\x05\0\xff\xff\xff\xff\
          \x10\0\x07\0\xff\xff\xff\xff\x20\0\x04\0\xff\xff\xff\xff",
    ];
    if u.ratio(1, 4)? {
        let name = *u.choose(&["system.posix_acl_access", "system.posix_acl_default"])?;
        return Ok((name.into(), u.choose(&LISTS)?.to_vec()));
    }
    let name = *u.choose(&XATTRS)?;
    let length = match u.int_in_range(0..=7)? {
        0 => u.int_in_range(3900..=4200)?,
        1 => u.int_in_range(0..=64 << 10)?,
        2 => 64 << 10,
        _ => u.int_in_range(0..=100)?,
    };
    Ok((name.into(), vec![u.arbitrary()?; length]))
}

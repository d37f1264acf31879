//! Archives that were made to do harm.

use std::fs;
use std::io::{self, Read, Write};

use images::Task;
use images::convert::{ConvertError, Limits, Problem, convert};
use images::ext4::read::{Filesystem, InodeNumber};
use images::layer::{self, Expected, Layer, LayerError};

use crate::archive::{Entry, What, archive};
use crate::listing;
use crate::{converted, listed};

/// Why these entries, one layer, are refused.
fn refused(entries: &[Entry], limits: &Limits) -> ConvertError {
    converted(&[archive(entries)], limits).unwrap_err()
}

/// What is wrong with the last of these entries.
fn problem(entries: &[Entry]) -> Problem {
    let last = &entries.last().unwrap().path;
    match refused(entries, &Limits::default()) {
        ConvertError::Entry {
            layer: 0,
            path,
            problem,
        } if path.0 == *last => problem,
        other => panic!("{other:?}"),
    }
}

/// Which limit these entries exceed.
fn limit(entries: &[Entry], limits: &Limits) -> &'static str {
    match refused(entries, limits) {
        ConvertError::Limit { name, .. } => name,
        other => panic!("{other:?}"),
    }
}

#[test]
fn absolute_names_and_names_that_go_up_stay_in_the_root() {
    let names = ["/etc/passwd", "../../up", "a/../../../b", "//c", "d/.././../e"];
    let entries: Vec<_> = names.iter().map(|name| Entry::file(*name, "x")).collect();
    assert_eq!(
        listed(&[archive(&entries)]).names(),
        ["b", "c", "e", "etc", "etc/passwd", "up"]
    );
}

#[test]
fn links_on_the_way_lead_within_the_root() {
    let entries = [
        Entry::symlink("a", "/etc"),
        Entry::file("a/passwd", "x"),
        Entry::symlink("b", "../../../../tmp/./b"),
        Entry::file("b/c", "x"),
        // A link that is there when it is checked and another when it is used.
        Entry::symlink("a", "/other"),
        Entry::file("a/passwd", "y"),
    ];
    let listing = listed(&[archive(&entries)]);
    let expected = [
        "a",
        "b",
        "etc",
        "etc/passwd",
        "other",
        "other/passwd",
        "tmp",
        "tmp/b",
        "tmp/b/c",
    ];
    assert_eq!(listing.names(), expected);
}

#[test]
fn hard_links_to_the_host_are_refused() {
    for target in ["/etc/passwd", "../../../../etc/passwd", "s/passwd"] {
        let entries = [Entry::symlink("s", "/etc"), Entry::link("x", target)];
        assert_eq!(problem(&entries), Problem::LinkTarget, "{target}");
    }
    let entries = [Entry::directory("d"), Entry::link("x", "d")];
    assert_eq!(problem(&entries), Problem::LinkToDirectory);
    // The name takes its own target with it.
    let entries = [Entry::file("d/f", "x"), Entry::link("d", "d/f")];
    assert_eq!(problem(&entries), Problem::LinkTarget);
}

#[test]
fn devices_are_numbers_in_the_result_and_nothing_else() {
    for (major, minor) in [(4096, 0), (0, 1 << 20)] {
        let entry = Entry::new("d", What::CharDevice(major, minor));
        assert_eq!(problem(&[entry]), Problem::Device);
    }
    // A whiteout of overlayfs hides nothing here: it is a device, and stays one.
    let layers = [
        archive(&[Entry::file("f", "x")]),
        archive(&[
            Entry::new("f", What::CharDevice(0, 0)),
            Entry::new("g", What::CharDevice(0, 0)),
        ]),
        archive(&[Entry::file("g/below", "x")]),
    ];
    let listing = listed(&layers);
    assert_eq!(listing.get("f").unwrap().what, listing::What::CharDevice(0, 0));
    assert_eq!(listing.names(), ["f", "g", "g/below"]);
}

#[test]
fn headers_that_claim_what_does_not_come_cost_nothing() {
    let mut entry = Entry::file("f", "x").bytes();
    // The size of the pax header: 8 GiB less one byte.
    entry[124..136].copy_from_slice(b"77777777777\0");
    entry[148..156].copy_from_slice(b"        ");
    let sum: u32 = entry[..512].iter().map(|byte| u32::from(*byte)).sum();
    entry[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let error = converted(&[entry], &Limits::default()).unwrap_err();
    assert!(
        matches!(error, ConvertError::Archive { layer: 0, .. }),
        "{error:?}"
    );
    for (offset, size) in [
        (u64::MAX - 1, u64::MAX),
        (5, 3),
        (i64::MAX as u64, i64::MAX as u64),
    ] {
        let entry = Entry::new(
            "f",
            What::File {
                size,
                pieces: vec![(offset, vec![1; 9])],
            },
        );
        let error = refused(&[entry], &Limits::default());
        assert!(
            matches!(error, ConvertError::Archive { .. } | ConvertError::Limit { .. }),
            "{error:?}"
        );
    }
}

#[test]
fn bombs_are_stopped_by_what_comes_out_of_them() {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let zeros = vec![0; 1 << 20];
    let header = Entry::new(
        "zeros",
        What::File {
            size: 128 << 20,
            pieces: Vec::new(),
        },
    )
    .bytes();
    packed.write_all(&header).unwrap();
    (0..128).for_each(|_| packed.write_all(&zeros).unwrap());
    let packed = packed.finish().unwrap();
    let limits = layer::Limits {
        ratio: 100,
        ratio_from: 1 << 20,
        ..layer::Limits::default()
    };
    let layer = Layer::open(io::Cursor::new(packed), Expected::default(), &limits);
    let file = tempfile::tempfile().unwrap();
    let error = convert([layer], [0; 16], &Limits::default(), &file, &Task::new()).unwrap_err();
    assert!(matches!(error, ConvertError::Layer { layer: 0, .. }), "{error:?}");
}

#[test]
fn each_limit_is_one() {
    let files = |count: usize| -> Vec<Entry> {
        (0..count)
            .map(|number| Entry::file(format!("f{number}"), [1; 600]))
            .collect()
    };
    let standard = Limits::default;
    let mut limits = standard();
    limits.entries = 9;
    assert_eq!(limit(&files(10), &limits), "entries");
    let mut limits = standard();
    limits.total = 6000;
    converted(&[archive(&files(10))], &limits).unwrap();
    assert_eq!(limit(&files(11), &limits), "total");
    let mut limits = standard();
    limits.file = 600;
    converted(&[archive(&files(1))], &limits).unwrap();
    limits.file = 599;
    assert_eq!(limit(&files(1), &limits), "file");
    let hole = Entry::new(
        "f",
        What::File {
            size: 1 << 40,
            pieces: Vec::new(),
        },
    );
    assert_eq!(limit(&[hole], &standard()), "file");
    let mut limits = standard();
    limits.memory = 64 << 10;
    assert_eq!(limit(&files(1000), &limits), "memory");
    let mut limits = standard();
    limits.depth = 4;
    converted(&[archive(&[Entry::directory("a/b/c/d")])], &limits).unwrap();
    for entry in [Entry::directory("a/b/c/d/e"), Entry::file("a/b/c/d/e/f", "x")] {
        match refused(&[entry], &limits) {
            ConvertError::Entry { problem, .. } => assert_eq!(problem, Problem::Depth),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_inode_has_no_more_names_than_ext4_can_count() {
    let mut entries = vec![Entry::file("f", "x")];
    entries.extend((1..65_000).map(|number| Entry::link(format!("l{number}"), "f")));
    let listing = listed(&[archive(&entries)]);
    assert_eq!(listing.0.len(), 65_001);
    entries.push(Entry::link("more", "f"));
    assert_eq!(problem(&entries), Problem::Links);
}

#[test]
fn a_folder_may_have_more_folders_than_ext4_can_count() {
    let entries: Vec<_> = (0..65_010)
        .map(|number| Entry::directory(format!("d/{number}")))
        .collect();
    assert_eq!(listed(&[archive(&entries)]).0.len(), 65_012);
}

#[test]
fn links_that_go_round_are_not_followed() {
    let round = [
        Entry::symlink("a", "b"),
        Entry::symlink("b", "a"),
        Entry::file("a/x", "x"),
    ];
    assert_eq!(problem(&round), Problem::Loop);
    let itself = [Entry::symlink("a", "a/a"), Entry::link("x", "a/x")];
    assert_eq!(problem(&itself), Problem::Loop);
    let white = [Entry::symlink("a", "/a/../a"), Entry::file("a/.wh.x", "")];
    assert_eq!(problem(&white), Problem::Loop);
}

/// Each link doubles the way of the one before.
#[test]
fn a_way_that_doubles_with_each_link_ends() {
    let mut entries = vec![Entry::directory("s0")];
    for number in 1..60 {
        let last = format!("s{}", number - 1);
        entries.push(Entry::symlink(format!("s{number}"), format!("{last}/../{last}")));
    }
    entries.push(Entry::file("s59/x", "x"));
    assert_eq!(problem(&entries), Problem::Loop);
    // Few links, but of very many steps.
    let long = "./x/../".repeat(580);
    let mut entries = vec![Entry::directory("x")];
    for number in 0..30 {
        entries.push(Entry::symlink(
            format!("l{number}"),
            format!("{long}l{}", number + 1),
        ));
    }
    entries.push(Entry::file("l0/x", "x"));
    assert_eq!(problem(&entries), Problem::Loop);
}

#[test]
fn names_and_targets_have_ends() {
    let longest = "n".repeat(255);
    assert_eq!(problem(&[Entry::file("n".repeat(256), "x")]), Problem::Name);
    assert_eq!(
        problem(&[Entry::file(format!("{longest}n/x"), "x")]),
        Problem::Name
    );
    assert_eq!(
        problem(&[
            Entry::symlink("l", longest.clone() + "n"),
            Entry::file("l/x", "x")
        ]),
        Problem::Name
    );
    // Beyond what a path may have for a system call: 4,096 bytes.
    let deep = vec![longest.as_str(); 40].join("/");
    assert_eq!(listed(&[archive(&[Entry::file(deep, "x")])]).0.len(), 41);
    let error = refused(&[Entry::symlink("l", "t".repeat(4096))], &Limits::default());
    assert!(matches!(error, ConvertError::Archive { .. }), "{error:?}");
}

#[test]
fn the_root_stays_a_folder() {
    for what in [
        What::Fifo,
        What::Symlink(b"/etc".to_vec()),
        What::HardLink(b"f".to_vec()),
        What::CharDevice(1, 3),
    ] {
        for name in ["/", ".", "a/..", "../"] {
            let entries = [Entry::file("f", "x"), Entry::new(name, what.clone())];
            assert_eq!(problem(&entries), Problem::Root, "{name}");
        }
    }
    let layers = [
        archive(&[Entry::file("f", "x"), Entry::directory("d")]),
        archive(&[Entry::file("g", "x"), Entry::file(".wh..wh..opq", "")]),
    ];
    assert_eq!(listed(&layers).names(), ["g"]);
}

#[test]
fn whiteouts_of_no_name_hide_nothing() {
    for name in [".wh.", "d/.wh.", ".wh..", "d/.wh..", "d/.wh..."] {
        let entries = [Entry::file("d/f", "x"), Entry::file(name, "")];
        assert_eq!(problem(&entries), Problem::Whiteout, "{name}");
    }
    let layers = [
        archive(&[Entry::file("d/f", "x"), Entry::file("d/.wh", "x")]),
        // Of aufs; of what is not there; below a file; of another kind; with data.
        archive(&[
            Entry::file("d/.wh..wh.plnk", ""),
            Entry::file(".wh.none", ""),
            Entry::file("none/.wh.x", ""),
            Entry::file("d/f/.wh.x", ""),
            Entry::directory("d/.wh.g"),
            Entry::file("d/.wh.h", "data"),
        ]),
    ];
    assert_eq!(listed(&layers).names(), ["d", "d/.wh", "d/f"]);
}

#[test]
fn attributes_that_have_no_room_are_refused() {
    let names = |count| {
        (0..count).fold(Entry::file("f", "x"), |entry, number| {
            entry.xattr(&format!("user.{number}"), [3; 30])
        })
    };
    assert_eq!(
        listed(&[archive(&[names(200)])]).get("f").unwrap().xattrs.len(),
        200
    );
    assert_eq!(problem(&[names(300)]), Problem::Xattrs);
    // Kernels do not agree on how such a name's value is found in an inode of its own.
    let foreign = |size| Entry::file("f", "x").xattr("user.\u{e9}", vec![1; size]);
    let beside = foreign(3900).xattr("user.b", [2; 9000]);
    assert_eq!(listed(&[archive(&[beside])]).get("f").unwrap().xattrs.len(), 2);
    assert_eq!(problem(&[foreign(4100)]), Problem::Xattrs);
    let none = Entry::file("f", "x").xattr("system.posix_acl_access", [2, 0, 0, 0, 1]);
    assert_eq!(problem(&[none]), Problem::Acl);
}

#[test]
fn a_stream_that_is_cut_off_is_no_layer() {
    let file = || Entry::file("f", [1; 700]);
    let whole = archive(&[file(), Entry::directory("d"), Entry::symlink("l", "t")]);
    // The file alone, without the two blocks that end an archive: its data's padding is the last of it.
    let padded = archive(&[file()]).len() - 1024;
    let padding = padded - (1024 - 700)..padded;
    let mut accepted = 0;
    for length in (0..whole.len()).step_by(64) {
        if converted(&[whole[..length].to_vec()], &Limits::default()).is_ok() {
            // Between two entries, or where only padding was to follow; whether more was to come only the layer's
            // digest can tell.
            assert!(
                length.is_multiple_of(512) || padding.contains(&length),
                "{length}"
            );
            accepted += 1;
        }
    }
    assert!(accepted <= 12, "{accepted}");
}

/// Gives the same entry for ever.
struct Endless(Vec<u8>, usize);

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = (&self.0[self.1..]).read(buffer)?;
        self.1 = (self.1 + count) % self.0.len();
        Ok(count)
    }
}

fn endless(bytes: Vec<u8>) -> Result<Layer, LayerError> {
    let limits = layer::Limits {
        total: 64 << 20,
        ..layer::Limits::default()
    };
    Layer::open(Endless(bytes, 0), Expected::default(), &limits)
}

#[test]
fn a_stream_without_an_end_is_ended() {
    let file = tempfile::tempfile().unwrap();
    let mut limits = Limits::default();
    limits.entries = 5000;
    for (bytes, is_limit) in [(Entry::file("f", "x").bytes(), true), (vec![0; 4096], false)] {
        let error = convert([endless(bytes)], [0; 16], &limits, &file, &Task::new()).unwrap_err();
        match error {
            ConvertError::Limit { name: "entries", .. } => assert!(is_limit),
            ConvertError::Layer { layer: 0, .. } => assert!(!is_limit),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_is_called_off_leaves_the_callers_file_alone_there() {
    let folder = tempfile::tempdir().unwrap();
    let out = fs::File::create_new(folder.path().join("out")).unwrap();
    let task = Task::new();
    // Called off from within: when so much was read that the work is in its middle.
    struct Calls<R>(R, u64, Task);
    impl<R: Read> Read for Calls<R> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.0.read(buffer)?;
            self.1 += count as u64;
            if self.1 > 8 << 20 {
                self.2.cancel();
            }
            Ok(count)
        }
    }
    let blob = Calls(Endless(Entry::file("f", [1; 5000]).bytes(), 0), 0, task.clone());
    let layer = Layer::open(blob, Expected::default(), &layer::Limits::default());
    let error = convert([layer], [0; 16], &Limits::default(), &out, &task).unwrap_err();
    assert!(matches!(error, ConvertError::Cancelled(_)), "{error:?}");
    let names: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["out"]);
    // And what is there is no file system that somebody could take for one.
    let file = fs::File::open(folder.path().join("out")).unwrap();
    assert!(Filesystem::open(&file).is_err());
}

#[test]
fn a_file_of_holes_takes_no_room() {
    let entry = Entry::new(
        "f",
        What::File {
            size: 16 << 30,
            pieces: vec![(5 << 30, vec![7; 10_000])],
        },
    );
    let (file, done) = converted(&[archive(&[entry])], &Limits::default()).unwrap();
    listing::check(&file);
    assert!(done.size < 1 << 20, "{done:?}");
    let filesystem = Filesystem::open(&file).unwrap();
    let inode = filesystem.look_up(b"f").unwrap().unwrap();
    assert_eq!(inode.size, 16 << 30);
    assert_eq!(filesystem.extents(&inode).unwrap().len(), 1);
    assert_ne!(inode.number, InodeNumber::ROOT);
}

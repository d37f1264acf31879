//! Layers that GNU tar, Python and our own hands made, unpacked by umoci too.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, chown, lchown, symlink};
use std::path::Path;
use std::process::Command;

use images::convert::Limits;
use rustix::fs::{CWD, Mode, Timespec, Timestamps, XattrFlags, lsetxattr, mknodat, utimensat};
use testkit::skip;

use crate::archive::{Entry, What, archive};
use crate::listing::{Listing, check};
use crate::{converted, done, umoci};

/// As GNU tar packs a folder for an image.
fn tar(folder: &Path) -> Vec<u8> {
    let options = [
        "--create",
        "--file=-",
        "--format=posix",
        "--xattrs",
        "--xattrs-include=*",
        "--acls",
    ];
    let mut command = Command::new("tar");
    command
        .args(options)
        .args(["--sparse", "--numeric-owner", "--directory"]);
    done(command.arg(folder).arg("."))
}

/// A folder of everything that a root file system can have.
fn fill(root: &Path) {
    let set = |path: &Path, name: &str, value: &[u8]| {
        lsetxattr(path, name, value, XattrFlags::empty()).unwrap();
    };
    fs::create_dir_all(root.join("d/e/f")).unwrap();
    fs::write(root.join("d/setuid"), "x").unwrap();
    chown(root.join("d/setuid"), Some(100_000), Some(4_000_000_000)).unwrap();
    fs::set_permissions(root.join("d/setuid"), fs::Permissions::from_mode(0o6755)).unwrap();
    fs::hard_link(root.join("d/setuid"), root.join("d/e/linked")).unwrap();
    symlink("../d/setuid", root.join("d/e/short")).unwrap();
    symlink("t".repeat(3000), root.join("long")).unwrap();
    lchown(root.join("long"), Some(7), Some(8)).unwrap();
    for (name, kind, major, minor) in [
        ("null", rustix::fs::FileType::CharacterDevice, 1, 3),
        ("far", rustix::fs::FileType::BlockDevice, 4095, 1_000_000),
        ("fifo", rustix::fs::FileType::Fifo, 0, 0),
    ] {
        let device = rustix::fs::makedev(major, minor);
        mknodat(CWD, root.join(name), kind, Mode::from_raw_mode(0o640), device).unwrap();
    }
    let sparse = File::create(root.join("sparse")).unwrap();
    sparse.write_all_at(&[1; 70_000], 1 << 20).unwrap();
    sparse.set_len(5_000_001).unwrap();
    fs::write(root.join(std::ffi::OsStr::from_bytes(b"no\xfftext\n")), "x").unwrap();
    fs::write(root.join("n".repeat(255)), "x").unwrap();
    fs::write(root.join("labelled"), "x").unwrap();
    set(&root.join("labelled"), "user.comment", &[b'c'; 900]);
    set(&root.join("labelled"), "trusted.other", b"t");
    // cap_net_raw+ep, as setcap stores it.
    let capability = hex::decode("0100000200200000000000000000000000000000").unwrap();
    set(&root.join("labelled"), "security.capability", &capability);
    // A user by number that has no name here, on a file and as a folder's default.
    let setfacl = |options: &[&str], path: &str| {
        done(Command::new("setfacl").args(options).arg(root.join(path)));
    };
    setfacl(&["-m", "u:12345:rw,g:23456:r"], "labelled");
    setfacl(&["-d", "-m", "u:12345:rwx"], "d/e");
    let time = |seconds, nanoseconds| Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds,
    };
    for (path, seconds, nanoseconds) in [
        ("d/setuid", 1_234_567_890, 123_456_789),
        ("labelled", -5, 999_999_999),
    ] {
        let times = Timestamps {
            last_access: time(1, 2),
            last_modification: time(seconds, nanoseconds),
        };
        utimensat(CWD, root.join(path), &times, rustix::fs::AtFlags::empty()).unwrap();
    }
}

/// What GNU tar cannot be made to write.
const PYTHON: &str = r#"
import io, sys, tarfile
out = tarfile.open(fileobj=sys.stdout.buffer, mode="w|", format=tarfile.GNU_FORMAT)
def add(name, kind=tarfile.REGTYPE, data=b"", **fields):
    info = tarfile.TarInfo(name)
    info.type, info.size, info.mtime = kind, len(data), 1500000000
    for key, value in fields.items():
        setattr(info, key, value)
    out.addfile(info, io.BytesIO(data))
add("d/.wh.setuid")
add("/absolute", data=b"a", uid=3000000000, gid=2097152)
add("../../up", data=b"u", mode=0o4711)
add("./d/./e//new", data=b"n")
add("l" * 120 + "/" + "m" * 200, data=b"long names")
add("twice", data=b"first")
add("twice", data=b"second", mode=0o600)
add("sparse", tarfile.SYMTYPE, linkname="twice")
add("linked", tarfile.LNKTYPE, linkname="d/e/linked")
add("to-link", tarfile.LNKTYPE, linkname="long")
out.close()
"#;

#[test]
fn layers_of_all_makers_become_what_umoci_makes_of_them() {
    let name = "layers_of_all_makers_become_what_umoci_makes_of_them";
    if let Some(missing) = umoci::missing() {
        return skip(name, missing);
    }
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path());
    let python = done(Command::new("python3").args(["-c", PYTHON]));
    let ours = [
        Entry::symlink("way", "/d/e"),
        Entry::directory("kept"),
        Entry::file("kept/old", "o"),
        Entry::directory("kept/sub"),
        Entry::file("kept/sub/old", "o"),
        Entry::file("kept/changes", "file"),
        Entry::directory("kept/goes"),
        Entry::file("kept/goes/with", "it"),
    ];
    let changes = [
        // Through a link, before and after what is new there.
        Entry::file("way/first", "1"),
        Entry::file("way/.wh..wh..opq", ""),
        Entry::file("way/second", "2"),
        Entry::file("kept/sub/new", "n"),
        Entry::file("kept/.wh.sub", ""),
        Entry::directory("kept/changes"),
        Entry::file("kept/changes/in", "i"),
        Entry::new("kept/goes", What::Fifo),
        Entry {
            mode: 0o1777,
            uid: 65_534,
            ..Entry::directory("kept")
        },
        Entry::file("made/on/the/way", "w"),
        Entry::link("across", "d/e/f/../../../absolute"),
        Entry::file("twice", "third")
            .xattr("user.empty", "")
            .xattr("user.some", "some"),
    ];
    let layers = [tar(folder.path()), python, archive(&ours), archive(&changes)];
    let layout = umoci::layout(&layers);
    umoci::compare(&layout.path().join("layout"), "test");
}

#[test]
fn attributes_of_every_size_are_what_debugfs_reads() {
    let value = |size: usize| -> Vec<u8> { (0..size).map(|at| (at * at / 7).to_le_bytes()[0]).collect() };
    let sizes = [4_000, 4_096, 4_097, 65_535, 65_536];
    let with = |entry| {
        sizes.into_iter().fold(entry, |entry: Entry, size| {
            entry.xattr(&format!("trusted.of-{size}"), value(size))
        })
    };
    let entries = [
        with(Entry::directory(".")),
        with(Entry::directory("d")),
        with(Entry::file("d/f", "x")).xattr("user.small", "s"),
        with(Entry::symlink("d/l", "f")),
        Entry::file("d/one", "x").xattr("user.large", value(5_000)),
        Entry::symlink("d/short", "to").xattr("trusted.large", value(5_000)),
        Entry::symlink("d/longer", "to/another").xattr("trusted.large", value(5_000)),
    ];
    let (file, _) = converted(&[archive(&entries)], &Limits::default()).unwrap();
    check(&file);
    let listing = Listing::of_image(&file);
    let image = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("value");
    for (path, item) in &listing.0 {
        let path = str::from_utf8(path).unwrap();
        assert!(!item.xattrs.is_empty(), "{path}");
        for (name, ours) in &item.xattrs {
            let name = str::from_utf8(name).unwrap();
            let read = format!("ea_get -f {} /{path} {name}", out.display());
            done(Command::new("/usr/sbin/debugfs").args(["-R", &read, &image]));
            assert!(fs::read(&out).unwrap() == *ours, "{path} {name}");
            let size = name.rsplit_once("of-").map(|(_, size)| size.parse().unwrap());
            assert!(size.is_none_or(|size| *ours == value(size)), "{path} {name}");
            fs::remove_file(&out).unwrap();
        }
    }
}

#[test]
fn old_kernels_can_mount_what_has_no_large_attributes() {
    let features = |entry: Entry| {
        let (file, _) = converted(&[archive(&[entry])], &Limits::default()).unwrap();
        let mut bytes = [0; 4];
        file.read_exact_at(&mut bytes, 1024 + 0x60).unwrap();
        u32::from_le_bytes(bytes)
    };
    let plain = features(Entry::file("f", "x").xattr("user.a", [1; 3900]));
    let large = features(Entry::file("f", "x").xattr("user.a", [1; 4100]));
    assert_eq!((plain & 0x400, large), (0, plain | 0x400));
}

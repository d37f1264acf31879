use std::fs::{self, Permissions};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, symlink};

use super::*;

const WHOLE: Rules = Rules {
    entries: usize::MAX,
    file: u64::MAX,
    lenient: false,
    without: None,
};

struct Trees {
    folder: tempfile::TempDir,
}

impl Trees {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["from", "to"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        Self { folder }
    }

    fn from(&self, name: &str) -> PathBuf {
        self.folder.path().join("from").join(name)
    }

    fn to(&self, name: &str) -> PathBuf {
        self.folder.path().join("to").join(name)
    }

    fn copy(&self, rules: Rules) -> Result<(), Error> {
        let open = |path: PathBuf| OwnedFd::from(File::open(path).unwrap());
        copy(&open(self.from("")), &open(self.to("")), rules)
    }
}

#[test]
fn everything_is_as_it_was() {
    let trees = Trees::new();
    fs::create_dir_all(trees.from("sub/deep")).unwrap();
    fs::write(trees.from("sub/one"), "data").unwrap();
    fs::hard_link(trees.from("sub/one"), trees.from("sub/deep/two")).unwrap();
    fs::set_permissions(trees.from("sub/one"), Permissions::from_mode(0o4711)).unwrap();
    fs::set_permissions(trees.from("sub"), Permissions::from_mode(0o2570)).unwrap();
    fs::set_permissions(trees.from(""), Permissions::from_mode(0o751)).unwrap();
    symlink("/etc/passwd", trees.from("link")).unwrap();
    mknodat(
        rustix::fs::CWD,
        trees.from("fifo"),
        FileType::Fifo,
        Mode::from_raw_mode(0o622),
        0,
    )
    .unwrap();
    let sparse = File::create(trees.from("sparse")).unwrap();
    sparse.write_all_at(b"middle", 4 << 20).unwrap();
    sparse.set_len(9 << 20).unwrap();
    rustix::fs::lsetxattr(trees.from("sparse"), "user.word", b"value", XattrFlags::empty()).unwrap();
    rustix::fs::lsetxattr(trees.from(""), "user.left", b"out", XattrFlags::empty()).unwrap();
    let long_ago = Timespec {
        tv_sec: 1_000_000_000,
        tv_nsec: 123_456_789,
    };
    let times = Timestamps {
        last_access: long_ago,
        last_modification: long_ago,
    };
    for name in ["sub/deep/two", "link", "sub", "fifo"] {
        utimensat(
            rustix::fs::CWD,
            trees.from(name),
            &times,
            AtFlags::SYMLINK_NOFOLLOW,
        )
        .unwrap();
    }

    let rules = Rules {
        without: Some(c"user.left"),
        ..WHOLE
    };
    trees.copy(rules).unwrap();
    for name in [
        "",
        "sub",
        "sub/deep",
        "sub/one",
        "sub/deep/two",
        "link",
        "fifo",
        "sparse",
    ] {
        let [from, to] = [trees.from(name), trees.to(name)].map(|path| path.symlink_metadata().unwrap());
        assert_eq!(
            (
                from.mode(),
                from.uid(),
                from.gid(),
                from.mtime(),
                from.mtime_nsec(),
                from.nlink()
            ),
            (
                to.mode(),
                to.uid(),
                to.gid(),
                to.mtime(),
                to.mtime_nsec(),
                to.nlink()
            ),
            "{name}"
        );
    }
    let inode = |name| trees.to(name).metadata().unwrap().ino();
    assert_eq!(inode("sub/one"), inode("sub/deep/two"));
    assert_eq!(fs::read_link(trees.to("link")).unwrap(), Path::new("/etc/passwd"));
    assert!(fs::read(trees.from("sparse")).unwrap() == fs::read(trees.to("sparse")).unwrap());
    assert!(trees.to("sparse").metadata().unwrap().blocks() < 100);
    let mut value = [0_u8; 16];
    let length = rustix::fs::lgetxattr(trees.to("sparse"), "user.word", &mut value).unwrap();
    assert_eq!(&value[..length], b"value");
    assert!(rustix::fs::lgetxattr(trees.to(""), "user.left", &mut value).is_err());
}

#[test]
fn a_tree_deeper_than_any_path_is_copied_and_removed() {
    let trees = Trees::new();
    let name = "n".repeat(200);
    let mut path = PathBuf::new();
    let mut folder = OwnedFd::from(File::open(trees.from("")).unwrap());
    for _ in 0..1_500 {
        mkdirat(&folder, &*name, Mode::RWXU).unwrap();
        path.push(&name);
        folder = open_below(&folder, Path::new(&name)).unwrap();
    }
    for name in ["first", "second"] {
        openat(&folder, name, OFlags::CREATE, Mode::RUSR).unwrap();
    }
    unlinkat(&folder, "second", AtFlags::empty()).unwrap();
    linkat(&folder, "first", &folder, "second", AtFlags::empty()).unwrap();
    trees.copy(WHOLE).unwrap();
    for folder in [trees.from(""), trees.to("")] {
        let folder = OwnedFd::from(File::open(folder).unwrap());
        let deepest = open_below(&folder, &path).unwrap();
        assert_eq!(statat(&deepest, "second", AtFlags::empty()).unwrap().st_nlink, 2);
        empty(&folder, "lost+found").unwrap();
        assert!(names(&folder).unwrap().is_empty());
    }
}

#[test]
fn what_is_kept_is_kept_and_no_link_is_followed() {
    let trees = Trees::new();
    fs::create_dir_all(trees.from("lost+found/kept")).unwrap();
    fs::create_dir_all(trees.from("sub/lost+found")).unwrap();
    fs::write(trees.to("precious"), "").unwrap();
    symlink(trees.to(""), trees.from("link")).unwrap();
    empty(&File::open(trees.from("")).unwrap().into(), "lost+found").unwrap();
    let left: Vec<_> = fs::read_dir(trees.from(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["lost+found"]);
    assert!(trees.from("lost+found/kept").exists() && trees.to("precious").exists());
}

#[test]
fn what_cannot_be_copied_is_named_or_left_out() {
    let trees = Trees::new();
    for name in ["small", "there", "large"] {
        fs::write(
            trees.from(name),
            "x".repeat(if name == "large" { 11 } else { 10 }),
        )
        .unwrap();
    }
    fs::write(trees.to("there"), "before").unwrap();
    let error = trees.copy(WHOLE).unwrap_err();
    assert_eq!(error.to_string(), "cannot copy there");
    let lenient = Rules {
        entries: 3,
        file: 10,
        lenient: true,
        without: None,
    };
    for name in ["small", "large"] {
        let _ = fs::remove_file(trees.to(name));
    }
    trees.copy(lenient).unwrap();
    assert_eq!(fs::read(trees.to("there")).unwrap(), b"before");
    assert!(trees.to("small").exists() && !trees.to("large").exists());
}

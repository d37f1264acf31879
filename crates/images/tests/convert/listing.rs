//! What is in an image or in a folder, name by name with every attribute.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::process::Command;

use images::ext4::read::{Filesystem, Inode, InodeNumber, Kind};
use rustix::fs::{lgetxattr, llistxattr, major, minor};
use sha2::{Digest, Sha256};

use crate::archive::Time;

/// What a name leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Directory,
    /// Size, and SHA-256 of the data with holes as zeros.
    File(u64, String),
    Symlink(Vec<u8>),
    CharDevice(u32, u32),
    BlockDevice(u32, u32),
    Fifo,
    Socket,
}

/// An inode, as it is seen by one of its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) what: What,
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Time,
    pub(crate) atime: Time,
    pub(crate) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The first name of the same inode.
    pub(crate) first: Vec<u8>,
}

/// Paths without a leading `/`, the root as an empty one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Listing(pub(crate) BTreeMap<Vec<u8>, Item>);

impl Listing {
    /// Reads an image, and checks that it counts its links right.
    pub(crate) fn of_image(file: &File) -> Self {
        let filesystem = Filesystem::open(file).unwrap();
        let mut listing = Self::default();
        // What each inode counts, and the names that were met.
        let mut links: HashMap<InodeNumber, (Vec<u8>, u16, u16)> = HashMap::new();
        let mut pending = vec![(Vec::new(), filesystem.inode(InodeNumber::ROOT).unwrap())];
        while let Some((path, inode)) = pending.pop() {
            if inode.kind == Kind::Directory {
                let entries = filesystem.directory(&inode).unwrap();
                let mut subfolders = 0;
                for entry in entries {
                    let below = filesystem.inode(entry.inode).unwrap();
                    subfolders += u32::from(below.kind == Kind::Directory);
                    pending.push((join(&path, &entry.name), below));
                }
                let counted = u32::from(inode.links);
                assert!(counted == subfolders + 2 || counted == 1 && subfolders > 64_997);
            }
            let seen = links
                .entry(inode.number)
                .or_insert((path.clone(), inode.links, 0));
            seen.0 = seen.0.clone().min(path.clone());
            seen.2 += 1;
            listing.0.insert(path, item(&filesystem, &inode));
        }
        let firsts: HashMap<u32, Vec<u8>> = links
            .iter()
            .map(|(number, (first, ..))| (number.0, first.clone()))
            .collect();
        for item in listing.0.values_mut() {
            let number = u32::from_le_bytes(item.first.as_slice().try_into().unwrap());
            item.first.clone_from(&firsts[&number]);
            let (_, counted, met) = &links[&InodeNumber(number)];
            assert!(item.what == What::Directory || counted == met, "{item:?}");
        }
        listing
    }

    /// Reads a folder, as root.
    pub(crate) fn of_folder(root: &Path) -> Self {
        let mut listing = Self::default();
        let mut firsts: HashMap<u64, Vec<u8>> = HashMap::new();
        let mut pending = vec![Vec::new()];
        while let Some(path) = pending.pop() {
            let place = root.join(OsStr::from_bytes(&path));
            let metadata = place.symlink_metadata().unwrap();
            let first = firsts.entry(metadata.ino()).or_insert_with(|| path.clone());
            *first = first.clone().min(path.clone());
            if metadata.is_dir() {
                for entry in fs::read_dir(&place).unwrap() {
                    pending.push(join(&path, entry.unwrap().file_name().as_bytes()));
                }
            }
            let number = metadata.ino();
            let mut item = of_host(&place, &metadata);
            item.first = number.to_le_bytes().to_vec();
            listing.0.insert(path, item);
        }
        for item in listing.0.values_mut() {
            let number = u64::from_le_bytes(item.first.as_slice().try_into().unwrap());
            item.first.clone_from(&firsts[&number]);
        }
        listing
    }

    pub(crate) fn get(&self, path: &str) -> Option<&Item> {
        self.0.get(path.as_bytes())
    }

    /// Names that are there, as text.
    pub(crate) fn names(&self) -> Vec<String> {
        let names = self.0.keys().filter(|path| !path.is_empty());
        names.map(|path| path.escape_ascii().to_string()).collect()
    }

    /// What differs, a line each; empty where nothing does.
    pub(crate) fn differences(&self, other: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        for (path, item) in &self.0 {
            match other.0.get(path) {
                None => lines.push(format!("{}: only here", path.escape_ascii())),
                Some(there) if there != item => {
                    lines.push(format!("{}: {item:?} and {there:?}", path.escape_ascii()));
                }
                Some(_) => {}
            }
        }
        let missing = other.0.keys().filter(|path| !self.0.contains_key(*path));
        lines.extend(missing.map(|path| format!("{}: only there", path.escape_ascii())));
        lines
    }
}

fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    if folder.is_empty() {
        name.to_vec()
    } else {
        [folder, b"/", name].concat()
    }
}

/// `first` is the inode's number for now.
fn item(filesystem: &Filesystem<'_, File>, inode: &Inode) -> Item {
    let time = |time: images::ext4::read::Time| (time.seconds, time.nanoseconds);
    let what = match inode.kind {
        Kind::Directory => What::Directory,
        Kind::File => {
            let mut contents = filesystem.contents(inode).unwrap();
            What::File(inode.size, digest(&mut contents))
        }
        Kind::Symlink => What::Symlink(filesystem.target(inode).unwrap()),
        Kind::CharDevice { major, minor } => What::CharDevice(major, minor),
        Kind::BlockDevice { major, minor } => What::BlockDevice(major, minor),
        Kind::Fifo => What::Fifo,
        Kind::Socket => What::Socket,
    };
    Item {
        what,
        mode: inode.mode,
        uid: inode.uid,
        gid: inode.gid,
        mtime: time(inode.mtime),
        atime: time(inode.atime),
        xattrs: filesystem.xattrs(inode).unwrap().into_iter().collect(),
        first: inode.number.0.to_le_bytes().to_vec(),
    }
}

fn of_host(place: &Path, metadata: &Metadata) -> Item {
    let kind = metadata.file_type();
    let device = || (major(metadata.rdev()), minor(metadata.rdev()));
    let what = if kind.is_dir() {
        What::Directory
    } else if kind.is_file() {
        What::File(metadata.len(), digest(&mut File::open(place).unwrap()))
    } else if kind.is_symlink() {
        What::Symlink(fs::read_link(place).unwrap().into_os_string().as_bytes().to_vec())
    } else if kind.is_char_device() {
        What::CharDevice(device().0, device().1)
    } else if kind.is_block_device() {
        What::BlockDevice(device().0, device().1)
    } else if kind.is_fifo() {
        What::Fifo
    } else {
        What::Socket
    };
    let nanoseconds = |number: i64| u32::try_from(number).unwrap();
    Item {
        what,
        mode: u16::try_from(metadata.mode() & 0o7777).unwrap(),
        uid: metadata.uid(),
        gid: metadata.gid(),
        mtime: (metadata.mtime(), nanoseconds(metadata.mtime_nsec())),
        atime: (metadata.atime(), nanoseconds(metadata.atime_nsec())),
        xattrs: host_xattrs(place),
        first: Vec::new(),
    }
}

fn host_xattrs(place: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = vec![0; 64 << 10];
    let length = llistxattr(place, &mut names).unwrap();
    let names = names[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty());
    let value = |name: &[u8]| {
        let mut value = vec![0; 64 << 10];
        let length = lgetxattr(place, OsStr::from_bytes(name), &mut value).unwrap();
        value.truncate(length);
        value
    };
    names.map(|name| (name.to_vec(), value(name))).collect()
}

fn digest(data: &mut impl Read) -> String {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = data.read(&mut buffer).unwrap();
        if count == 0 {
            return hex::encode(hash.finalize());
        }
        hash.update(&buffer[..count]);
    }
}

pub(crate) fn digest_of(mut data: &[u8]) -> String {
    digest(&mut data)
}

/// Has e2fsck look at an image: not a word of complaint.
pub(crate) fn check(file: &File) {
    let image = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
    let output = Command::new("/usr/sbin/e2fsck")
        .args(["-fn", &image])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    // Passes and the summary, and nothing between.
    let complaints = said
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with("Pass ") && !line.contains(" files (0.0% non-"))
        .filter(|line| !line.contains("% non-contiguous), "))
        .count();
    assert_eq!(complaints, 0, "{said}");
}

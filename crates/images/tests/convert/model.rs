//! The rules of layers, as plainly as they can be written: a map from paths to what is there, searched and changed path by
//! path. The reference for them is `umoci unpack`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::archive::{Entry, Time, What};
use crate::listing::{self, Item, Listing, digest_of};

type Path = Vec<Vec<u8>>;

/// Why an entry cannot be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Impossible;

#[derive(Clone, Debug)]
struct Inode {
    what: listing::What,
    mode: u16,
    uid: u32,
    gid: u32,
    mtime: Time,
    atime: Time,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// The tree as layers have made it so far.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    /// Number of the inode at each path; the root is the empty path.
    paths: BTreeMap<Path, usize>,
    inodes: Vec<Inode>,
    /// What this layer has, with all folders above it.
    upper: BTreeSet<Path>,
}

impl Model {
    pub(crate) fn new() -> Self {
        let root = implied((0, 0));
        Self {
            paths: BTreeMap::from([(Path::new(), 0)]),
            inodes: vec![root],
            upper: BTreeSet::new(),
        }
    }

    pub(crate) fn next_layer(&mut self) {
        self.upper.clear();
    }

    fn at(&self, path: &Path) -> Option<&Inode> {
        self.paths.get(path).map(|number| &self.inodes[*number])
    }

    fn is_directory(&self, path: &Path) -> bool {
        self.at(path)
            .is_some_and(|inode| inode.what == listing::What::Directory)
    }

    /// Where a folder of this name is, there or not, if links are followed as by a process whose root this is.
    fn resolve(&self, names: &[Vec<u8>]) -> Result<Path, Impossible> {
        let mut ahead: VecDeque<Vec<u8>> = names.iter().cloned().collect();
        let (mut at, mut links) = (Path::new(), 0);
        while let Some(name) = ahead.pop_front() {
            if name == b".." {
                at.pop();
                continue;
            }
            if name.is_empty() || name == b"." {
                continue;
            }
            at.push(name);
            if let Some(listing::What::Symlink(target)) = self.at(&at).map(|inode| &inode.what) {
                links += 1;
                if links > 255 {
                    return Err(Impossible);
                }
                at.pop();
                if target.starts_with(b"/") {
                    at.clear();
                }
                for name in target.split(|byte| *byte == b'/').rev() {
                    ahead.push_front(name.to_vec());
                }
            }
        }
        Ok(at)
    }

    fn remove(&mut self, path: &Path) {
        self.paths.retain(|other, _| !other.starts_with(path));
    }

    fn make(&mut self, path: Path, inode: Inode) {
        self.inodes.push(inode);
        self.paths.insert(path, self.inodes.len() - 1);
    }

    fn touch(&mut self, path: &Path) {
        for length in 1..=path.len() {
            self.upper.insert(path[..length].to_vec());
        }
    }

    pub(crate) fn apply(&mut self, entry: &Entry) -> Result<(), Impossible> {
        let names = clean(&entry.path);
        let Some((name, parents)) = names.split_last() else {
            if entry.what != What::Directory {
                return Err(Impossible);
            }
            self.inodes[0] = described(entry, listing::What::Directory);
            return Ok(());
        };
        if let Some(hidden) = name.strip_prefix(b".wh.") {
            let parent = self.resolve(parents)?;
            return self.hide(parent, hidden);
        }
        let parent = self.resolve(parents)?;
        self.make_folders(&parent, entry.mtime);
        let mut path = parent;
        path.push(name.clone());
        if path.iter().any(|name| name.len() > 255) {
            return Err(Impossible);
        }
        let what = match &entry.what {
            What::Directory => {
                if self.is_directory(&path) {
                    let number = self.paths[&path];
                    self.inodes[number] = described(entry, listing::What::Directory);
                } else {
                    self.remove(&path);
                    self.make(path.clone(), described(entry, listing::What::Directory));
                }
                self.touch(&path);
                return Ok(());
            }
            What::HardLink(target) => return self.link(&path, target),
            What::File { size, pieces } => {
                let mut data = vec![0; usize::try_from(*size).unwrap()];
                for (offset, piece) in pieces {
                    let offset = usize::try_from(*offset).unwrap();
                    data[offset..offset + piece.len()].copy_from_slice(piece);
                }
                listing::What::File(*size, digest_of(&data))
            }
            What::Symlink(target) => listing::What::Symlink(target.clone()),
            What::CharDevice(major, minor) => listing::What::CharDevice(*major, *minor),
            What::BlockDevice(major, minor) => listing::What::BlockDevice(*major, *minor),
            What::Fifo => listing::What::Fifo,
        };
        self.remove(&path);
        self.make(path.clone(), described(entry, what));
        self.touch(&path);
        Ok(())
    }

    /// Makes all folders of a path; what is no folder gives way.
    fn make_folders(&mut self, path: &Path, mtime: Time) {
        for length in 1..=path.len() {
            let folder = path[..length].to_vec();
            if !self.is_directory(&folder) {
                self.remove(&folder);
                self.make(folder, implied(mtime));
            }
        }
    }

    fn link(&mut self, path: &Path, target: &[u8]) -> Result<(), Impossible> {
        let find = |model: &Self| {
            let names = clean(target);
            let (name, parents) = names.split_last().ok_or(Impossible)?;
            let mut place = model.resolve(parents)?;
            place.push(name.clone());
            let number = model.paths.get(&place).copied().ok_or(Impossible)?;
            if model.is_directory(&place) {
                return Err(Impossible);
            }
            Ok(number)
        };
        let number = find(self)?;
        if self.paths.get(path) != Some(&number) {
            self.remove(path);
            if find(self)? != number {
                return Err(Impossible);
            }
            self.paths.insert(path.clone(), number);
        }
        self.touch(path);
        Ok(())
    }

    /// Removes what is below and not of this layer.
    fn hide(&mut self, parent: Path, name: &[u8]) -> Result<(), Impossible> {
        let is_opaque = name == b".wh..opq";
        if matches!(name, b"" | b"." | b"..") {
            return Err(Impossible);
        }
        let mut path = parent;
        if !is_opaque {
            path.push(name.to_vec());
        }
        let below: Vec<Path> = self
            .paths
            .keys()
            .filter(|other| other.starts_with(&path) && (!is_opaque || **other != path))
            .cloned()
            .collect();
        for path in below {
            if !self.upper.contains(&path) {
                self.remove(&path);
            }
        }
        Ok(())
    }

    pub(crate) fn listing(&self) -> Listing {
        let joined = |path: &Path| path.join(&b'/');
        let mut firsts = BTreeMap::new();
        for (path, number) in &self.paths {
            let first: &mut Vec<u8> = firsts.entry(*number).or_insert_with(|| joined(path));
            *first = first.clone().min(joined(path));
        }
        let item = |(path, number): (&Path, &usize)| {
            let inode = self.inodes[*number].clone();
            let item = Item {
                what: inode.what,
                mode: inode.mode,
                uid: inode.uid,
                gid: inode.gid,
                mtime: inode.mtime,
                atime: inode.atime,
                xattrs: inode.xattrs,
                first: firsts[number].clone(),
            };
            (joined(path), item)
        };
        Listing(self.paths.iter().map(item).collect())
    }
}

/// The names of a path, `..` taken literally.
fn clean(path: &[u8]) -> Path {
    let mut names = Path::new();
    for name in path.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => drop(names.pop()),
            name => names.push(name.to_vec()),
        }
    }
    names
}

/// A folder that no entry describes.
fn implied(time: Time) -> Inode {
    Inode {
        what: listing::What::Directory,
        mode: 0o755,
        uid: 0,
        gid: 0,
        mtime: time,
        atime: time,
        xattrs: BTreeMap::new(),
    }
}

fn described(entry: &Entry, what: listing::What) -> Inode {
    let is_link = matches!(what, listing::What::Symlink(_));
    let is_folder = what == listing::What::Directory;
    let holds_users = is_folder || matches!(what, listing::What::File(..));
    let mut mode = if is_link { 0o777 } else { entry.mode };
    let mut xattrs = BTreeMap::new();
    for (name, value) in &entry.xattrs {
        let text = String::from_utf8_lossy(name);
        let is_kept = match text.split_once('.').unwrap() {
            ("user", _) => holds_users,
            ("system", "posix_acl_access") => !is_link,
            ("system", "posix_acl_default") => is_folder,
            ("trusted", rest) => !rest.starts_with("overlay."),
            ("security", rest) => rest != "selinux",
            _ => false,
        };
        if !is_kept {
            continue;
        }
        if text == "system.posix_acl_access" {
            let (bits, says_more) = permissions(value);
            mode = mode & 0o7000 | bits;
            if !says_more {
                continue;
            }
        }
        xattrs.insert(name.clone(), value.clone());
    }
    Inode {
        what,
        mode,
        uid: entry.uid,
        gid: entry.gid,
        mtime: entry.mtime,
        atime: entry.atime.unwrap_or(entry.mtime),
        xattrs,
    }
}

/// What an access control list makes of a file's nine bits, and whether it says more than they do.
fn permissions(list: &[u8]) -> (u16, bool) {
    let rules = list[4..].chunks_exact(8);
    let of = |tag: u8| {
        let rule = rules.clone().find(|rule| rule[0] == tag);
        rule.map(|rule| u16::from(rule[2]))
    };
    let group = of(16).or(of(4)).unwrap();
    (
        of(1).unwrap() << 6 | group << 3 | of(32).unwrap(),
        rules.len() > 3,
    )
}

//! What a system call is about, read from the stopped thread's arguments, memory and descriptors.

use std::fs::File;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::calls::{About, Call, CloneFlags, OPENS_TO_WRITE, find};
use super::{Fails, Points, Step};

/// The longest path (PATH_MAX, limits.h).
const LONGEST: usize = 4096;

/// The longest address of a Unix socket (unix(7)).
const ADDRESS: usize = 110;

/// A thread that stands before a system call.
pub(super) struct Stopped {
    pub(super) thread: i32,
    pub(super) number: u64,
    pub(super) arguments: [u64; 6],
}

impl Stopped {
    /// The step that it is about to take; nothing if the call is none.
    pub(super) fn step(&self, sandbox: &Path, points: &mut Points) -> Option<Step> {
        let call = find(self.number)?;
        let about = self.about(call, sandbox)?;
        let (changes, fails) = self.kind(call)?;
        let name = if call.opens() && changes {
            "create"
        } else {
            call.name
        };
        Some(Step {
            point: points.next(name, &about),
            changes,
            fails,
        })
    }

    /// Whether it changes something, and how it can fail.
    fn kind(&self, call: &Call) -> Option<(bool, Fails)> {
        if let Some(flags) = call.clone_flags() {
            let flags = match flags {
                CloneFlags::First => self.arguments[0],
                CloneFlags::Behind => self.word(self.arguments[0])?,
            };
            // A thread is no step.
            let thread = u64::try_from(libc::CLONE_THREAD).ok()?;
            return (flags & thread == 0).then_some((true, call.fails));
        }
        if call.opens() {
            let flags = match call.about {
                About::At(at) | About::Path(at) => self.arguments[at + 1],
                _ => return None,
            };
            let making = u64::try_from(libc::O_CREAT | libc::O_TRUNC | libc::O_WRONLY | libc::O_RDWR).ok()?;
            if flags & making != 0 {
                return Some((true, OPENS_TO_WRITE));
            }
        }
        Some((call.changes, call.fails))
    }

    /// What it is about, if that is the sandbox's or nobody's.
    fn about(&self, call: &Call, sandbox: &Path) -> Option<String> {
        let of = |path: PathBuf| {
            let inside = path.strip_prefix(sandbox).ok()?;
            Some(inside.to_string_lossy().into_owned())
        };
        match call.about {
            About::Nothing => Some(String::new()),
            About::Path(at) => of(self.link("cwd")?.join(self.path(self.arguments[at])?)),
            About::At(at) => {
                let named = self.path(self.arguments[at])?;
                let folder = self.descriptor(self.arguments[at - 1]);
                let folder = folder.or_else(|| self.link("cwd"))?;
                of(folder.join(named))
            }
            About::Descriptor(at) => {
                let file = self.descriptor(self.arguments[at])?;
                if file.to_string_lossy().starts_with("socket:") {
                    return Some("socket".to_owned());
                }
                of(file)
            }
            About::Address(at) => Some(self.address(self.arguments[at], self.arguments[at + 1])?),
        }
    }

    fn link(&self, of: &str) -> Option<PathBuf> {
        std::fs::read_link(format!("/proc/{}/{of}", self.thread)).ok()
    }

    /// What a descriptor is open on. Nothing for `AT_FDCWD`, which is below zero as the 32 bits that it is.
    fn descriptor(&self, argument: u64) -> Option<PathBuf> {
        let low = u32::try_from(argument & u64::from(u32::MAX)).ok()?;
        let descriptor = i32::try_from(low).ok()?;
        self.link(&format!("fd/{descriptor}"))
    }

    fn path(&self, at: u64) -> Option<PathBuf> {
        let bytes = self.memory(at, LONGEST)?;
        let end = bytes.iter().position(|byte| *byte == 0)?;
        Some(Path::new(std::ffi::OsStr::from_bytes(bytes.get(..end)?)).to_owned())
    }

    /// The last part of a Unix socket's path; the family of any other.
    fn address(&self, at: u64, length: u64) -> Option<String> {
        let length = usize::try_from(length).ok()?.min(ADDRESS);
        let bytes = self.memory(at, length)?;
        let (family, path) = bytes.split_first_chunk()?;
        if i32::from(u16::from_ne_bytes(*family)) != libc::AF_UNIX {
            return Some("internet".to_owned());
        }
        let path = path.split(|byte| *byte == 0).next()?;
        let path = Path::new(std::ffi::OsStr::from_bytes(path));
        Some(
            path.file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
        )
    }

    fn word(&self, at: u64) -> Option<u64> {
        let bytes = self.memory(at, 8)?;
        Some(u64::from_ne_bytes(bytes.try_into().ok()?))
    }

    /// Up to `length` bytes: a path may end right before a page that is not there.
    fn memory(&self, at: u64, length: usize) -> Option<Vec<u8>> {
        let memory = File::open(format!("/proc/{}/mem", self.thread)).ok()?;
        let mut bytes = vec![0; length];
        let read = memory.read_at(&mut bytes, at).ok()?;
        bytes.truncate(read);
        Some(bytes)
    }
}

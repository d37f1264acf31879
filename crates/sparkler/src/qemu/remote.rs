//! The memory of QEMU's process, seen from its parent.
//!
//! Invariant: a [`Remote`] is one process for ever, never another that got its number: the kernel ties the open file to
//! the address space, and once that is gone every access fails.
//!
//! The kernel allows it to whoever may trace the process (ptrace(2), "Ptrace access mode checking"): a parent of the same
//! user may, unless `kernel.yama.ptrace_scope` is 2 or more, or a security module forbids it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Longest `/proc/PID/maps` read, bytes. QEMU has some hundred lines of a hundred bytes.
const MAX_MAPS: usize = 4 << 20;

/// A process's memory, opened.
#[derive(Debug)]
pub struct Remote {
    folder: PathBuf,
    memory: File,
}

/// A piece of a process's address space (`/proc/PID/maps`, proc(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// The address after the last.
    pub end: u64,
    /// Whether it can be read.
    pub readable: bool,
    /// Whether it can be written.
    pub writable: bool,
    /// Whether it can be run.
    pub executable: bool,
    /// Place in the file, bytes.
    pub offset: u64,
    /// The file's number, 0 for none.
    pub inode: u64,
    /// The file, or a name in brackets.
    pub name: String,
}

impl Remote {
    /// Opens the memory of a child that was not waited for yet.
    pub fn open(id: u32) -> io::Result<Self> {
        let folder = Path::new("/proc").join(number_in_proc(id)?.to_string());
        let memory = OpenOptions::new()
            .read(true)
            .write(true)
            .open(folder.join("mem"))?;
        Ok(Self { folder, memory })
    }

    /// Reads a piece.
    pub fn read(&self, address: u64, into: &mut [u8]) -> io::Result<()> {
        self.memory.read_exact_at(into, address)
    }

    /// Writes a piece.
    pub fn write(&self, address: u64, bytes: &[u8]) -> io::Result<()> {
        self.memory.write_all_at(bytes, address)
    }

    /// What its address space is made of.
    pub fn mappings(&self) -> io::Result<Vec<Mapping>> {
        let text = fs::read_to_string(self.folder.join("maps"))?;
        if text.len() > MAX_MAPS {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(text.lines().filter_map(parse).collect())
    }

    /// The table of its pages (`/proc/PID/pagemap`).
    pub fn pagemap(&self) -> io::Result<File> {
        File::open(self.folder.join("pagemap"))
    }

    /// The program's file, as `maps` names it.
    pub fn program(&self) -> io::Result<PathBuf> {
        fs::read_link(self.folder.join("exe"))
    }

    /// The program's file, opened.
    pub fn program_file(&self) -> io::Result<File> {
        File::open(self.folder.join("exe"))
    }
}

/// The number by which /proc has this process. Our own number for it is another where we are in a PID namespace and /proc is
/// mounted for the one above, as in pasta's namespaces; a pidfd's entry in fdinfo tells (proc(5)).
fn number_in_proc(id: u32) -> io::Result<u32> {
    let pid = i32::try_from(id).ok().and_then(rustix::process::Pid::from_raw);
    let pid = pid.ok_or(io::ErrorKind::InvalidInput)?;
    let handle = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?;
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", handle.as_raw_fd()))?;
    let number = info
        .lines()
        .find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok());
    number
        .filter(|number| *number > 0)
        .ok_or_else(|| io::ErrorKind::NotFound.into())
}

fn parse(line: &str) -> Option<Mapping> {
    let mut words = line.splitn(6, ' ');
    let (start, end) = words.next()?.split_once('-')?;
    let flags = words.next()?.as_bytes();
    let offset = words.next()?;
    let _device = words.next()?;
    let inode = words.next()?;
    let hex = |text| u64::from_str_radix(text, 16).ok();
    Some(Mapping {
        start: hex(start)?,
        end: hex(end)?,
        readable: flags.first() == Some(&b'r'),
        writable: flags.get(1) == Some(&b'w'),
        executable: flags.get(2) == Some(&b'x'),
        offset: hex(offset)?,
        inode: inode.parse().ok()?,
        name: words.next().unwrap_or_default().trim_start().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_maps_are_read() {
        let line = "560280ad7000-560280ede000 r--p 00001000 fe:00 2889 /usr/bin/with space";
        let mapping = parse(line).unwrap();
        assert_eq!((mapping.start, mapping.end), (0x5602_80ad_7000, 0x5602_80ed_e000));
        assert_eq!(
            (mapping.readable, mapping.writable, mapping.offset, mapping.inode),
            (true, false, 0x1000, 2889)
        );
        assert_eq!(mapping.name, "/usr/bin/with space");
        let heap = parse("7f0-8f0 rw-p 00000000 00:00 0                          [heap]").unwrap();
        assert_eq!((heap.writable, heap.name.as_str()), (true, "[heap]"));
        assert_eq!(parse("nonsense"), None);
    }

    #[test]
    fn a_childs_memory_is_read_and_written() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        // The name of its program lies in its memory from the start on.
        let remote = loop {
            let remote = Remote::open(child.id()).unwrap();
            if remote.program().unwrap() != std::env::current_exe().unwrap() {
                break remote;
            }
        };
        let stack = remote.mappings().unwrap();
        let stack = stack.iter().find(|mapping| mapping.name == "[stack]").unwrap();
        let mut bytes = [0; 8];
        remote.read(stack.start, &mut bytes).unwrap();
        remote.write(stack.start, b"sparkler").unwrap();
        remote.read(stack.start, &mut bytes).unwrap();
        assert_eq!(&bytes, b"sparkler");
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(remote.read(stack.start, &mut bytes).is_err());
    }
}

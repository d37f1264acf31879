//! A memory of this process's own in the place of a guest's.

use std::io::{Seek as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::ptr::null_mut;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use images::Task;
use rustix::ioctl::{Updater, ioctl, opcode};
use rustix::mm::{
    Advice, MapFlags, ProtFlags, UserfaultfdFlags, madvise, mmap_anonymous, munmap, userfaultfd,
};
use tokio::time::Instant;

use super::Pager;
use super::handshake::Region;
use super::serve::Server;
use super::uffd::{PAGE, Uffd};
use super::working_set::{BLOCK, WorkingSet};
use crate::Error;
use crate::layout::Files;

/// Blocks of the memory: two in three have data.
const BLOCKS: u64 = 24;
const SIZE: usize = 24 * 65_536;

/// `UFFD_API`, `UFFD_FEATURE_EVENT_REMOVE`, `UFFDIO_REGISTER_MODE_MISSING`.
const API: u64 = 0xaa;
const EVENT_REMOVE: u64 = 1 << 3;
const MISSING: u64 = 1;

/// Anonymous memory whose faults somebody else answers.
struct Memory {
    start: u64,
    uffd: std::os::fd::OwnedFd,
}

impl Memory {
    /// `None` where the kernel offers none.
    fn new() -> Option<Self> {
        let flags = UserfaultfdFlags::CLOEXEC | UserfaultfdFlags::NONBLOCK;
        // SAFETY: nothing is registered with it yet.
        let made = unsafe { userfaultfd(flags | UserfaultfdFlags::from_bits_retain(1)) };
        let uffd = made.ok()?;
        // SAFETY: fresh memory.
        let start = unsafe {
            mmap_anonymous(
                null_mut(),
                SIZE,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )
            .unwrap()
        };
        let start = start as u64;
        let mut api = [API, EVENT_REMOVE, 0];
        // SAFETY: `struct uffdio_api` is three numbers.
        unsafe {
            ioctl(
                &uffd,
                Updater::<{ opcode::read_write::<[u64; 3]>(0xaa, 0x3f) }, _>::new(&mut api),
            )
        }
        .unwrap();
        let mut register = [start, SIZE as u64, MISSING, 0];
        // SAFETY: `struct uffdio_register` is four numbers; the range is ours.
        unsafe {
            ioctl(
                &uffd,
                Updater::<{ opcode::read_write::<[u64; 4]>(0xaa, 0) }, _>::new(&mut register),
            )
        }
        .unwrap();
        Some(Self { start, uffd })
    }

    /// Touches it.
    fn byte(&self, at: u64) -> u8 {
        assert!(at < SIZE as u64);
        // SAFETY: inside of the memory, which nobody writes to but by the kernel.
        unsafe { &*((self.start + at) as *const AtomicU8) }.load(Ordering::Relaxed)
    }

    fn give_up(&self, at: u64, length: u64) {
        // SAFETY: inside of the memory, to which there is no reference.
        unsafe {
            madvise(
                (self.start + at) as *mut _,
                usize::try_from(length).unwrap(),
                Advice::LinuxDontNeed,
            )
        }
        .unwrap();
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, and not used any more.
        unsafe { munmap(self.start as *mut _, SIZE) }.unwrap();
    }
}

/// What the file has there.
fn content(at: u64) -> u8 {
    let block = at / BLOCK;
    if block.is_multiple_of(3) {
        0
    } else {
        (at / PAGE % 251) as u8 + 1
    }
}

struct Served {
    memory: Arc<Memory>,
    line: std::io::PipeWriter,
    task: Task,
    work: JoinHandle<std::io::Result<WorkingSet>>,
}

fn serve(known: Option<WorkingSet>) -> Option<Served> {
    let memory = Arc::new(Memory::new()?);
    let mut file = tempfile::tempfile().unwrap();
    file.set_len(SIZE as u64).unwrap();
    for block in (0..BLOCKS).filter(|block| !block.is_multiple_of(3)) {
        let bytes: Vec<u8> = (block * BLOCK..(block + 1) * BLOCK).map(content).collect();
        file.seek(std::io::SeekFrom::Start(block * BLOCK)).unwrap();
        file.write_all(&bytes).unwrap();
    }
    let half = SIZE as u64 / 2 + 3 * PAGE;
    let regions = vec![
        Region {
            start: memory.start,
            offset: 0,
            length: half,
        },
        Region {
            start: memory.start + half,
            offset: half,
            length: SIZE as u64 - half,
        },
    ];
    let uffd = Uffd::check(memory.uffd.try_clone().unwrap()).unwrap();
    let (reader, line) = std::io::pipe().unwrap();
    let task = Task::new();
    let called_off = task.clone();
    let work = std::thread::spawn(move || {
        Server::new(uffd, regions, file, SIZE as u64).run(&reader, known.as_ref(), &called_off)
    });
    Some(Served {
        memory,
        line,
        task,
        work,
    })
}

macro_rules! served {
    ($known:expr, $name:literal) => {
        match serve($known) {
            Some(served) => served,
            None => return testkit::skip($name, "userfaultfd"),
        }
    };
}

#[test]
fn what_is_touched_is_put_at_once_noted_and_followed_by_the_rest() {
    let mut served = served!(
        None,
        "what_is_touched_is_put_at_once_noted_and_followed_by_the_rest"
    );
    let touched = [1u64, 2, 13, 22];
    for block in touched.iter().chain(&[0, 3]) {
        let at = block * BLOCK + 5 * PAGE + 7;
        assert_eq!(served.memory.byte(at), content(at), "{block}");
    }
    served.line.write_all(&[0]).unwrap();
    drop(served.line);
    let noted = served.work.join().unwrap().unwrap();
    assert_eq!(noted, WorkingSet::new(SIZE as u64, touched));
    // Nobody serves any more, and all is there.
    for at in (0..SIZE as u64 / PAGE).map(|page| page * PAGE) {
        assert_eq!(served.memory.byte(at), content(at), "{at}");
    }
}

#[test]
fn what_is_known_is_there_before_and_what_was_given_up_stays_zero() {
    let known = WorkingSet::new(SIZE as u64, [1, 2, 4]);
    let mut served = served!(
        Some(known),
        "what_is_known_is_there_before_and_what_was_given_up_stays_zero"
    );
    // Some of it was put already, some is not yet; whoever gives up waits until it is heard.
    let gone = BLOCK + 3 * PAGE..20 * BLOCK;
    served.memory.give_up(gone.start, gone.end - gone.start);
    let expected = |at| if gone.contains(&at) { 0 } else { content(at) };
    assert_eq!(served.memory.byte(5 * BLOCK), 0);
    assert_eq!(served.memory.byte(22 * BLOCK), content(22 * BLOCK));
    served.line.write_all(&[0]).unwrap();
    served.work.join().unwrap().unwrap();
    for at in (0..SIZE as u64 / PAGE).map(|page| page * PAGE) {
        assert_eq!(served.memory.byte(at), expected(at), "{at}");
    }
}

#[test]
fn the_end_of_the_line_ends_the_work() {
    for known in [None, Some(WorkingSet::new(SIZE as u64, [1]))] {
        let served = served!(known, "the_end_of_the_line_ends_the_work");
        drop(served.line);
        let error = served.work.join().unwrap().unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::Interrupted);
    }
}

#[test]
fn work_that_is_called_off_ends() {
    let mut served = served!(None, "work_that_is_called_off_ends");
    served.task.cancel();
    // Without that all would be put in its place now. It may have ended already, and not listen.
    let _ = served.line.write_all(&[0]);
    let error = served.work.join().unwrap().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::Interrupted);
}

#[tokio::test]
async fn nobody_else_connects_and_nothing_stays() {
    let temp = tempfile::tempdir().unwrap();
    let path = |name: &str| temp.path().join(name);
    let files = Files {
        data: temp.path().to_owned(),
        runtime: temp.path().to_owned(),
    };
    let pager = Pager::listen(&files, path("memory"), None).unwrap();
    let mode = pager.socket().metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    drop(pager);
    assert!(!path("pages.sock").exists());
}

#[tokio::test]
async fn a_vmm_that_does_not_ask_is_not_waited_for() {
    let temp = tempfile::tempdir().unwrap();
    let path = |name: &str| temp.path().join(name);
    std::fs::write(path("memory"), [0; 4096]).unwrap();
    let files = Files {
        data: temp.path().to_owned(),
        runtime: temp.path().to_owned(),
    };
    let pager = Pager::listen(&files, path("memory"), None).unwrap();
    let at_once = (Instant::now(), Duration::ZERO);
    let served = pager
        .beside(at_once, async { Ok(()) }, |error: Error| error)
        .await;
    assert!(matches!(served, Err(Error::NoAnswer { .. })));
}

#[test]
fn another_descriptor_is_no_userfaultfd() {
    let file = tempfile::tempfile().unwrap();
    assert!(Uffd::check(file.into()).is_err());
}

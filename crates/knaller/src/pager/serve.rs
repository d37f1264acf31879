//! Puts a guest's memory in its place.
//!
//! The invariant: a page is put once, unless its owner has given it up since; then it is zeros. Faults come before everything
//! else, yet are answered some at a time, so that whoever faults without end does not keep the work from its own.

use std::collections::{BTreeSet, VecDeque};
use std::fs::File;
use std::io::{self, PipeReader, Read as _};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::rc::Rc;

use images::Task;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use super::handshake::Region;
use super::uffd::{Event, PAGE, Stopped, Uffd};
use super::working_set::{BLOCK, WorkingSet};

/// What is known of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Page {
    /// Nobody has needed it.
    Waits,
    There,
    /// There is nothing to put: it was all zeros, or was given up.
    Zeros,
}

/// A piece of work that can be broken off by something that has to be heard first.
#[derive(Debug, PartialEq, Eq)]
enum Done {
    All,
    Interrupted,
}

pub(super) struct Server {
    uffd: Uffd,
    regions: Rc<[Region]>,
    memory: File,
    size: u64,
    /// By the page's number in the memory file.
    pages: Vec<Page>,
    /// Addresses of faults that are not answered yet.
    faults: VecDeque<u64>,
    touched: BTreeSet<u64>,
    /// Everything before it in the memory file was looked at.
    next: u64,
    buffer: Vec<u8>,
}

impl Server {
    pub(super) fn new(uffd: Uffd, regions: Vec<Region>, memory: File, size: u64) -> Self {
        let pages = usize::try_from(size / PAGE).unwrap_or(usize::MAX);
        Self {
            uffd,
            regions: regions.into(),
            memory,
            size,
            pages: vec![Page::Waits; pages],
            faults: VecDeque::new(),
            touched: BTreeSet::new(),
            next: 0,
            buffer: vec![0; usize::try_from(BLOCK).unwrap_or_default()],
        }
    }

    /// Serves until a byte comes by the line and all is in its place, and tells what was touched. The end of the line without a
    /// byte is an error. Without `known` nothing is put before the byte comes but what is touched. A VMM that keeps it from its
    /// work does so until `task` is called off.
    pub(super) fn run(
        mut self,
        line: &PipeReader,
        known: Option<&WorkingSet>,
        task: &Task,
    ) -> io::Result<WorkingSet> {
        let mut ahead: VecDeque<u64> = known.into_iter().flat_map(WorkingSet::blocks).collect();
        let mut settled = false;
        let mut is_whole = false;
        while !(settled && is_whole && self.faults.is_empty()) {
            task.check()
                .map_err(|cancelled| io::Error::new(io::ErrorKind::Interrupted, cancelled))?;
            let follows = !is_whole && (settled || known.is_some());
            let busy = follows || !ahead.is_empty() || !self.faults.is_empty();
            // What comes behind the byte is the line's end.
            settled |= self.hear((!settled).then_some(line), busy)?;
            while let Some(address) = self.faults.pop_front() {
                if self.answer(address)? == Done::Interrupted {
                    self.faults.push_back(address);
                    break;
                }
            }
            if let Some(block) = ahead.front().copied() {
                if self.put(block, None)? == Done::All {
                    ahead.pop_front();
                }
            } else if follows {
                is_whole = self.follow()?;
            }
        }
        self.leave()?;
        Ok(WorkingSet::new(self.size, self.touched))
    }

    /// Takes in what has happened, or waits for it if there is nothing else to do. Whether the line says that the start is
    /// done.
    fn hear(&mut self, line: Option<&PipeReader>, busy: bool) -> io::Result<bool> {
        let mut fds = vec![PollFd::new(&self.uffd, PollFlags::IN)];
        fds.extend(line.map(|line| PollFd::new(line, PollFlags::IN)));
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        match poll(&mut fds, busy.then_some(&now)) {
            Err(Errno::INTR) => return Ok(false),
            polled => polled?,
        };
        let events: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
        let seen = |number: usize| events.get(number).copied().unwrap_or(PollFlags::empty());
        if seen(0).intersects(PollFlags::ERR | PollFlags::NVAL) {
            return Err(io::Error::other("the userfaultfd is of no use"));
        }
        if seen(0).contains(PollFlags::IN) {
            self.take_in()?;
        }
        let Some(mut line) = line.filter(|_| !seen(1).is_empty()) else {
            return Ok(false);
        };
        match line.read(&mut [0])? {
            0 => Err(io::Error::new(
                io::ErrorKind::Interrupted,
                "the start was called off",
            )),
            _ => Ok(true),
        }
    }

    /// Whether there was anything.
    fn take_in(&mut self) -> io::Result<bool> {
        let events = self.uffd.events()?;
        let any = !events.is_empty();
        for event in events {
            match event {
                Event::Fault(address) => self.faults.push_back(address),
                Event::Removed(range) => self.forget(&range),
            }
        }
        Ok(any)
    }

    /// What was given up is zeros from now on.
    fn forget(&mut self, range: &Range<u64>) {
        for region in self.regions.iter() {
            let end = region.start + region.length;
            let (from, to) = (range.start.max(region.start), range.end.min(end));
            if from < to {
                let place = |address: u64| address - region.start + region.offset;
                let gone = page_of(place(from))..page_of(place(to).next_multiple_of(PAGE));
                if let Some(pages) = self.pages.get_mut(gone) {
                    pages.fill(Page::Zeros);
                }
            }
        }
    }

    fn answer(&mut self, address: u64) -> io::Result<Done> {
        let Some(place) = self.place(address) else {
            return Err(io::Error::other("a fault outside of the guest's memory"));
        };
        match self.pages.get(page_of(place)) {
            Some(Page::Waits) => self.put(place / BLOCK, Some(place)),
            Some(Page::Zeros) => self.zero(place / PAGE * PAGE, address / PAGE * PAGE),
            // It was put since.
            _ => self.uffd.wake(address / PAGE * PAGE, PAGE).map(|()| Done::All),
        }
    }

    /// Where in the memory file an address is.
    fn place(&self, address: u64) -> Option<u64> {
        let of = |region: &&Region| (region.start..region.start + region.length).contains(&address);
        let region = self.regions.iter().find(of)?;
        Some(address - region.start + region.offset)
    }

    /// Puts the next of what nobody has needed; whether that was all.
    fn follow(&mut self) -> io::Result<bool> {
        let data = match seek(&self.memory, SeekFrom::Data(self.next)) {
            Ok(data) => data,
            // Nothing but a hole.
            Err(Errno::NXIO) => return Ok(true),
            Err(error) => return Err(error.into()),
        };
        let block = data / BLOCK;
        if self.put(block, None)? == Done::All {
            self.next = (block + 1) * BLOCK;
        }
        Ok(self.next >= self.size)
    }

    /// Puts the pages of a block that nobody has needed yet, and zeros only if somebody waits for them at `wanted`.
    fn put(&mut self, block: u64, wanted: Option<u64>) -> io::Result<Done> {
        for region in Rc::clone(&self.regions).iter() {
            let from = (block * BLOCK).max(region.offset);
            let to = ((block + 1) * BLOCK).min(region.offset + region.length);
            let mut at = from;
            while at < to {
                let length = self.run_of(at, to);
                if length > 0 && self.put_run(region, at, length, wanted)? == Done::Interrupted {
                    return Ok(Done::Interrupted);
                }
                at += length.max(PAGE);
            }
        }
        Ok(Done::All)
    }

    /// How many bytes from here on wait.
    fn run_of(&self, at: u64, to: u64) -> u64 {
        let pages = self.pages.get(page_of(at)..page_of(to)).unwrap_or_default();
        let count = pages.iter().take_while(|page| **page == Page::Waits).count();
        count as u64 * PAGE
    }

    fn put_run(&mut self, region: &Region, at: u64, length: u64, wanted: Option<u64>) -> io::Result<Done> {
        let count = usize::try_from(length).unwrap_or_default();
        let bytes = self.buffer.get_mut(..count).unwrap_or_default();
        self.memory.read_exact_at(bytes, at)?;
        let address = |place: u64| place - region.offset + region.start;
        let wanted = wanted.filter(|place| (at..at + length).contains(place));
        if bytes.iter().all(|byte| *byte == 0) {
            self.mark(at, length, Page::Zeros);
            return wanted.map_or(Ok(Done::All), |place| {
                let page = place / PAGE * PAGE;
                self.zero(page, address(page))
            });
        }
        self.touched.extend(wanted.map(|place| place / BLOCK));
        let mut done = 0;
        while done < length {
            let rest = usize::try_from(done)
                .ok()
                .and_then(|done| self.buffer.get(done..count));
            let put = self.uffd.copy(address(at + done), rest.unwrap_or_default());
            let (came, outcome) = come(&put, length - done)?;
            self.mark(at + done, came, Page::There);
            done += came;
            if outcome == Done::Interrupted {
                return Ok(outcome);
            }
        }
        Ok(Done::All)
    }

    fn zero(&mut self, place: u64, address: u64) -> io::Result<Done> {
        let (came, outcome) = come(&self.uffd.zero(address, PAGE), PAGE)?;
        self.mark(place, came, Page::There);
        if outcome == Done::All {
            // One that was there already wakes nobody by itself.
            self.uffd.wake(address, PAGE)?;
        }
        Ok(outcome)
    }

    fn mark(&mut self, at: u64, length: u64, as_what: Page) {
        if let Some(pages) = self.pages.get_mut(page_of(at)..page_of(at + length)) {
            pages.fill(as_what);
        }
    }

    /// All is in its place: what is not was zeros, which the kernel makes by itself.
    fn leave(&mut self) -> io::Result<()> {
        for region in self.regions.iter() {
            self.uffd.unregister(region.start, region.length)?;
        }
        // Whoever gave something up just before waits until that is heard.
        while self.take_in()? {}
        Ok(())
    }
}

/// How far it came, of so many bytes, and whether something has to be heard before it goes on.
fn come(put: &Result<(), Stopped>, of: u64) -> io::Result<(u64, Done)> {
    match *put {
        Ok(()) => Ok((of, Done::All)),
        Err(Stopped {
            after,
            why: Errno::EXIST,
        }) => Ok(((after + PAGE).min(of), Done::All)),
        Err(Stopped {
            after,
            why: Errno::AGAIN,
        }) => Ok((after, Done::Interrupted)),
        Err(Stopped { why, .. }) => Err(why.into()),
    }
}

fn page_of(place: u64) -> usize {
    usize::try_from(place / PAGE).unwrap_or(usize::MAX)
}

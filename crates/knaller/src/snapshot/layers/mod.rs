//! A file put together of a whole one and the pages that changed of it, snapshot by snapshot.
//!
//! The invariant: a page is that of the newest layer that has it, else the whole file's. Files of layers are only read.

mod pages;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use images::Task;
use images::files::{CopyError, copy_to_new};
use rustix::fs::{FallocateFlags, SeekFrom, fallocate, seek};
use rustix::io::Errno;

pub(crate) use self::pages::{PAGE, Pages};
use crate::{Error, Result};

/// Bytes that are looked at as one.
const CHUNK: usize = 1 << 20;

/// Where a file is looked at for changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Among {
    /// Everywhere.
    All,
    /// Where it is no hole: whoever wrote it left out what has not changed.
    Written,
}

/// A file in layers.
#[derive(Debug)]
pub(crate) struct Layers {
    size: u64,
    whole: File,
    /// The newest last.
    above: Vec<(File, Pages)>,
}

impl Layers {
    pub(crate) fn new(whole: File) -> io::Result<Self> {
        Ok(Self {
            size: whole.metadata()?.len(),
            whole,
            above: Vec::new(),
        })
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Puts one on top: a file of the same size, of which it has these pages.
    pub(crate) fn lay(&mut self, file: File, pages: Pages) -> io::Result<()> {
        let size = file.metadata()?.len();
        if size != self.size {
            let text = format!("{size} bytes over {}", self.size);
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        self.above.push((file, pages));
        Ok(())
    }

    fn read(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        self.whole.read_exact_at(buffer, at)?;
        let end = at + buffer.len() as u64;
        for (file, pages) in &self.above {
            for run in pages.runs(at).take_while(|run| run.start < end) {
                let run = run.start.max(at)..run.end.min(end);
                let within = index(run.start - at)..index(run.end - at);
                let piece = buffer.get_mut(within).unwrap_or_default();
                file.read_exact_at(piece, run.start)?;
            }
        }
        Ok(())
    }

    /// Where anything but zeros may be from `at` on.
    fn next(&self, at: u64) -> io::Result<Option<u64>> {
        let runs = self
            .above
            .iter()
            .filter_map(|(_, pages)| Some(pages.runs(at).next()?.start.max(at)));
        Ok(runs.chain(next_data(&self.whole, at)?).min())
    }

    /// Which pages of `other`, of the same size, are not as here. Each run of them is shown to `found` with its place.
    pub(crate) fn difference(
        &self,
        other: &File,
        among: Among,
        task: &Task,
        mut found: impl FnMut(&[u8], u64) -> io::Result<()>,
    ) -> io::Result<Pages> {
        let mut pages = Pages::default();
        let (mut here, mut there) = (vec![0; CHUNK], vec![0; CHUNK]);
        let mut at = 0;
        while let Some(range) = self.candidates(other, among, at)? {
            task.check().map_err(io::Error::other)?;
            at = range.start;
            let length = index(range.end - at).min(CHUNK);
            let here = here.get_mut(..length).unwrap_or_default();
            let there = there.get_mut(..length).unwrap_or_default();
            self.read(here, at)?;
            other.read_exact_at(there, at)?;
            for run in differing(here, there) {
                let start = at + run.start as u64;
                pages.add(start..at + run.end as u64);
                found(there.get(run).unwrap_or_default(), start)?;
            }
            at += length as u64;
        }
        Ok(pages)
    }

    /// Where `other` may differ, from `at` on, a page's beginning: whole pages.
    fn candidates(&self, other: &File, among: Among, at: u64) -> io::Result<Option<Range<u64>>> {
        if at >= self.size {
            return Ok(None);
        }
        let theirs = next_data(other, at)?;
        let (start, end) = match among {
            Among::All => (theirs.into_iter().chain(self.next(at)?).min(), self.size),
            Among::Written => match theirs {
                Some(start) => (theirs, next_hole(other, start)?),
                None => (None, self.size),
            },
        };
        let end = end.next_multiple_of(PAGE).min(self.size);
        Ok(start.map(|start| start / PAGE * PAGE..end))
    }

    /// Writes all of it to the new file `path`: the whole one's blocks are shared where the file system can, and its
    /// holes left out. No file is left where it fails.
    pub(crate) fn write_to(&self, path: &Path, task: &Task) -> Result<()> {
        copy_to_new(&self.whole, path, task)?;
        self.lay_over(path, task).inspect_err(|_| {
            let _ = std::fs::remove_file(path);
        })
    }

    fn lay_over(&self, path: &Path, task: &Task) -> Result<()> {
        let failed = || Error::io("write", path);
        let to = File::options().write(true).open(path).map_err(failed())?;
        let mut buffer = vec![0; CHUNK];
        for (file, pages) in &self.above {
            for run in pages.runs(0) {
                task.check().map_err(CopyError::from)?;
                copy(file, &to, run, &mut buffer).map_err(failed())?;
            }
        }
        Ok(())
    }
}

/// Empties what a layer does not have of its file, which need not take room. A file system that cannot do so is left alone.
pub(crate) fn thin_out(file: &File, pages: &Pages) -> io::Result<()> {
    let end = file.metadata()?.len();
    let mut at = 0;
    for run in pages.runs(0).chain(std::iter::once(end..end)) {
        if at < run.start {
            let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            match fallocate(file, how, at, run.start - at) {
                Err(Errno::OPNOTSUPP) => return Ok(()),
                punched => punched?,
            }
        }
        at = run.end;
    }
    Ok(())
}

fn copy(from: &File, to: &File, run: Range<u64>, buffer: &mut [u8]) -> io::Result<()> {
    let mut at = run.start;
    while at < run.end {
        let length = index(run.end - at).min(buffer.len());
        let piece = buffer.get_mut(..length).unwrap_or_default();
        from.read_exact_at(piece, at)?;
        to.write_all_at(piece, at)?;
        at += length as u64;
    }
    Ok(())
}

/// Runs of whole pages that are not the same in both.
fn differing(one: &[u8], other: &[u8]) -> Vec<Range<usize>> {
    let page = index(PAGE);
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (number, (here, there)) in one.chunks(page).zip(other.chunks(page)).enumerate() {
        if here == there {
            continue;
        }
        let start = number * page;
        match runs.last_mut() {
            Some(last) if last.end == start => last.end += here.len(),
            _ => runs.push(start..start + here.len()),
        }
    }
    runs
}

/// Where the next data of a file is.
fn next_data(file: &File, at: u64) -> io::Result<Option<u64>> {
    match seek(file, SeekFrom::Data(at)) {
        Ok(start) => Ok(Some(start)),
        Err(Errno::NXIO) => Ok(None),
        // A file system that does not know its holes: all is data.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok((at < file.metadata()?.len()).then_some(at)),
        Err(error) => Err(error.into()),
    }
}

/// Where the data ends that is at `at`.
fn next_hole(file: &File, at: u64) -> io::Result<u64> {
    match seek(file, SeekFrom::Hole(at)) {
        Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(file.metadata()?.len()),
        hole => Ok(hole?),
    }
}

fn index(length: u64) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}

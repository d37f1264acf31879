//! The pages of a private mapping that were written: those of no file.
//!
//! Source: Linux's `Documentation/admin-guide/mm/pagemap.rst`.

use std::io;
use std::os::unix::fs::FileExt;

use super::{CHUNK, MemoryError, PAGE_U64};
use crate::qemu::remote::{Mapping, Remote};

const PRESENT: u64 = 1 << 63;
const SWAPPED: u64 = 1 << 62;
const OF_A_FILE: u64 = 1 << 61;
const ENTRY: usize = 8;

/// Hands over all pages that QEMU has written, of the memory it has mapped from the file of this number.
pub(super) fn each_written(
    qemu: &Remote,
    inode: u64,
    size: u64,
    mut take: impl FnMut(u64, &[u8]) -> Result<(), MemoryError>,
) -> Result<(), MemoryError> {
    let mut mappings = qemu.mappings().map_err(MemoryError::Source)?;
    mappings.retain(|mapping| mapping.inode == inode && mapping.writable);
    if mappings
        .iter()
        .map(|mapping| mapping.end - mapping.start)
        .sum::<u64>()
        != size
    {
        let text = "it is not mapped in QEMU as it was";
        return Err(MemoryError::Source(io::Error::other(text)));
    }
    let pagemap = qemu.pagemap().map_err(MemoryError::Source)?;
    let mut entries = vec![0; CHUNK / ENTRY];
    let mut page = vec![0; CHUNK];
    for mapping in mappings {
        let mut at = mapping.start;
        while at < mapping.end {
            let left = usize::try_from((mapping.end - at) / PAGE_U64).unwrap_or(usize::MAX);
            let count = left.min(entries.len() / ENTRY);
            let piece = &mut entries[..count * ENTRY];
            pagemap
                .read_exact_at(piece, at / PAGE_U64 * ENTRY as u64)
                .map_err(MemoryError::Source)?;
            for (start, end) in runs(piece) {
                copy(
                    qemu,
                    &mapping,
                    at + start * PAGE_U64,
                    at + end * PAGE_U64,
                    &mut page,
                    &mut take,
                )?;
            }
            at += count as u64 * PAGE_U64;
        }
    }
    Ok(())
}

fn copy(
    qemu: &Remote,
    mapping: &Mapping,
    mut at: u64,
    end: u64,
    buffer: &mut [u8],
    take: &mut impl FnMut(u64, &[u8]) -> Result<(), MemoryError>,
) -> Result<(), MemoryError> {
    while at < end {
        let len = usize::try_from(end - at).map_or(CHUNK, |left| left.min(CHUNK));
        let piece = &mut buffer[..len];
        qemu.read(at, piece).map_err(MemoryError::Source)?;
        take(mapping.offset + (at - mapping.start), piece)?;
        at += len as u64;
    }
    Ok(())
}

/// Runs of written pages, as numbers of the first and the one after the last.
fn runs(entries: &[u8]) -> Vec<(u64, u64)> {
    let (entries, _) = entries.as_chunks::<ENTRY>();
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for (number, entry) in entries.iter().enumerate() {
        if !is_written(u64::from_ne_bytes(*entry)) {
            continue;
        }
        let number = number as u64;
        match runs.last_mut() {
            Some((_, end)) if *end == number => *end += 1,
            _ => runs.push((number, number + 1)),
        }
    }
    runs
}

fn is_written(entry: u64) -> bool {
    entry & SWAPPED != 0 || entry & (PRESENT | OF_A_FILE) == PRESENT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_pages_are_those_of_no_file() {
        let entries = [0, PRESENT, PRESENT | OF_A_FILE, SWAPPED, PRESENT, 0, PRESENT];
        let bytes: Vec<u8> = entries.iter().flat_map(|entry| entry.to_ne_bytes()).collect();
        assert_eq!(runs(&bytes), [(1, 2), (3, 5), (6, 7)]);
    }
}

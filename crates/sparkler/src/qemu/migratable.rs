//! Lets a running QEMU save and load its `vhost-user-vsock-device`.
//!
//! QEMU marks that device as one that cannot migrate, and has nothing to save of it. What it saves of the kernel's
//! `vhost-vsock-device` fits: both are the same structure (`VHostVSockCommon` in `hw/virtio/vhost-vsock-common.c`). So the
//! description of the first is made to say what that of the second says, in the memory of QEMU's process.
//!
//! Invariant: nothing is written unless both descriptions (`VMStateDescription` in `include/migration/vmstate.h`) are
//! found by their names, once each, in the program's own data, and look as expected: the first empty but for its mark, the
//! second with the fields of a virtio device.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use memchr::memmem;

use super::remote::{Mapping, Remote};

/// The device as QEMU names it when it migrates, and the one that has something to save.
const BLOCKED: &[u8] = b"\0vhost-user-vsock\0";
const COMPLETE: &[u8] = b"\0virtio-vhost_vsock\0";
/// The only field of the second.
const FIELD: [u8; 7] = *b"virtio\0";
const WORD: usize = 8;
/// Words of a description looked at: QEMU 7.2 has 11 in all, later versions 12.
const WORDS: usize = 14;
/// Where the pointer to the fields may stand, in words; one more pointer follows.
const FIELDS: std::ops::Range<usize> = 6..12;
/// Most bytes of one segment of the program.
const MAX_SEGMENT: u64 = 256 << 20;
/// Bytes looked at in one go.
const PIECE: usize = 64 << 10;
/// Bytes of the next piece that are looked at with it: at least those of a description and of a name, but for their first.
const OVERLAP: usize = WORDS * WORD;

/// Why QEMU's vsock device cannot be part of a snapshot.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// The kernel does not give access.
    #[error(
        "QEMU's memory cannot be reached: {0} (sparkler must be allowed to trace its own child: see \
         kernel.yama.ptrace_scope)"
    )]
    Access(#[from] io::Error),
    /// Another build of QEMU than any known.
    #[error("this build of QEMU describes its vsock device in an unknown way")]
    Unknown,
}

/// Makes the device of this QEMU one that can be saved and loaded. A second time changes nothing.
pub fn make_migratable(qemu: &Remote) -> Result<(), Unfit> {
    let program = Program::open(qemu)?;
    let [blocked, complete] = program.descriptions(&program.strings([BLOCKED, COMPLETE])?)?;
    let complete = the_only(complete, |words| program.fields(words).is_some())?;
    let fields = program.fields(&complete.words).ok_or(Unfit::Unknown)?;
    let end = fields + 2;
    let blocked = the_only(blocked, |words| {
        is_marked(words, end) || is_same(words, &complete, end)
    })?;
    if is_same(&blocked.words, &complete, end) {
        return Ok(());
    }
    // All but the name.
    let words = &complete.words[1..end];
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    qemu.write(blocked.address + WORD as u64, &bytes)?;
    Ok(())
}

/// Nothing but the mark (`unmigratable`, a byte after the name).
fn is_marked(words: &[u64; WORDS], end: usize) -> bool {
    words[1] == u64::from_ne_bytes([1, 0, 0, 0, 0, 0, 0, 0]) && words[2..end].iter().all(|word| *word == 0)
}

fn is_same(words: &[u64; WORDS], other: &Description, end: usize) -> bool {
    words[1..end] == other.words[1..end]
}

#[derive(Debug)]
struct Description {
    address: u64,
    words: [u64; WORDS],
}

/// The program in memory.
struct Program<'a> {
    qemu: &'a Remote,
    file: File,
    /// Where it lies, but for its code; what is relocated and then read-only comes before what is only read.
    segments: Vec<Mapping>,
}

impl<'a> Program<'a> {
    fn open(qemu: &'a Remote) -> io::Result<Self> {
        let name = qemu.program()?;
        let mut segments = qemu.mappings()?;
        segments.retain(|mapping| {
            mapping.readable
                && !mapping.executable
                && mapping.name.as_str() == name.as_os_str()
                && mapping.end - mapping.start <= MAX_SEGMENT
        });
        segments.sort_by_key(|mapping| (mapping.writable, std::cmp::Reverse(mapping.start)));
        Ok(Self {
            qemu,
            file: qemu.program_file()?,
            segments,
        })
    }

    /// Where these names stand, each between two NULs. What is only read is as it is in the file, whose pages need not be
    /// mapped for it.
    fn strings(&self, names: [&[u8]; 2]) -> io::Result<[Vec<u64>; 2]> {
        let mut found = [Vec::new(), Vec::new()];
        for segment in self.segments.iter().filter(|segment| !segment.writable) {
            let read = |place, into: &mut [u8]| read_file(&self.file, segment.offset + place, into);
            in_pieces(segment, read, |address, piece| {
                for (name, found) in names.iter().zip(&mut found) {
                    let places = memmem::find_iter(piece, name).filter(|place| *place < PIECE);
                    found.extend(places.map(|place| address + place as u64 + 1));
                }
            })?;
            if found.iter().all(|places| !places.is_empty()) {
                break;
            }
        }
        Ok(found)
    }

    /// Whatever begins with a pointer to one of these strings, for each set of them.
    fn descriptions(&self, strings: &[Vec<u64>; 2]) -> io::Result<[Vec<Description>; 2]> {
        let mut found = [Vec::new(), Vec::new()];
        for segment in &self.segments {
            let read = |place, into: &mut [u8]| self.qemu.read(segment.start + place, into);
            in_pieces(segment, read, |address, piece| {
                let windows = piece.as_chunks::<WORD>().0.windows(WORDS);
                for (place, words) in windows.enumerate().take(PIECE / WORD) {
                    let pointer = u64::from_ne_bytes(words[0]);
                    for (strings, found) in strings.iter().zip(&mut found) {
                        if strings.contains(&pointer) {
                            found.push(Description {
                                address: address + (place * WORD) as u64,
                                words: std::array::from_fn(|word| u64::from_ne_bytes(words[word])),
                            });
                        }
                    }
                }
            })?;
            if found.iter().all(|descriptions| !descriptions.is_empty()) {
                break;
            }
        }
        Ok(found)
    }

    /// Which word points to the fields: to something that begins with the name of a virtio device's state.
    fn fields(&self, words: &[u64; WORDS]) -> Option<usize> {
        FIELDS.into_iter().find(|place| {
            let (mut pointer, mut name) = ([0; WORD], [0; FIELD.len()]);
            let pointer = self
                .qemu
                .read(words[*place], &mut pointer)
                .map(|()| u64::from_ne_bytes(pointer));
            pointer.is_ok_and(|pointer| self.qemu.read(pointer, &mut name).is_ok() && name == FIELD)
        })
    }
}

/// The one description that looks right.
fn the_only(
    mut found: Vec<Description>,
    looks_right: impl Fn(&[u64; WORDS]) -> bool,
) -> Result<Description, Unfit> {
    found.retain(|one| looks_right(&one.words));
    match <[Description; 1]>::try_from(found) {
        Ok([description]) => Ok(description),
        Err(_) => Err(Unfit::Unknown),
    }
}

/// Shows a segment piece by piece: a buffer as large as QEMU's data costs more than the search in it. `see` gets a piece's
/// address and its bytes, of which the last [`OVERLAP`] are the beginning of the next piece: there it sees what begins in them.
fn in_pieces(
    segment: &Mapping,
    read: impl Fn(u64, &mut [u8]) -> io::Result<()>,
    mut see: impl FnMut(u64, &[u8]),
) -> io::Result<()> {
    let size = segment.end - segment.start;
    let mut buffer = vec![0; PIECE + OVERLAP];
    for place in (0..size).step_by(PIECE) {
        let there = usize::try_from(size - place)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let (bytes, beyond) = buffer.split_at_mut(there);
        read(place, bytes)?;
        beyond.fill(0);
        see(segment.start + place, &buffer);
    }
    Ok(())
}

/// Reads what the file has of it; the kernel shows zeros behind its end.
fn read_file(file: &File, place: u64, mut into: &mut [u8]) -> io::Result<()> {
    let mut place = place;
    while !into.is_empty() {
        match file.read_at(into, place)? {
            0 => break,
            count => {
                into = &mut into[count..];
                place += count as u64;
            }
        }
    }
    into.fill(0);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(size: u64) -> Mapping {
        Mapping {
            start: 1 << 20,
            end: (1 << 20) + size,
            readable: true,
            writable: false,
            executable: false,
            offset: 0,
            inode: 0,
            name: String::new(),
        }
    }

    #[test]
    fn what_lies_across_two_pieces_is_seen_once() {
        let size = PIECE as u64 * 2 + 100;
        for place in [
            0,
            PIECE - 5,
            PIECE - 1,
            PIECE,
            2 * PIECE - 3,
            2 * PIECE + 100 - COMPLETE.len(),
        ] {
            let mut bytes = vec![1; usize::try_from(size).unwrap()];
            bytes[place..place + COMPLETE.len()].copy_from_slice(COMPLETE);
            let read = |from: u64, into: &mut [u8]| {
                let from = usize::try_from(from).unwrap();
                into.copy_from_slice(&bytes[from..from + into.len()]);
                Ok(())
            };
            let mut seen = Vec::new();
            in_pieces(&segment(size), read, |address, piece| {
                let places = memmem::find_iter(piece, COMPLETE).filter(|place| *place < PIECE);
                seen.extend(places.map(|place| address + place as u64));
            })
            .unwrap();
            assert_eq!(seen, [(1 << 20) + place as u64]);
        }
    }

    #[test]
    fn behind_a_files_end_are_zeros() {
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, b"contents").unwrap();
        let mut bytes = [7; 6];
        read_file(&file, 4, &mut bytes).unwrap();
        assert_eq!(&bytes, b"ents\0\0");
        read_file(&file, 100, &mut bytes).unwrap();
        assert_eq!(bytes, [0; 6]);
    }
}

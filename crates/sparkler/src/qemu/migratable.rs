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
    let complete = program.the_only(COMPLETE, |words| program.fields(words).is_some())?;
    let fields = program.fields(&complete.words).ok_or(Unfit::Unknown)?;
    let end = fields + 2;
    let blocked = program.the_only(BLOCKED, |words| {
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

    /// The one description of this name (between two NULs) that looks right.
    fn the_only(
        &self,
        name: &[u8],
        looks_right: impl Fn(&[u64; WORDS]) -> bool,
    ) -> Result<Description, Unfit> {
        let mut found = Vec::new();
        for string in self.strings(name)? {
            found.extend(self.descriptions(string)?);
        }
        found.retain(|one| looks_right(&one.words));
        match <[Description; 1]>::try_from(found) {
            Ok([description]) => Ok(description),
            Err(_) => Err(Unfit::Unknown),
        }
    }

    /// Where this name stands. What is only read is as it is in the file, whose pages need not be mapped for it.
    fn strings(&self, name: &[u8]) -> io::Result<Vec<u64>> {
        for segment in self.segments.iter().filter(|segment| !segment.writable) {
            let mut bytes = buffer(segment);
            let mut read = 0;
            while read < bytes.len() {
                match self
                    .file
                    .read_at(&mut bytes[read..], segment.offset + read as u64)?
                {
                    0 => break,
                    count => read += count,
                }
            }
            let places = memmem::find_iter(&bytes, name).map(|place| segment.start + place as u64 + 1);
            let places: Vec<u64> = places.collect();
            if !places.is_empty() {
                return Ok(places);
            }
        }
        Ok(Vec::new())
    }

    /// Whatever begins with a pointer to this string.
    fn descriptions(&self, string: u64) -> io::Result<Vec<Description>> {
        let pointer = string.to_ne_bytes();
        for segment in &self.segments {
            let mut bytes = buffer(segment);
            self.qemu.read(segment.start, &mut bytes)?;
            let places = memmem::find_iter(&bytes, &pointer).filter(|place| place % WORD == 0);
            let found = places.filter_map(|place| {
                let mut words = [0; WORDS];
                let there = bytes.get(place..place + WORDS * WORD)?;
                for (word, bytes) in words.iter_mut().zip(there.as_chunks::<WORD>().0) {
                    *word = u64::from_ne_bytes(*bytes);
                }
                Some(Description {
                    address: segment.start + place as u64,
                    words,
                })
            });
            let found: Vec<Description> = found.collect();
            if !found.is_empty() {
                return Ok(found);
            }
        }
        Ok(Vec::new())
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

fn buffer(segment: &Mapping) -> Vec<u8> {
    vec![0; usize::try_from(segment.end - segment.start).unwrap_or(0)]
}

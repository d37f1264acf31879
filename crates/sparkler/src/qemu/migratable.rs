//! Lets a running QEMU save and load its `vhost-user-vsock-device`.
//!
//! QEMU marks that device as one that cannot migrate, and has nothing to save of it. What it saves of the kernel's
//! `vhost-vsock-device` fits: both are the same structure (`VHostVSockCommon` in `hw/virtio/vhost-vsock-common.c`). So the
//! description of the first is made to say what that of the second says, in the memory of QEMU's process.
//!
//! Invariant: nothing is written unless both descriptions (`VMStateDescription` in `include/migration/vmstate.h`) are
//! found by their names, once each, in the program's own data, and look as expected: the first empty but for its mark, the
//! second with the fields of a virtio device.

use std::io;

use memchr::memmem;

use super::remote::Remote;

/// The device as QEMU names it when it migrates, and the one that has something to save.
const BLOCKED: &[u8] = b"\0vhost-user-vsock\0";
const COMPLETE: &[u8] = b"\0virtio-vhost_vsock\0";
/// The only field of the second.
const FIELD: &[u8] = b"virtio\0";
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

/// A piece of the program in memory.
struct Segment {
    start: u64,
    bytes: Vec<u8>,
}

/// Makes the device of this QEMU one that can be saved and loaded. A second time changes nothing.
pub fn make_migratable(qemu: &Remote) -> Result<(), Unfit> {
    let program = Program::read(qemu)?;
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
    let bytes: Vec<u8> = complete.words[1..end]
        .iter()
        .flat_map(|word| word.to_ne_bytes())
        .collect();
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

struct Program(Vec<Segment>);

impl Program {
    fn read(qemu: &Remote) -> io::Result<Self> {
        let name = qemu.program()?;
        let mut segments = Vec::new();
        for mapping in qemu.mappings()? {
            let size = mapping.end - mapping.start;
            if !mapping.readable || mapping.name.as_str() != name.as_os_str() || size > MAX_SEGMENT {
                continue;
            }
            let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
            qemu.read(mapping.start, &mut bytes)?;
            segments.push(Segment {
                start: mapping.start,
                bytes,
            });
        }
        Ok(Self(segments))
    }

    /// What stands at an address.
    fn at(&self, address: u64) -> Option<&[u8]> {
        self.0.iter().find_map(|segment| {
            let offset = usize::try_from(address.checked_sub(segment.start)?).ok()?;
            segment.bytes.get(offset..)
        })
    }

    fn word(&self, address: u64) -> Option<u64> {
        self.at(address)?
            .first_chunk::<WORD>()
            .map(|bytes| u64::from_ne_bytes(*bytes))
    }

    /// The one description of this name (between two NULs) that looks right.
    fn the_only(
        &self,
        name: &[u8],
        looks_right: impl Fn(&[u64; WORDS]) -> bool,
    ) -> Result<Description, Unfit> {
        let mut found = Vec::new();
        for segment in &self.0 {
            for place in memmem::find_iter(&segment.bytes, name) {
                let string = segment.start + place as u64 + 1;
                found.extend(self.descriptions(string).filter(|one| looks_right(&one.words)));
            }
        }
        match <[Description; 1]>::try_from(found) {
            Ok([description]) => Ok(description),
            Err(_) => Err(Unfit::Unknown),
        }
    }

    /// Whatever begins with a pointer to this string.
    fn descriptions(&self, string: u64) -> impl Iterator<Item = Description> {
        let pointer = string.to_ne_bytes();
        self.0.iter().flat_map(move |segment| {
            let places = memmem::find_iter(&segment.bytes, &pointer).filter(|place| place % WORD == 0);
            let places: Vec<usize> = places.collect();
            places.into_iter().filter_map(move |place| {
                let bytes = segment.bytes.get(place..place + WORDS * WORD)?;
                let mut words = [0; WORDS];
                for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<WORD>().0) {
                    *word = u64::from_ne_bytes(*bytes);
                }
                Some(Description {
                    address: segment.start + place as u64,
                    words,
                })
            })
        })
    }

    /// Which word points to the fields: to something that begins with the name of a virtio device's state.
    fn fields(&self, words: &[u64; WORDS]) -> Option<usize> {
        FIELDS.into_iter().find(|place| {
            self.word(words[*place])
                .and_then(|name| self.at(name))
                .is_some_and(|name| name.starts_with(FIELD))
        })
    }
}

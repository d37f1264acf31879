//! Frames on a byte stream, as QEMU's `stream` network back-end sends and expects them: four bytes of length, big
//! endian, then the frame (QEMU, `net/stream.c`).
//!
//! Invariant: what is held in either direction is bounded by [`READ_BUFFER`] and [`WRITE_BUFFER`] plus a frame.

use std::io::{self, ErrorKind, Read, Write};

/// The largest frame QEMU may send (`NET_BUFSIZE`: 64 KiB and room for headers).
pub(super) const MAX_FRAME: usize = 4096 + 65536;
const LENGTH: usize = 4;
const READ_BUFFER: usize = 256 * 1024;
const WRITE_BUFFER: usize = 256 * 1024;

/// A length that no frame has: the other side is not QEMU, or broken.
#[derive(Debug, thiserror::Error)]
#[error("a frame of {0} bytes was announced, {MAX_FRAME} are possible")]
pub(super) struct TooLong(u32);

/// Frames from a stream.
#[derive(Debug)]
pub(super) struct Reader {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Reader {
    pub(super) fn new() -> Self {
        Self {
            buffer: vec![0; READ_BUFFER].into(),
            start: 0,
            end: 0,
        }
    }

    /// Reads once. False: the stream has ended.
    pub(super) fn fill(&mut self, mut from: impl Read) -> io::Result<bool> {
        // A frame always fits behind the front, so that there is room whenever no whole one is there.
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        match from.read(self.buffer.get_mut(self.end..).unwrap_or_default()) {
            Ok(0) if self.end < self.buffer.len() => Ok(false),
            Ok(count) => {
                self.end += count;
                Ok(true)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// The first frame, if it is there whole.
    pub(super) fn frame(&self) -> Result<Option<&[u8]>, TooLong> {
        let bytes = self.buffer.get(self.start..self.end).unwrap_or_default();
        let Some((length, rest)) = bytes.split_first_chunk::<LENGTH>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*length);
        match usize::try_from(length) {
            Ok(size) if size <= MAX_FRAME => Ok(rest.get(..size)),
            _ => Err(TooLong(length)),
        }
    }

    /// Drops the first frame, of `len` bytes.
    pub(super) fn consume(&mut self, len: usize) {
        self.start = (self.start + LENGTH + len).min(self.end);
    }
}

/// Frames to a stream.
#[derive(Debug, Default)]
pub(super) struct Writer {
    buffer: Vec<u8>,
    written: usize,
}

impl Writer {
    /// Whether another frame may be pushed.
    pub(super) fn has_room(&self) -> bool {
        self.buffer.len() - self.written < WRITE_BUFFER
    }

    /// Whether anything waits to be written.
    pub(super) fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Appends a frame.
    pub(super) fn push(&mut self, frame: &[u8]) {
        if let Ok(length) = u32::try_from(frame.len()) {
            self.buffer.extend(length.to_be_bytes());
            self.buffer.extend_from_slice(frame);
        }
    }

    /// Writes what the stream takes.
    pub(super) fn flush(&mut self, mut to: impl Write) -> io::Result<()> {
        while self.written < self.buffer.len() {
            match to.write(self.buffer.get(self.written..).unwrap_or_default()) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    // What was written may go once it is the greater part: each byte is moved once on average.
                    if self.written > self.buffer.len() / 2 {
                        self.buffer.drain(..self.written);
                        self.written = 0;
                    }
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        self.buffer.clear();
        self.written = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Gives a few bytes at a time.
    struct Chunks<'a>(&'a [u8], usize);

    impl Read for Chunks<'_> {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(self.0.len()).min(to.len());
            let (now, later) = self.0.split_at(count);
            to[..count].copy_from_slice(now);
            self.0 = later;
            Ok(count)
        }
    }

    /// Takes a few bytes at a time, and nothing every other time.
    struct Taker(Vec<u8>, usize, bool);

    impl Write for Taker {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.2 = !self.2;
            if self.2 {
                return Err(ErrorKind::WouldBlock.into());
            }
            let count = self.1.min(bytes.len());
            self.0.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    proptest! {
        #[test]
        fn frames_arrive_as_they_were_sent_however_they_are_cut(
            frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..2000), 1..20),
            write in 1usize..5000,
            read in 1usize..5000,
        ) {
            let mut writer = Writer::default();
            let mut taker = Taker(Vec::new(), write, false);
            for frame in &frames {
                writer.push(frame);
                writer.flush(&mut taker).unwrap();
            }
            while !writer.is_empty() {
                writer.flush(&mut taker).unwrap();
            }
            let mut chunks = Chunks(&taker.0, read);
            let mut reader = Reader::new();
            let mut arrived = Vec::new();
            loop {
                while let Some(frame) = reader.frame().unwrap() {
                    let frame = frame.to_vec();
                    reader.consume(frame.len());
                    arrived.push(frame);
                }
                if !reader.fill(&mut chunks).unwrap() {
                    break;
                }
            }
            prop_assert_eq!(arrived, frames);
        }
    }

    #[test]
    fn a_length_no_frame_has_is_an_error() {
        let mut reader = Reader::new();
        reader.fill(&[0, 1, 16, 1, 0][..]).unwrap();
        assert_eq!(
            reader.frame().unwrap_err().to_string(),
            "a frame of 69633 bytes was announced, 69632 are possible"
        );
    }

    #[test]
    fn the_largest_frame_fits_behind_anything() {
        let mut bytes = Vec::new();
        for size in [READ_BUFFER / 4, MAX_FRAME, MAX_FRAME, MAX_FRAME, MAX_FRAME] {
            let size = size.min(MAX_FRAME);
            bytes.extend(u32::try_from(size).unwrap().to_be_bytes());
            bytes.resize(bytes.len() + size, 7);
        }
        let mut from = bytes.as_slice();
        let mut reader = Reader::new();
        let mut count = 0;
        while reader.fill(&mut from).unwrap() {
            while let Some(frame) = reader.frame().unwrap() {
                let len = frame.len();
                reader.consume(len);
                count += 1;
            }
        }
        assert_eq!(count, 5);
    }
}

use std::io::{ErrorKind, Read};

use super::error::{Bound, Problem};

/// What headers are counted in, and data is padded to.
pub(super) const BLOCK: usize = 512;

/// Reads are this large, so that the layer below is asked rarely.
const BUFFER: usize = 256 << 10;

/// The stream, through one buffer; data is lent from it and not copied again.
pub(super) struct Input<R> {
    inner: R,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    /// Bytes handed out so far.
    offset: u64,
    limit: u64,
}

impl<R: Read> Input<R> {
    pub(super) fn new(inner: R, limit: u64) -> Self {
        Self {
            inner,
            buffer: vec![0; BUFFER].into_boxed_slice(),
            start: 0,
            end: 0,
            offset: 0,
            limit,
        }
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    pub(super) fn into_inner(self) -> R {
        self.inner
    }

    /// The next block, which stays where it is. `None`: the stream ends here.
    pub(super) fn peek(&mut self) -> Result<Option<[u8; BLOCK]>, Problem> {
        while self.end - self.start < BLOCK {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            if self.fill()? == 0 {
                return if self.end == 0 {
                    Ok(None)
                } else {
                    Err(Problem::Truncated)
                };
            }
        }
        let block = self.buffer.get(self.start..).and_then(<[u8]>::first_chunk);
        Ok(block.copied())
    }

    /// The next block. `None`: the stream ends here.
    pub(super) fn block(&mut self) -> Result<Option<[u8; BLOCK]>, Problem> {
        let block = self.peek()?;
        if block.is_some() {
            self.advance(BLOCK)?;
        }
        Ok(block)
    }

    /// Some of the next bytes: `most` at the most, and none only at the end of the stream.
    pub(super) fn some(&mut self, most: u64) -> Result<&[u8], Problem> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            self.fill()?;
        }
        let ready = self.end - self.start;
        let got = usize::try_from(most).map_or(ready, |most| most.min(ready));
        let start = self.start;
        self.advance(got)?;
        Ok(self.buffer.get(start..start + got).unwrap_or_default())
    }

    /// Passes over bytes that must be there.
    pub(super) fn skip(&mut self, mut bytes: u64) -> Result<(), Problem> {
        while bytes > 0 {
            let got = self.some(bytes)?.len() as u64;
            if got == 0 {
                return Err(Problem::Truncated);
            }
            bytes -= got;
        }
        Ok(())
    }

    /// Reads `size` bytes and what pads them to a block. Memory is taken as they come, and not as they are announced.
    pub(super) fn whole(&mut self, size: u64) -> Result<Vec<u8>, Problem> {
        let mut bytes = Vec::new();
        let mut left = size;
        while left > 0 {
            let some = self.some(left)?;
            if some.is_empty() {
                return Err(Problem::Truncated);
            }
            bytes.extend_from_slice(some);
            left -= some.len() as u64;
        }
        self.skip(padding(size))?;
        Ok(bytes)
    }

    fn advance(&mut self, bytes: usize) -> Result<(), Problem> {
        self.start += bytes;
        self.offset = self.offset.saturating_add(bytes as u64);
        Bound::Total.check(self.offset, self.limit)
    }

    /// Reads once behind what is buffered.
    fn fill(&mut self) -> Result<usize, Problem> {
        let free = self.buffer.get_mut(self.end..).unwrap_or_default();
        loop {
            match self.inner.read(free) {
                Ok(got) => {
                    self.end += got;
                    return Ok(got);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Problem::Io(error)),
            }
        }
    }
}

/// What follows `size` bytes up to the next block.
pub(super) fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}

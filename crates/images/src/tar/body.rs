use std::io::Read;

use super::error::Problem;
use super::input::{Input, padding};
use super::sparse::Piece;

/// The data of the current entry that was not read yet.
#[derive(Debug, Default)]
pub(super) struct Body {
    /// Those not begun.
    pieces: std::vec::IntoIter<Piece>,
    /// Where in the file the next byte belongs, and how many of this piece are left.
    offset: u64,
    left: u64,
    /// Stored bytes not read, with what pads them to a block.
    stored: u64,
}

impl Body {
    /// The stored bytes of `pieces`, which are `stored` together.
    pub(super) fn new(pieces: Vec<Piece>, stored: u64) -> Self {
        Self {
            pieces: pieces.into_iter(),
            offset: 0,
            left: 0,
            stored: stored.saturating_add(padding(stored)),
        }
    }

    /// The next bytes with their place in the file.
    pub(super) fn some<'a, R: Read>(
        &mut self,
        input: &'a mut Input<R>,
    ) -> Result<Option<(u64, &'a [u8])>, Problem> {
        while self.left == 0 {
            let Some((offset, length)) = self.pieces.next() else {
                return Ok(None);
            };
            (self.offset, self.left) = (offset, length);
        }
        let bytes = input.some(self.left)?;
        if bytes.is_empty() {
            return Err(Problem::Truncated);
        }
        let offset = self.offset;
        let got = bytes.len() as u64;
        self.offset += got;
        self.left -= got;
        self.stored -= got;
        Ok(Some((offset, bytes)))
    }

    pub(super) fn skip<R: Read>(&mut self, input: &mut Input<R>) -> Result<(), Problem> {
        let stored = std::mem::take(self).stored;
        input.skip(stored)
    }
}

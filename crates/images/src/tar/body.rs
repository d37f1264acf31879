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
    /// Stored bytes not read, without what pads them to a block.
    stored: u64,
    padding: u64,
}

impl Body {
    /// The stored bytes of `pieces`, which are `stored` together.
    pub(super) fn new(pieces: Vec<Piece>, stored: u64) -> Self {
        Self {
            pieces: pieces.into_iter(),
            offset: 0,
            left: 0,
            stored,
            padding: padding(stored),
        }
    }

    /// How many bytes there are still to come.
    pub(super) fn stored(&self) -> u64 {
        self.stored
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

    /// Passes over what is left. The stream may end where only padding would follow: umoci's `insert` closes no
    /// archive, and Go's reader (`archive/tar`, `Reader.next`), by which all of Docker reads, minds neither.
    pub(super) fn skip<R: Read>(&mut self, input: &mut Input<R>) -> Result<(), Problem> {
        let body = std::mem::take(self);
        input.skip(body.stored)?;
        match input.skip(body.padding) {
            Err(Problem::Truncated) => Ok(()),
            skipped => skipped,
        }
    }
}

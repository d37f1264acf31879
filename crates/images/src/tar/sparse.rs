//! Maps of sparse files: where in the file the stored bytes belong (GNU tar manual, "Storing Sparse Files").
//!
//! Four forms: GNU's old header of type `S`, and in pax archives versions 0.0 and 0.1 in records and 1.0 in the data.

use std::io::Read;

use super::Limits;
use super::block::{Block, Form, natural as header_number};
use super::error::{Bound, Problem};
use super::input::{BLOCK, Input};
use super::number::natural;

/// A run of stored bytes: offset in the file, length.
pub(super) type Piece = (u64, u64);

/// What pax records say of a sparse file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Announced {
    major: Option<Vec<u8>>,
    minor: Option<Vec<u8>>,
    name: Option<Vec<u8>>,
    size: Option<u64>,
    count: Option<u64>,
    map: Option<Vec<u8>>,
    /// Version 0.0: offsets and lengths in turn.
    numbers: Vec<u64>,
}

/// The file that a map makes.
pub(super) struct SparseFile {
    pub(super) name: Option<Vec<u8>>,
    pub(super) size: u64,
    pub(super) pieces: Vec<Piece>,
    /// Bytes of the data that the map itself took.
    pub(super) map_bytes: u64,
}

impl Announced {
    /// Takes a record of version 0.0's map; the only records whose order counts.
    pub(super) fn piece(&mut self, key: &[u8], value: &[u8], limits: &Limits) -> Result<bool, Problem> {
        let is_offset = match key {
            b"GNU.sparse.offset" => true,
            b"GNU.sparse.numbytes" => false,
            _ => return Ok(false),
        };
        if is_offset != self.numbers.len().is_multiple_of(2) {
            return Err(Problem::SparseMap);
        }
        self.numbers.push(natural(value).ok_or(Problem::SparseMap)?);
        Bound::Sparse.check_len(self.numbers.len().div_ceil(2), limits.sparse)?;
        Ok(true)
    }

    /// Takes a record, if it is of a sparse file.
    pub(super) fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), Problem> {
        let text = || Some(value.to_vec()).filter(|value| !value.is_empty());
        let number = || natural(value).map(Some).ok_or(Problem::SparseMap);
        match key {
            b"GNU.sparse.major" => self.major = text(),
            b"GNU.sparse.minor" => self.minor = text(),
            b"GNU.sparse.name" if value.contains(&0) => return Err(Problem::Record("GNU.sparse.name")),
            b"GNU.sparse.name" => self.name = text(),
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => self.size = number()?,
            b"GNU.sparse.numblocks" => self.count = number()?,
            b"GNU.sparse.map" => self.map = text(),
            _ => {}
        }
        Ok(())
    }

    /// The file, if the records tell of a sparse one. Version 1.0 reads its map from the data.
    pub(super) fn file<R: Read>(
        self,
        stored: u64,
        input: &mut Input<R>,
        limits: &Limits,
    ) -> Result<Option<SparseFile>, Problem> {
        let version = (self.major.as_deref(), self.minor.as_deref());
        let (pieces, map_bytes) = match version {
            (Some(b"1"), Some(b"0")) => from_data(stored, input, limits)?,
            (Some(b"0"), Some(b"0" | b"1")) | (None, None) if self.has_map() => (self.pieces(limits)?, 0),
            (None, None) => return Ok(None),
            _ => return Err(Problem::Unsupported("sparse files of this version")),
        };
        Ok(Some(SparseFile {
            name: self.name,
            size: self.size.ok_or(Problem::SparseMap)?,
            pieces,
            map_bytes,
        }))
    }

    fn has_map(&self) -> bool {
        self.map.is_some() || !self.numbers.is_empty() || self.count.is_some()
    }

    /// Versions 0.0 and 0.1.
    fn pieces(&self, limits: &Limits) -> Result<Vec<Piece>, Problem> {
        let mut numbers = self.numbers.clone();
        let most = limits.sparse.saturating_mul(2);
        if let Some(map) = &self.map {
            for number in map.split(|byte| *byte == b',') {
                Bound::Sparse.check_len(numbers.len() + 1, most)?;
                numbers.push(natural(number).ok_or(Problem::SparseMap)?);
            }
        }
        let pieces: Vec<Piece> = numbers.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
        let counted = self.count.is_none_or(|count| count == pieces.len() as u64);
        if !counted || !numbers.len().is_multiple_of(2) {
            return Err(Problem::SparseMap);
        }
        Ok(pieces)
    }
}

/// Version 1.0: the data begins with a count, then offset and length of each piece, a decimal number a line, padded to a
/// block.
fn from_data<R: Read>(
    stored: u64,
    input: &mut Input<R>,
    limits: &Limits,
) -> Result<(Vec<Piece>, u64), Problem> {
    let mut lines = Lines {
        input,
        left: stored,
        block: [0; BLOCK],
        at: BLOCK,
    };
    let count = lines.number()?;
    Bound::Sparse.check(count, limits.sparse as u64)?;
    let mut pieces = Vec::new();
    for _ in 0..count {
        pieces.push((lines.number()?, lines.number()?));
    }
    let used = stored - lines.left;
    Ok((pieces, used))
}

struct Lines<'a, R> {
    input: &'a mut Input<R>,
    /// Stored bytes not read yet.
    left: u64,
    block: [u8; BLOCK],
    at: usize,
}

impl<R: Read> Lines<'_, R> {
    fn number(&mut self) -> Result<u64, Problem> {
        let mut number = 0u64;
        for digits in 0.. {
            match self.byte()? {
                b'\n' if digits > 0 => return Ok(number),
                digit @ b'0'..=b'9' if digits < 20 => {
                    number = number
                        .checked_mul(10)
                        .and_then(|number| number.checked_add(u64::from(digit - b'0')))
                        .ok_or(Problem::SparseMap)?;
                }
                _ => break,
            }
        }
        Err(Problem::SparseMap)
    }

    fn byte(&mut self) -> Result<u8, Problem> {
        if self.at == BLOCK {
            self.left = self.left.checked_sub(BLOCK as u64).ok_or(Problem::SparseMap)?;
            self.block = self.input.block()?.ok_or(Problem::Truncated)?;
            self.at = 0;
        }
        let byte = self.block.get(self.at).copied().ok_or(Problem::SparseMap)?;
        self.at += 1;
        Ok(byte)
    }
}

/// The old GNU form: four pieces in the header, 21 in each block that follows while the one before says so.
pub(super) fn old_gnu<R: Read>(
    header: &Block,
    input: &mut Input<R>,
    limits: &Limits,
) -> Result<SparseFile, Problem> {
    if header.form != Form::Gnu {
        return Err(Problem::Unsupported("sparse files of other forms than GNU's"));
    }
    let bytes = header.bytes();
    let size = header_number(&bytes[483..495], "the size of the sparse file")?;
    let mut pieces = Vec::new();
    let mut more = add_pieces(&bytes[386..482], bytes[482], &mut pieces, limits)?;
    while more {
        let block = input.block()?.ok_or(Problem::Truncated)?;
        more = add_pieces(&block[..504], block[504], &mut pieces, limits)?;
    }
    Ok(SparseFile {
        name: None,
        size,
        pieces,
        map_bytes: 0,
    })
}

fn add_pieces(
    fields: &[u8],
    is_extended: u8,
    pieces: &mut Vec<Piece>,
    limits: &Limits,
) -> Result<bool, Problem> {
    for piece in fields.chunks_exact(24).take_while(|piece| piece[0] != 0) {
        let (offset, length) = piece.split_at(12);
        let what = "the sparse file's map";
        pieces.push((header_number(offset, what)?, header_number(length, what)?));
    }
    // An endless chain of empty blocks is not endless either: the stream is limited.
    Bound::Sparse.check_len(pieces.len(), limits.sparse)?;
    Ok(is_extended != 0)
}

impl SparseFile {
    /// Checks that the pieces lie one behind the other within the file, and that they take all of the `stored` bytes.
    pub(super) fn check(&self, stored: u64) -> Result<(), Problem> {
        let mut end = 0;
        let mut total = 0u64;
        for (offset, length) in &self.pieces {
            if *offset < end {
                return Err(Problem::SparseMap);
            }
            end = offset.checked_add(*length).ok_or(Problem::SparseMap)?;
            total = total.checked_add(*length).ok_or(Problem::SparseMap)?;
        }
        if end > self.size || total.checked_add(self.map_bytes) != Some(stored) {
            return Err(Problem::SparseMap);
        }
        Ok(())
    }
}

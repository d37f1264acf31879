//! The compressions a kernel or a module may be wrapped in.

use std::io::{self, Read};

use super::Limits;

/// A compression, told by its magic (`scripts/extract-vmlinux` in the kernel's source has the same list).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    Gzip,
    Xz,
    Zstd,
    Lzma,
    /// LZ4's legacy frame: the only form the kernel uses.
    Lz4,
    Bzip2,
    Lzo,
}

/// Why packed bytes could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    #[error(
        "{0} compression is not supported: use a kernel packed with gzip, xz, zstd, lzma or LZ4, or an unpacked vmlinux"
    )]
    Unsupported(Compression),
    #[error("the {kind} data is damaged")]
    Damaged { kind: Compression, source: io::Error },
    #[error("the {kind} data unpacks to more than the {limit} bytes allowed for {packed} packed bytes")]
    TooLarge {
        kind: Compression,
        packed: usize,
        limit: u64,
    },
}

impl std::fmt::Display for Compression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
            Self::Lzma => "lzma",
            Self::Lz4 => "LZ4",
            Self::Bzip2 => "bzip2",
            Self::Lzo => "LZO",
        })
    }
}

impl Compression {
    /// What `bytes` begin as, if it is one of these.
    #[must_use]
    pub fn detect(bytes: &[u8]) -> Option<Self> {
        const MAGICS: [(&[u8], Compression); 7] = [
            (&[0x1f, 0x8b, 0x08], Compression::Gzip),
            (&[0xfd, b'7', b'z', b'X', b'Z', 0], Compression::Xz),
            (&[0x28, 0xb5, 0x2f, 0xfd], Compression::Zstd),
            (&[0x5d, 0, 0], Compression::Lzma),
            (&[0x02, 0x21, 0x4c, 0x18], Compression::Lz4),
            (b"BZh", Compression::Bzip2),
            (&[0x89, b'L', b'Z', b'O', 0], Compression::Lzo),
        ];
        MAGICS
            .iter()
            .find(|(magic, _)| bytes.starts_with(magic))
            .map(|(_, kind)| *kind)
    }
}

/// Unpacks one stream. Bytes behind its end are left alone: the kernel's build appends the size there.
///
/// # Errors
/// The compression is not supported, the data is damaged, or more comes out than `limits` allow.
pub fn unpack(kind: Compression, packed: &[u8], limits: &Limits) -> Result<Vec<u8>, UnpackError> {
    // The decoders' own memory: xz and zstd dictionaries are 128 MiB at most in what distributions make.
    const MEMORY_KIB: u32 = 256 << 10;

    let limit = limits
        .output
        .min(limits.ratio.saturating_mul(packed.len() as u64));
    let damaged = |source| UnpackError::Damaged { kind, source };
    let reader: Box<dyn Read + '_> = match kind {
        Compression::Gzip => Box::new(flate2::read::GzDecoder::new(packed)),
        Compression::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(packed, false, MEMORY_KIB)),
        Compression::Zstd => Box::new(
            zstd::stream::read::Decoder::with_buffer(packed)
                .map_err(damaged)?
                .single_frame(),
        ),
        Compression::Lzma => {
            let reader = lzma_rust2::LzmaReader::new_mem_limit(packed, MEMORY_KIB, None);
            Box::new(reader.map_err(damaged)?)
        }
        Compression::Lz4 => Box::new(Lz4Legacy::new(packed)),
        Compression::Bzip2 | Compression::Lzo => return Err(UnpackError::Unsupported(kind)),
    };
    let mut out = Vec::new();
    reader
        .take(limit.saturating_add(1))
        .read_to_end(&mut out)
        .map_err(damaged)?;
    if out.len() as u64 > limit {
        return Err(UnpackError::TooLarge {
            kind,
            packed: packed.len(),
            limit,
        });
    }
    Ok(out)
}

/// Reads LZ4's legacy frame (`lz4_Frame_format.md`, "Legacy frame"): blocks of a little-endian size and that many bytes,
/// each unpacking to 8 MiB but the last. It ends where no further block can be: at the end, or at the four bytes of
/// size that the kernel's build appends.
struct Lz4Legacy<'a> {
    rest: &'a [u8],
    block: Vec<u8>,
    at: usize,
}

impl<'a> Lz4Legacy<'a> {
    const BLOCK: usize = 8 << 20;

    fn new(packed: &'a [u8]) -> Self {
        Self {
            rest: packed.get(4..).unwrap_or_default(),
            block: Vec::new(),
            at: 0,
        }
    }

    /// Fills `block` with the next one; leaves it empty at the end.
    fn next_block(&mut self) -> io::Result<()> {
        let last_was_short = !self.block.is_empty() && self.block.len() < Self::BLOCK;
        self.block.clear();
        self.at = 0;
        let Some((size, rest)) = self.rest.split_first_chunk::<4>() else {
            return Ok(());
        };
        if last_was_short || rest.is_empty() {
            return Ok(());
        }
        let size = u32::from_le_bytes(*size) as usize;
        let Some((packed, rest)) = rest.split_at_checked(size) else {
            return Err(io::Error::other(format!(
                "a block of {size} bytes, and {} are left",
                rest.len()
            )));
        };
        self.block.resize(Self::BLOCK, 0);
        let got = lz4_flex::block::decompress_into(packed, &mut self.block).map_err(io::Error::other)?;
        self.block.truncate(got);
        self.rest = rest;
        Ok(())
    }
}

impl Read for Lz4Legacy<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.block.len() {
            self.next_block()?;
        }
        let mut ready = self.block.get(self.at..).unwrap_or_default();
        let got = ready.read(buffer)?;
        self.at += got;
        Ok(got)
    }
}

use std::fmt;
use std::io::{self, BufRead, Cursor, Read};

/// How a layer is packed. OCI has the first three, Docker also reads the last two.
///
/// Several gzip members, zstd frames, or xz and bzip2 streams one behind the other are one layer, as they are for the
/// tools of these names; bytes behind them that are none are an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
    /// With a window of 64 MiB at most: `zstd --ultra -22` and `--long` ask for 128 MiB, all lower levels for 8 MiB.
    Zstd,
    /// With 80 MiB of memory at most: `xz -9` asks for 65 MiB.
    Xz,
    Bzip2,
}

/// The logarithm of zstd's window.
const ZSTD_WINDOW: u32 = 26;
const XZ_MEMORY_KIB: u32 = 80 << 10;

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "plain",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Xz => "xz",
            Self::Bzip2 => "bzip2",
        })
    }
}

impl Compression {
    /// What bytes begin as: RFC 1952 2.3.1, RFC 8878 3.1, the xz file format 2.1.1.1, and the first block's or the end's
    /// mark of bzip2, since a name in a plain tar may well begin with `BZh`.
    pub(crate) fn of(head: &[u8]) -> Self {
        match head {
            [0x1f, 0x8b, 0x08, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            [b'B', b'Z', b'h', b'1'..=b'9', mark @ ..]
                if mark.starts_with(b"1AY&SY") || mark.starts_with(b"\x17rE8P\x90") =>
            {
                Self::Bzip2
            }
            _ => Self::None,
        }
    }

    /// Unpacks `packed`.
    pub(super) fn decoder<'a>(self, packed: impl BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
        Ok(match self {
            Self::None => Box::new(packed),
            Self::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(packed)),
            Self::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(packed)?;
                decoder.window_log_max(ZSTD_WINDOW)?;
                Box::new(decoder)
            }
            Self::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(packed, true, XZ_MEMORY_KIB)),
            Self::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(packed)),
        })
    }
}

/// Tells how `blob` is packed, and gives back all of it.
pub(super) fn sniff<R: Read>(mut blob: R) -> io::Result<(Compression, impl Read)> {
    const LONGEST_MAGIC: u64 = 10;
    let mut head = Vec::new();
    blob.by_ref().take(LONGEST_MAGIC).read_to_end(&mut head)?;
    Ok((Compression::of(&head), Cursor::new(head).chain(blob)))
}

//! The superblock of an ext4 file system (kernel: `Documentation/filesystems/ext4/super.rst`).

use std::fs::File;
use std::os::unix::fs::FileExt;

/// Where it lies in the file system, in bytes.
const OFFSET: u64 = 1024;
const SIZE: usize = 1024;
const MAGIC: u16 = 0xEF53;

const STATE_CLEAN: u16 = 0x1;
const STATE_ERRORS: u16 = 0x2;
const COMPAT_HAS_JOURNAL: u32 = 0x4;
const INCOMPAT_RECOVER: u32 = 0x4;
const INCOMPAT_JOURNAL_DEV: u32 = 0x8;
const INCOMPAT_EXTENTS: u32 = 0x40;
const INCOMPAT_64BIT: u32 = 0x80;

/// What matters here of a superblock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// Of the file system, in bytes.
    pub size: u64,
    /// It was not unmounted and has to be recovered from its journal when it is mounted; or it is mounted now.
    pub needs_recovery: bool,
    /// It was not unmounted and has no journal to recover from; or it is mounted now.
    pub unclean: bool,
    /// The kernel found errors in it.
    pub has_errors: bool,
}

/// Why bytes are no ext4 file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SuperblockError {
    #[error("it holds no ext4 file system (no magic number at byte 1080)")]
    Magic,
    #[error("it holds an ext2 or ext3 file system, not ext4")]
    NotExt4,
    #[error("it holds an ext4 journal, not a file system")]
    Journal,
    #[error("its superblock is damaged: it says blocks of 2^{0} KiB")]
    BlockSize(u32),
}

impl Superblock {
    /// Reads the superblock of the file system that `file` is.
    ///
    /// # Errors
    /// The inner error says why there is no ext4 file system; the outer one, that the file cannot be read.
    pub fn read(file: &File) -> std::io::Result<Result<Self, SuperblockError>> {
        let mut bytes = [0; SIZE];
        match file.read_exact_at(&mut bytes, OFFSET) {
            Ok(()) => Ok(Self::parse(&bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                Ok(Err(SuperblockError::Magic))
            }
            Err(error) => Err(error),
        }
    }

    /// Reads a superblock from its 1024 bytes.
    ///
    /// # Errors
    /// It is none, or not ext4's.
    pub fn parse(bytes: &[u8; SIZE]) -> Result<Self, SuperblockError> {
        let short = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let word = |at: usize| u32::from(short(at)) | u32::from(short(at + 2)) << 16;
        if short(0x38) != MAGIC {
            return Err(SuperblockError::Magic);
        }
        let (state, compat, incompat) = (short(0x3a), word(0x5c), word(0x60));
        if incompat & INCOMPAT_JOURNAL_DEV != 0 {
            return Err(SuperblockError::Journal);
        }
        if incompat & INCOMPAT_EXTENTS == 0 {
            return Err(SuperblockError::NotExt4);
        }
        let log_block_size = word(0x18);
        if log_block_size > 6 {
            return Err(SuperblockError::BlockSize(log_block_size));
        }
        let high = if incompat & INCOMPAT_64BIT == 0 {
            0
        } else {
            word(0x150)
        };
        let blocks = u64::from(high) << 32 | u64::from(word(0x4));
        let has_journal = compat & COMPAT_HAS_JOURNAL != 0;
        Ok(Self {
            size: blocks.saturating_mul(1024 << log_block_size),
            needs_recovery: incompat & INCOMPAT_RECOVER != 0,
            unclean: !has_journal && state & STATE_CLEAN == 0,
            has_errors: state & STATE_ERRORS != 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample() -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        bytes[0x38..0x3a].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[0x3a] = 1;
        bytes[0x18] = 2;
        bytes[0x4..0x8].copy_from_slice(&100u32.to_le_bytes());
        bytes[0x60] = 0xc0;
        bytes
    }

    #[test]
    fn size_and_state_are_read() {
        let mut bytes = sample();
        let clean = Superblock {
            size: 409_600,
            needs_recovery: false,
            unclean: false,
            has_errors: false,
        };
        assert_eq!(Superblock::parse(&bytes), Ok(clean));
        bytes[0x150] = 1;
        assert_eq!(Superblock::parse(&bytes).unwrap().size, ((1 << 32) + 100) * 4096);
        bytes[0x3a] = 2;
        let worse = Superblock::parse(&bytes).unwrap();
        assert!(worse.unclean && worse.has_errors);
        bytes[0x5c] = 4;
        bytes[0x60] |= 4;
        let journalled = Superblock::parse(&bytes).unwrap();
        assert!(!journalled.unclean && journalled.needs_recovery);
    }

    #[test]
    fn others_are_told_apart() {
        assert_eq!(Superblock::parse(&[0; SIZE]), Err(SuperblockError::Magic));
        let mut ext2 = sample();
        ext2[0x60] = 2;
        assert_eq!(Superblock::parse(&ext2), Err(SuperblockError::NotExt4));
        ext2[0x60] = 8;
        assert_eq!(Superblock::parse(&ext2), Err(SuperblockError::Journal));
        let mut odd = sample();
        odd[0x18] = 7;
        assert_eq!(Superblock::parse(&odd), Err(SuperblockError::BlockSize(7)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_without_a_panic(bytes in proptest::array::uniform32(any::<[u8; 32]>())) {
            let mut bytes: [u8; SIZE] = bytes.concat().try_into().unwrap();
            let _ = Superblock::parse(&bytes);
            bytes[0x38..0x3a].copy_from_slice(&MAGIC.to_le_bytes());
            let _ = Superblock::parse(&bytes);
        }
    }
}

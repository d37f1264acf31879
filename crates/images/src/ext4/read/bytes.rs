//! Numbers from places that may not be there: ext4 is little-endian throughout.

pub(super) fn short(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_le_bytes(*bytes))
}

pub(super) fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_le_bytes(*bytes))
}

/// Two halves as one number.
pub(super) fn joined(high: impl Into<u64>, low: u32) -> u64 {
    high.into() << 32 | u64::from(low)
}

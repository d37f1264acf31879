//! What a disk holds that is no ext4 file system, for the text that refuses it. The invariant: read only to be named.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// The part of a disk in which everything known here has its mark, in bytes.
const LOOKED_AT: usize = 72 * 1024;

/// Where a partition table of the old kind ends its block with two bytes, and where it has four entries of 16 bytes
/// (UEFI 2.10, section 5.2).
const MBR_MARK: (usize, [u8; 2]) = (510, [0x55, 0xaa]);
const MBR_ENTRIES: usize = 446;

/// Marks, by their places (util-linux: libblkid/src/superblocks).
const MARKS: [(usize, &[u8], Contents); 9] = [
    (512, b"EFI PART", Contents::Partitions),
    (0, b"XFSB", Contents::Xfs),
    (0x10040, b"_BHRfS_M", Contents::Btrfs),
    (0, b"hsqs", Contents::Squashfs),
    (0, b"LUKS\xba\xbe", Contents::Luks),
    (4086, b"SWAPSPACE2", Contents::Swap),
    (0, b"QFI\xfb", Contents::Qcow2),
    (536, b"LVM2 001", Contents::Lvm),
    (0x8001, b"CD001", Contents::Iso9660),
];

/// What is on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Contents {
    /// Zeros, at its beginning at least.
    Nothing,
    Partitions,
    Xfs,
    Btrfs,
    Squashfs,
    Luks,
    Swap,
    Qcow2,
    Lvm,
    Iso9660,
}

impl fmt::Display for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "nothing",
            Self::Partitions => "a partition table",
            Self::Xfs => "an XFS file system",
            Self::Btrfs => "a Btrfs file system",
            Self::Squashfs => "a SquashFS file system",
            Self::Luks => "an encrypted volume (LUKS), which has to be opened first",
            Self::Swap => "swap space",
            Self::Qcow2 => "a QCOW2 image (qemu-img convert -O raw makes a raw one)",
            Self::Lvm => "a physical volume of LVM: use one of its logical volumes",
            Self::Iso9660 => "an ISO 9660 file system",
        })
    }
}

/// What `file` holds; `None` if that is not known here.
pub(super) fn of(file: &File) -> io::Result<Option<Contents>> {
    let mut bytes = vec![0; LOOKED_AT];
    let mut length = 0;
    while let Some(rest) = bytes.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, length as u64) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(length);
    Ok(known(&bytes))
}

fn known(bytes: &[u8]) -> Option<Contents> {
    if bytes.iter().all(|byte| *byte == 0) {
        return Some(Contents::Nothing);
    }
    let at = |place: usize, mark: &[u8]| bytes.get(place..).is_some_and(|rest| rest.starts_with(mark));
    let marked = MARKS.iter().find(|(place, mark, _)| at(*place, mark));
    if let Some((_, _, contents)) = marked {
        return Some(*contents);
    }
    (at(MBR_MARK.0, &MBR_MARK.1) && has_entries(bytes)).then_some(Contents::Partitions)
}

/// Whether each of the four entries can be one: boot code of a file system ends with the same two bytes.
fn has_entries(bytes: &[u8]) -> bool {
    let entries = bytes.get(MBR_ENTRIES..MBR_MARK.0).unwrap_or_default();
    let mut used = false;
    for entry in entries.chunks_exact(16) {
        let (Some(status), Some(kind)) = (entry.first(), entry.get(4)) else {
            return false;
        };
        if *status & 0x7f != 0 {
            return false;
        }
        used |= *kind != 0;
    }
    used
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_has_its_mark() {
        for (place, mark, contents) in MARKS {
            let mut bytes = vec![0; LOOKED_AT];
            bytes[place..place + mark.len()].copy_from_slice(mark);
            assert_eq!(known(&bytes), Some(contents));
        }
        assert_eq!(known(&[]), Some(Contents::Nothing));
        assert_eq!(known(b"text"), None);
    }

    #[test]
    fn a_partition_table_has_entries() {
        let mut bytes = vec![0; 512];
        bytes[510..].copy_from_slice(&MBR_MARK.1);
        assert_eq!(known(&bytes), None);
        bytes[MBR_ENTRIES + 4] = 0x83;
        assert_eq!(known(&bytes), Some(Contents::Partitions));
        bytes[MBR_ENTRIES + 16] = 1;
        assert_eq!(known(&bytes), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_looked_at_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
            known(&bytes);
        }
    }
}

//! Making a file sparse: a guest's memory is mostly zeros, and a VMM may have written them all.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use rustix::fs::{FallocateFlags, SeekFrom, fallocate, seek};
use rustix::io::Errno;

/// How much is looked at as one: enough that a file does not fall to pieces, and little enough to find most of the zeros.
const BLOCK: usize = 64 << 10;

/// Punches out whatever is zero. A file system that cannot do so is left alone.
pub(crate) fn dig(file: &File) -> io::Result<()> {
    let end = file.metadata()?.len();
    let mut buffer = vec![0; BLOCK];
    let mut at = 0;
    while at < end {
        at = match seek(file, SeekFrom::Data(at)) {
            Ok(data) => data / BLOCK as u64 * BLOCK as u64,
            // No data behind here.
            Err(Errno::NXIO) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let got = file.read_at(&mut buffer, at)?;
        if got == 0 {
            return Ok(());
        }
        if buffer.iter().take(got).all(|byte| *byte == 0) {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            match fallocate(file, flags, at, got as u64) {
                Err(Errno::OPNOTSUPP) => return Ok(()),
                dug => dug?,
            }
        }
        at += got as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn zeros_take_no_room_and_everything_reads_as_before() {
        let file = tempfile::tempfile().unwrap();
        let mut bytes = vec![0u8; 1 << 20];
        for at in [5, 300_000, (1 << 20) - 1] {
            bytes[at] = 7;
        }
        file.write_all_at(&bytes, 0).unwrap();
        let before = file.metadata().unwrap().blocks();
        dig(&file).unwrap();
        let after = file.metadata().unwrap();
        assert_eq!(after.len(), 1 << 20);
        assert!(after.blocks() <= before / 4, "{} of {before}", after.blocks());
        let mut read = vec![1; 1 << 20];
        file.read_exact_at(&mut read, 0).unwrap();
        assert_eq!(read, bytes);
    }
}

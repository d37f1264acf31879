//! A checksum of what a file holds, however sparsely it is stored: two copies of one file have the same.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use images::oci::{Algorithm, Digest, Hasher};
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

/// How much is taken as one.
const BLOCK: usize = 64 << 10;

/// SHA-256 of the file's length, and of each block of 64 KiB that is not all zeros with the number of the block before it. Both
/// numbers are 64 bits, little-endian.
pub(super) fn of(path: &Path) -> io::Result<Digest> {
    let file = File::open(path)?;
    let end = file.metadata()?.len();
    let mut hasher = Hasher::new(Algorithm::Sha256);
    hasher.update(&end.to_le_bytes());
    let mut buffer = vec![0; BLOCK];
    let mut at = 0;
    while at < end {
        at = match seek(&file, SeekFrom::Data(at)) {
            Ok(data) => data / BLOCK as u64 * BLOCK as u64,
            Err(Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let length = usize::try_from(end - at).map_or(BLOCK, |left| left.min(BLOCK));
        let block = buffer.get_mut(..length).unwrap_or_default();
        file.read_exact_at(block, at)?;
        if block.iter().any(|byte| *byte != 0) {
            hasher.update(&(at / BLOCK as u64).to_le_bytes());
            hasher.update(block);
        }
        at += BLOCK as u64;
    }
    Ok(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_and_zeros_are_the_same_and_nothing_else_is() {
        let temp = tempfile::tempdir().unwrap();
        let path = |name: &str| temp.path().join(name);
        let make = |name: &str, length: u64, writes: &[(u64, &[u8])]| {
            let file = File::create(path(name)).unwrap();
            file.set_len(length).unwrap();
            for (at, bytes) in writes {
                file.write_all_at(bytes, *at).unwrap();
            }
            of(&path(name)).unwrap()
        };
        let zeros = vec![0; 200_000];
        let sparse = make("sparse", 300_000, &[(250_000, b"x")]);
        assert_eq!(sparse, make("dense", 300_000, &[(0, &zeros), (250_000, b"x")]));
        assert_ne!(sparse, make("longer", 300_001, &[(250_000, b"x")]));
        assert_ne!(sparse, make("moved", 300_000, &[(250_001, b"x")]));
        assert_ne!(sparse, make("another block", 300_000, &[(50_000, b"x")]));
        assert_ne!(make("empty", 0, &[]), make("hole", 1, &[]));
    }
}

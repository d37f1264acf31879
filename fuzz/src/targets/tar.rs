//! Tar streams. Sums are set right first, or hardly any header would be read.

use images::tar::{Kind, Limits, Reader};

pub(crate) fn run(bytes: &[u8]) {
    let mut stream = bytes.to_vec();
    for block in stream
        .chunks_exact_mut(512)
        .filter(|block| block[257..262] == *b"ustar")
    {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    let limits = Limits::default();
    let mut reader = Reader::new(stream.as_slice(), &limits);
    while let Ok(Some(entry)) = reader.next() {
        assert!(!entry.path.contains(&0) && entry.path.len() <= limits.path);
        assert!(entry.mode <= 0o7777 && entry.mtime.nanoseconds < 1_000_000_000);
        assert!(
            entry.xattrs.iter().all(|(name, value)| {
                name.len() <= limits.xattr_name && value.len() <= limits.xattr_value
            })
        );
        let size = match entry.kind {
            Kind::File { size } | Kind::HardLink { size, .. } => size,
            _ => 0,
        };
        let (mut end, mut total) = (0, 0);
        while let Ok(Some((offset, data))) = reader.data() {
            assert!(offset >= end && !data.is_empty());
            end = offset + data.len() as u64;
            total += data.len();
            assert!(end <= size && total <= stream.len());
        }
    }
    let _ = reader.finish();
}

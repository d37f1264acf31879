//! Packed layers: gzip, zstd, xz, bzip2, told by their first bytes.

use std::io::{Cursor, Read};

use images::layer::{Expected, Layer, Limits};

const LIMITS: Limits = Limits {
    total: 4 << 20,
    ratio: 1000,
    ratio_from: 1 << 20,
};

pub(crate) fn run(bytes: &[u8]) {
    let blob = Cursor::new(bytes.to_vec());
    let Ok(mut layer) = Layer::open(blob, Expected::default(), &LIMITS) else {
        return;
    };
    let mut stream = Vec::new();
    let result = layer.read_to_end(&mut stream);
    assert!(stream.len() as u64 <= LIMITS.total);
    let verified = layer.finish();
    assert_eq!(result.is_ok(), verified.is_ok());
    if let Ok(verified) = verified {
        assert_eq!(verified.size, bytes.len() as u64);
        assert_eq!(verified.uncompressed, stream.len() as u64);
    }
}

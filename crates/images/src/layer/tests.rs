use std::io::{Cursor, Write};
use std::sync::Arc;
use std::sync::mpsc;

use super::*;
use crate::oci::Algorithm;

/// Text that packs a little.
fn text(bytes: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(bytes + 32);
    for line in 0u64.. {
        if text.len() >= bytes {
            break;
        }
        writeln!(text, "{:x}", line.wrapping_mul(0x9e37_79b9_7f4a_7c15)).unwrap();
    }
    text.truncate(bytes);
    text
}

const PACKED: [Compression; 4] = [
    Compression::Gzip,
    Compression::Zstd,
    Compression::Xz,
    Compression::Bzip2,
];

fn pack(kind: Compression, bytes: &[u8]) -> Vec<u8> {
    match kind {
        Compression::None => bytes.to_vec(),
        Compression::Gzip => {
            let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            writer.write_all(bytes).unwrap();
            writer.finish().unwrap()
        }
        Compression::Zstd => {
            let mut writer = zstd::Encoder::new(Vec::new(), 1).unwrap();
            writer.include_checksum(true).unwrap();
            writer.write_all(bytes).unwrap();
            writer.finish().unwrap()
        }
        Compression::Xz => {
            let options = lzma_rust2::XzOptions::with_preset(1);
            let mut writer = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
            writer.write_all(bytes).unwrap();
            writer.finish().unwrap()
        }
        Compression::Bzip2 => {
            let mut writer = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
            writer.write_all(bytes).unwrap();
            writer.finish().unwrap()
        }
    }
}

fn open(blob: &[u8], expected: Expected, limits: &Limits) -> Layer {
    Layer::open(Cursor::new(blob.to_vec()), expected, limits).unwrap()
}

fn expecting(blob: &[u8], stream: &[u8]) -> Expected {
    Expected {
        digest: Some(Digest::of(blob)),
        diff_id: Some(Digest::of(stream)),
        size: Some(blob.len() as u64),
    }
}

fn finish(blob: &[u8], expected: Expected) -> Result<Verified, LayerError> {
    open(blob, expected, &Limits::default()).finish()
}

#[test]
fn every_compression_is_told_unpacked_and_verified() {
    let stream = text(3_000_000);
    for kind in [&PACKED[..], &[Compression::None]].concat() {
        let blob = pack(kind, &stream);
        let mut layer = open(&blob, expecting(&blob, &stream), &Limits::default());
        let mut bytes = Vec::new();
        layer.read_to_end(&mut bytes).unwrap();
        assert!(bytes == stream, "{kind}");
        let verified = layer.finish().unwrap();
        assert_eq!(verified.compression, kind);
        assert_eq!(
            (verified.size, verified.uncompressed),
            (blob.len() as u64, 3_000_000)
        );
        // Nothing read, nothing known before.
        assert_eq!(finish(&blob, Expected::default()).unwrap(), verified);
    }
}

#[test]
fn members_and_frames_one_behind_the_other_are_one_layer() {
    let (first, second) = (text(300_000), text(1000));
    let both = [first.clone(), second.clone()].concat();
    for kind in PACKED {
        let blob = [pack(kind, &first), pack(kind, &[]), pack(kind, &second)].concat();
        let mut bytes = Vec::new();
        open(&blob, expecting(&blob, &both), &Limits::default())
            .read_to_end(&mut bytes)
            .unwrap();
        assert!(bytes == both, "{kind}");
    }
    let skipped = b"\x5a\x2a\x4d\x18\x03\0\0\0abc";
    let blob = [skipped, pack(Compression::Zstd, &first).as_slice(), skipped].concat();
    assert_eq!(
        finish(&blob, expecting(&blob, &first)).unwrap().compression,
        Compression::Zstd
    );
}

#[test]
fn a_plain_tar_may_begin_with_a_name_like_a_magic() {
    for head in [&b"BZh9.txt\0\0"[..], b"", b"x", b"\x1f\x8b"] {
        assert_eq!(
            finish(head, expecting(head, head)).unwrap().compression,
            Compression::None
        );
    }
}

#[test]
fn what_is_not_expected_is_told_with_both_digests() {
    let stream = text(700_000);
    let other = Digest::of(b"other");
    for kind in [Compression::None, Compression::Gzip] {
        let blob = pack(kind, &stream);
        let wrong = Expected {
            digest: Some(other.clone()),
            ..expecting(&blob, &stream)
        };
        let error = finish(&blob, wrong).unwrap_err();
        assert!(matches!(&error, LayerError::Digest { expected, actual }
            if *expected == other && *actual == Digest::of(&blob)));
        assert!(error.to_string().contains(&other.to_string()));
        let wrong = Expected {
            diff_id: Some(other.clone()),
            ..expecting(&blob, &stream)
        };
        assert!(
            matches!(finish(&blob, wrong), Err(LayerError::DiffId { expected, actual })
            if expected == other && actual == Digest::of(&stream))
        );
        let size = blob.len() as u64;
        let shorter = Expected {
            size: Some(size - 1),
            ..Expected::default()
        };
        assert!(matches!(finish(&blob, shorter), Err(LayerError::Long { limit }) if limit == size - 1));
        let longer = Expected {
            size: Some(size + 1),
            ..Expected::default()
        };
        assert!(matches!(finish(&blob, longer), Err(LayerError::Short { actual, .. }) if actual == size));
    }
}

#[test]
fn a_stream_is_checked_without_the_blobs_digest() {
    let (stream, other) = (text(700_000), Digest::of(b"other"));
    for kind in [&PACKED[..], &[Compression::None]].concat() {
        let blob = pack(kind, &stream);
        let expecting = |diff_id: &Digest| Expected {
            diff_id: Some(diff_id.clone()),
            ..Expected::default()
        };
        finish(&blob, expecting(&Digest::of(&stream))).unwrap();
        let error = finish(&blob, expecting(&other)).unwrap_err();
        assert!(matches!(error, LayerError::DiffId { actual, .. } if actual == Digest::of(&stream)));
    }
}

#[test]
fn sha512_is_checked_too() {
    let stream = text(1000);
    let mut hasher = Hasher::new(Algorithm::Sha512);
    hasher.update(&stream);
    let digest = hasher.finish();
    let expected = Expected {
        digest: Some(digest.clone()),
        diff_id: Some(Digest::of(&stream)),
        size: None,
    };
    finish(&stream, expected.clone()).unwrap();
    let other = text(999);
    assert!(
        matches!(finish(&other, expected), Err(LayerError::Digest { expected, .. }) if expected == digest)
    );
}

#[test]
fn the_end_comes_only_after_the_check() {
    let stream = text(1000);
    let expected = Expected {
        diff_id: Some(Digest::of(b"other")),
        ..Expected::default()
    };
    let mut layer = open(&pack(Compression::Gzip, &stream), expected, &Limits::default());
    let mut bytes = vec![0; 1000];
    layer.read_exact(&mut bytes).unwrap();
    assert!(bytes == stream);
    let error = layer
        .read(&mut bytes)
        .unwrap_err()
        .downcast::<LayerError>()
        .unwrap();
    assert!(matches!(error, LayerError::DiffId { .. }));
    let again = layer
        .read(&mut bytes)
        .unwrap_err()
        .downcast::<LayerError>()
        .unwrap();
    assert!(matches!(again, LayerError::GivenUp));
    assert!(matches!(layer.finish(), Err(LayerError::GivenUp)));
}

#[test]
fn cut_off_or_damaged_data_is_never_a_layer() {
    let stream = text(100_000);
    for kind in PACKED {
        let blob = pack(kind, &stream);
        // Behind the magic, which tells how to read it.
        for length in (12..blob.len()).step_by(997).chain([blob.len() - 1]) {
            let cut = &blob[..length];
            let error = finish(cut, Expected::default()).unwrap_err();
            assert!(
                matches!(error, LayerError::Damaged { kind: told, .. } if told == kind),
                "{kind}"
            );
            let error = finish(cut, expecting(&blob, &stream)).unwrap_err();
            assert!(
                matches!(error, LayerError::Short { .. }),
                "{kind} {length}: {error:?}"
            );
        }
        let mut damaged = blob.clone();
        damaged[blob.len() / 2] ^= 0x10;
        assert!(finish(&damaged, Expected::default()).is_err(), "{kind}");
        let error = finish(&damaged, expecting(&blob, &stream)).unwrap_err();
        assert!(matches!(error, LayerError::Digest { .. }), "{kind}: {error:?}");
        let trailing = [blob.as_slice(), b"what is this, and 12 more bytes"].concat();
        assert!(finish(&trailing, Expected::default()).is_err(), "{kind}");
    }
}

#[test]
fn bombs_are_refused() {
    let zeros = vec![0; 8 << 20];
    let limits = Limits {
        total: 6 << 20,
        ratio: 20,
        ratio_from: 1 << 20,
    };
    for kind in PACKED {
        let blob = pack(kind, &zeros);
        let bomb = |limits: &Limits| open(&blob, Expected::default(), limits).finish();
        assert!(
            matches!(bomb(&limits), Err(LayerError::Ratio { ratio: 20 })),
            "{kind}"
        );
        let any_ratio = Limits {
            ratio: u64::MAX,
            ..limits.clone()
        };
        assert!(
            matches!(bomb(&any_ratio), Err(LayerError::Total { limit: 6_291_456 })),
            "{kind}"
        );
        let tiny = Limits {
            total: u64::MAX,
            ratio: 1,
            ratio_from: 8 << 20,
        };
        assert_eq!(bomb(&tiny).unwrap().uncompressed, 8 << 20, "{kind}");
    }
    // That the blob's size is known saves no bomb.
    for kind in PACKED {
        let blob = pack(kind, &zeros);
        let error = open(&blob, expecting(&blob, &zeros), &limits)
            .finish()
            .unwrap_err();
        assert!(matches!(error, LayerError::Ratio { .. }), "{kind}: {error:?}");
        assert_eq!(error.limit(), Some("ratio"));
    }
    // Frames that hold nothing, without end.
    let skipped = std::iter::repeat_n(b"\x50\x2a\x4d\x18\x04\0\0\0abcd", 700_000).flatten();
    let blob: Vec<u8> = skipped.copied().collect();
    let error = open(&blob, Expected::default(), &limits).finish().unwrap_err();
    assert!(
        matches!(error, LayerError::Total { limit: 6_291_456 }),
        "{error:?}"
    );
}

#[test]
fn a_layer_may_begin_with_what_packs_well() {
    let mut stream = vec![0; 8 << 20];
    stream.extend(text(4 << 20));
    let limits = Limits {
        ratio: 20,
        ratio_from: 1 << 20,
        ..Limits::default()
    };
    for kind in PACKED {
        let blob = pack(kind, &stream);
        let verified = open(&blob, expecting(&blob, &stream), &limits).finish().unwrap();
        assert_eq!(verified.uncompressed, 12 << 20, "{kind}");
    }
    assert!(Limits::default().ratio_from >= 1 << 30);
}

#[test]
fn decoders_may_not_take_any_memory() {
    // RFC 8878 3.1.1.1.2: a window of 2^(10 + 17) bytes, and one raw block.
    let window = [0x28, 0xb5, 0x2f, 0xfd, 0, 17 << 3, 0x09, 0, 0, b'x'];
    let error = finish(&window, Expected::default()).unwrap_err();
    assert!(
        matches!(
            error,
            LayerError::Damaged {
                kind: Compression::Zstd,
                ..
            }
        ),
        "{error:?}"
    );
    let mut allowed = window;
    allowed[5] = 16 << 3;
    assert_eq!(finish(&allowed, Expected::default()).unwrap().uncompressed, 1);

    let mut options = lzma_rust2::XzOptions::with_preset(1);
    options.lzma_options.dict_size = 96 << 20;
    let mut writer = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
    writer.write_all(b"text").unwrap();
    let error = finish(&writer.finish().unwrap(), Expected::default()).unwrap_err();
    assert!(
        matches!(
            error,
            LayerError::Damaged {
                kind: Compression::Xz,
                ..
            }
        ),
        "{error:?}"
    );
}

/// Bytes without end, which tell when they are dropped.
struct Endless {
    alive: Arc<()>,
    read: mpsc::Sender<()>,
}

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let _ = (&self.alive, self.read.send(()));
        buffer.fill(b'.');
        Ok(buffer.len())
    }
}

#[test]
fn a_dropped_layer_leaves_nothing_behind_and_read_little_ahead() {
    let alive = Arc::new(());
    let (read, reads) = mpsc::channel();
    let blob = Endless {
        alive: Arc::clone(&alive),
        read,
    };
    let mut layer = Layer::open(blob, Expected::default(), &Limits::default()).unwrap();
    layer.read_exact(&mut [0; 1000]).unwrap();
    drop(layer);
    assert_eq!(Arc::strong_count(&alive), 1, "the thread lives on");
    // The queue, what the decoder holds, and the first bytes.
    assert!(reads.iter().count() <= AHEAD / queue::CHUNK + 3);
}

#[test]
fn an_error_of_the_blob_is_told_as_such() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the disk is gone"))
        }
    }
    for kind in [&PACKED[..], &[Compression::None]].concat() {
        let blob = pack(kind, &text(100_000));
        let start = Cursor::new(blob[..blob.len() / 2].to_vec());
        let layer = Layer::open(start.chain(Broken), Expected::default(), &Limits::default()).unwrap();
        let error = layer.finish().unwrap_err();
        assert!(
            matches!(&error, LayerError::Read(source) if source.to_string() == "the disk is gone"),
            "{kind}: {error:?}"
        );
    }
}

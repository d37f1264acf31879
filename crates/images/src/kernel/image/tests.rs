use std::io::Write;

use proptest::prelude::*;

use super::*;

const BANNER: &[u8] = b"\0Linux version 6.1.0-test (a@b) (gcc)\0\0virtio_blk\0";

fn le(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap().to_le_bytes()
}

/// An ELF file with one segment to load, holding a banner, and one of notes.
fn vmlinux(machine: u16, note: Option<u32>) -> Vec<u8> {
    let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
    bytes.resize(16, 0);
    for field in [2, machine] {
        bytes.extend(u16::to_le_bytes(field));
    }
    bytes.extend(1u32.to_le_bytes());
    for field in [0x100_0000u64, 64, 0] {
        bytes.extend(field.to_le_bytes());
    }
    bytes.extend(0u32.to_le_bytes());
    for field in [64u16, 56, 2, 64, 0, 0] {
        bytes.extend(field.to_le_bytes());
    }
    let mut notes = Vec::new();
    for field in [4, 4, note.unwrap_or(1)] {
        notes.extend(u32::to_le_bytes(field));
    }
    notes.extend(b"Xen\0\x10\x20\x30\x40");
    let text_at = 64 + 2 * 56;
    for (kind, at, size) in [
        (1u32, text_at, BANNER.len()),
        (4, text_at + BANNER.len(), notes.len()),
    ] {
        bytes.extend(kind.to_le_bytes());
        bytes.extend(4u32.to_le_bytes());
        for field in [at, 0, 0, size, size, 4] {
            bytes.extend((field as u64).to_le_bytes());
        }
    }
    bytes.extend_from_slice(BANNER);
    bytes.extend(notes);
    bytes
}

fn bz_image_of(payload: &[u8]) -> Vec<u8> {
    let setup_sectors = 2;
    let offset = 0x40;
    let mut bytes = vec![0; (setup_sectors + 1) * 512 + offset];
    bytes[0x1f1] = 2;
    bytes[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    bytes[0x202..0x206].copy_from_slice(b"HdrS");
    bytes[0x206..0x208].copy_from_slice(&[0x0f, 2]);
    bytes[0x20e..0x210].copy_from_slice(&0x200u16.to_le_bytes());
    bytes[0x248..0x24c].copy_from_slice(&le(offset));
    bytes[0x24c..0x250].copy_from_slice(&le(payload.len()));
    bytes[0x400..0x410].copy_from_slice(b"5.9-header (x@y)");
    bytes.extend_from_slice(payload);
    bytes
}

fn packed(kind: Compression, data: &[u8]) -> Vec<u8> {
    let mut packed = match kind {
        Compression::Gzip => {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gzip.write_all(data).unwrap();
            return gzip.finish().unwrap();
        }
        Compression::Xz => {
            let mut options = lzma_rust2::XzOptions::with_preset(1);
            // As the kernel's build does on x86 (scripts/xz_wrap.sh).
            options.prepend_pre_filter(lzma_rust2::FilterType::BcjX86, 0);
            let mut xz = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
            xz.write_all(data).unwrap();
            xz.finish().unwrap()
        }
        Compression::Zstd => zstd::encode_all(data, 3).unwrap(),
        Compression::Lzma => {
            let options = lzma_rust2::LzmaOptions::with_preset(6);
            let mut lzma = lzma_rust2::LzmaWriter::new_use_header(Vec::new(), &options, None).unwrap();
            lzma.write_all(data).unwrap();
            lzma.finish().unwrap()
        }
        Compression::Lz4 => {
            let mut bytes = vec![0x02, 0x21, 0x4c, 0x18];
            for chunk in data.chunks(8 << 20) {
                let block = lz4_flex::block::compress(chunk);
                bytes.extend(le(block.len()));
                bytes.extend(block);
            }
            bytes
        }
        Compression::Bzip2 => b"BZh9".to_vec(),
        Compression::Lzo => vec![0x89, b'L', b'Z', b'O', 0],
    };
    // What the kernel's build appends for all but gzip.
    packed.extend(le(data.len()));
    packed
}

const KINDS: [Compression; 5] = [
    Compression::Gzip,
    Compression::Xz,
    Compression::Zstd,
    Compression::Lzma,
    Compression::Lz4,
];

fn extracted(image: &[u8]) -> Result<Kernel<'_>, KernelError> {
    extract(image, &Limits::default())
}

#[test]
fn every_compression_of_a_bz_image_is_unpacked() {
    let vmlinux = vmlinux(62, Some(18));
    for kind in KINDS {
        let image = bz_image_of(&packed(kind, &vmlinux));
        let kernel = extracted(&image).unwrap();
        assert_eq!(kernel.bytes, vmlinux, "{kind}");
        assert_eq!(kernel.compression, Some(kind));
        assert_eq!(
            (kernel.arch, kernel.format, kernel.pvh),
            (Arch::X86_64, Format::Elf, true)
        );
        assert_eq!(kernel.version.as_deref(), Some("6.1.0-test"));
        assert!(kernel.has_driver("virtio_blk") && !kernel.has_driver("virtio"));
    }
    let unpacked = bz_image_of(&vmlinux);
    assert_eq!(extracted(&unpacked).unwrap().compression, None);
}

#[test]
fn lz4_blocks_end_where_they_should() {
    // Packs to a tenth or so.
    let full: Vec<u8> = (0u32..1 << 21)
        .flat_map(|n| (n / 5).wrapping_mul(0x9e37_79b1).to_le_bytes())
        .collect();
    let two = [full.as_slice(), b"more"].concat();
    for data in [full, two] {
        assert_eq!(
            unpack(
                Compression::Lz4,
                &packed(Compression::Lz4, &data),
                &Limits::default()
            )
            .unwrap(),
            data
        );
    }
}

#[test]
fn compressions_that_are_not_supported_are_named() {
    for (kind, name) in [(Compression::Bzip2, "bzip2"), (Compression::Lzo, "LZO")] {
        let error = extracted(&bz_image_of(&packed(kind, b"")))
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with(name) && error.contains("gzip, xz, zstd"),
            "{error}"
        );
    }
}

#[test]
fn an_elf_kernel_is_taken_as_it_is() {
    let image = vmlinux(62, None);
    let kernel = extracted(&image).unwrap();
    assert!(matches!(kernel.bytes, Cow::Borrowed(_)));
    assert!(!kernel.pvh);
    let arm = vmlinux(183, None);
    assert_eq!(extracted(&arm).unwrap().arch, Arch::Aarch64);
    let riscv = vmlinux(243, None);
    assert!(matches!(
        extracted(&riscv),
        Err(KernelError::Elf(ElfError::Machine(243)))
    ));
}

#[test]
fn arm64_images_are_taken_packed_or_not() {
    let mut image = vec![0; 64];
    image[56..60].copy_from_slice(b"ARM\x64");
    image.extend_from_slice(BANNER);
    let gz = packed(Compression::Gzip, &image);
    let mut zboot = b"MZ\0\0zimg".to_vec();
    zboot.extend(64u32.to_le_bytes());
    zboot.extend(le(gz.len()));
    zboot.resize(64, 0);
    zboot.extend_from_slice(&gz);
    for bytes in [&image, &gz, &zboot] {
        let kernel = extracted(bytes).unwrap();
        assert_eq!((kernel.arch, kernel.format), (Arch::Aarch64, Format::Image));
        assert_eq!(kernel.version.as_deref(), Some("6.1.0-test"));
        assert_eq!(kernel.bytes, image);
    }
}

#[test]
fn the_header_tells_the_version_where_the_kernel_does_not() {
    let mut silent = vmlinux(62, None);
    let at = memchr::memmem::find(&silent, b"Linux").unwrap();
    silent[at] = b'l';
    assert_eq!(
        extracted(&bz_image_of(&silent)).unwrap().version.as_deref(),
        Some("5.9-header")
    );
    assert_eq!(extracted(&silent).unwrap().version, None);
}

#[test]
fn bombs_are_refused() {
    let limits = Limits {
        input: 1 << 20,
        output: 1 << 20,
        ratio: 200,
    };
    let zeros = packed(Compression::Zstd, &vec![0; 2 << 20]);
    assert!(matches!(
        extract(&zeros, &limits),
        Err(KernelError::Unpack(UnpackError::TooLarge { .. }))
    ));
    let ratio = Limits {
        output: 1 << 30,
        ..limits
    };
    assert!(matches!(
        extract(&zeros, &ratio),
        Err(KernelError::Unpack(UnpackError::TooLarge { .. }))
    ));
    assert!(matches!(
        extract(&vec![0; 2 << 20], &limits),
        Err(KernelError::TooLarge { .. })
    ));
    let mut nested = vmlinux(62, None);
    for _ in 0..6 {
        nested = packed(Compression::Gzip, &nested);
    }
    assert!(matches!(extracted(&nested), Err(KernelError::Nested(_))));
}

#[test]
fn what_is_no_kernel_is_said() {
    for bytes in [b"".as_slice(), b"#!/bin/sh\n", &[0; 4096]] {
        assert!(matches!(extracted(bytes), Err(KernelError::Unknown)));
    }
    let mut cut_off = bz_image_of(&vmlinux(62, None));
    cut_off.truncate(cut_off.len() - 1);
    assert!(matches!(extracted(&cut_off), Err(KernelError::BzImage(_))));
    let mut old = bz_image_of(&vmlinux(62, None));
    old[0x206] = 7;
    assert!(matches!(
        extracted(&old),
        Err(KernelError::OldProtocol { major: 2, minor: 7 })
    ));
    let mut short = vmlinux(62, None);
    short.truncate(200);
    assert!(matches!(
        extracted(&short),
        Err(KernelError::Elf(ElfError::Damaged(_)))
    ));
}

proptest! {
    #[test]
    fn any_bytes_are_looked_at_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..1500)) {
        prop_assert!(extracted(&bytes).is_err());
    }

    #[test]
    fn damaged_images_are_looked_at_without_a_panic(
        kind in proptest::sample::select(KINDS.to_vec()),
        wrapped in any::<bool>(),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let packed = packed(kind, &vmlinux(62, Some(18)));
        let mut image = if wrapped { bz_image_of(&packed) } else { packed };
        for (at, byte) in flips {
            let at = at.index(image.len());
            image[at] = byte;
        }
        if let Ok(kernel) = extract(&image, &Limits { output: 1 << 24, ..Limits::default() }) {
            prop_assert!(kernel.bytes.len() <= 1 << 24);
        }
    }

    #[test]
    fn damaged_elf_files_are_looked_at_without_a_panic(at in 0usize..200, byte in any::<u8>()) {
        let mut image = vmlinux(62, Some(18));
        image[at] = byte;
        let _ = extracted(&image).map(|kernel| (kernel.pvh, kernel.config()));
        let _ = super::super::section(&image, ".modinfo");
        let _ = super::super::program(&image);
    }
}

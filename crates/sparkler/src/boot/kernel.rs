//! Whether a file is a kernel that QEMU can start.
//!
//! Invariant: only the file's headers are read, at most `MAX_NOTES` bytes of notes, and nothing in them is trusted
//! as an offset or length before it is checked against the file. QEMU is not started with an image it would only
//! complain about in its own words.
//!
//! Sources: the ELF specification; Xen's `elfnote.h` (PVH entry); Linux's `Documentation/arch/x86/boot.rst` and
//! `Documentation/arch/arm64/booting.rst`.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// A kernel QEMU can start on this architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernel {
    /// An ELF with a PVH entry point.
    Elf,
    /// A bzImage.
    BzImage,
    /// An arm64 `Image`.
    Image,
}

/// Why a file cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// It cannot be read.
    #[error("the kernel image cannot be read: {0}")]
    Read(#[from] io::Error),
    /// None of the formats known on this architecture.
    #[error("the file is neither an ELF kernel nor a {} image", if cfg!(target_arch = "aarch64") { "arm64" } else { "bzImage" })]
    Unknown,
    /// ELF, but damaged or for another processor.
    #[error("the ELF image is damaged or for another processor")]
    BadElf,
    /// An ELF that QEMU has no way to enter.
    #[error("the ELF kernel has no PVH entry point (build it with CONFIG_PVH=y, or give a bzImage)")]
    NoPvh,
}

/// Most program headers looked at.
const MAX_HEADERS: u16 = 64;
/// Most bytes of notes looked at.
const MAX_NOTES: u64 = 1 << 20;
/// `XEN_ELFNOTE_PHYS32_ENTRY`.
const PVH_NOTE: u32 = 18;

/// Looks at a file's headers.
pub fn inspect(file: &File) -> Result<Kernel, KernelError> {
    if cfg!(target_arch = "aarch64") {
        return if has(file, 56, b"ARM\x64")? {
            Ok(Kernel::Image)
        } else {
            Err(KernelError::Unknown)
        };
    }
    if has(file, 0, b"\x7fELF")? {
        inspect_elf(file)?;
        return Ok(Kernel::Elf);
    }
    if has(file, 0x1fe, &[0x55, 0xaa])? && has(file, 0x202, b"HdrS")? {
        return Ok(Kernel::BzImage);
    }
    Err(KernelError::Unknown)
}

fn has(file: &File, offset: u64, wanted: &[u8]) -> io::Result<bool> {
    let mut bytes = [0; 4];
    let bytes = &mut bytes[..wanted.len()];
    match file.read_exact_at(bytes, offset) {
        Ok(()) => Ok(bytes == wanted),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// Fields of a 64-bit ELF's header and program headers, at the offsets `elf.h` gives them.
fn inspect_elf(file: &File) -> Result<(), KernelError> {
    const PT_NOTE: u32 = 4;
    const EM_X86_64: u16 = 62;
    let mut header = [0; 64];
    read(file, &mut header, 0)?;
    let little_endian_64_bit = header[4] == 2 && header[5] == 1;
    if !little_endian_64_bit || u16_at(&header, 18) != EM_X86_64 {
        return Err(KernelError::BadElf);
    }
    let table = u64_at(&header, 32);
    let entry_size = u64::from(u16_at(&header, 54));
    let count = u16_at(&header, 56);
    if entry_size < 56 || count > MAX_HEADERS {
        return Err(KernelError::BadElf);
    }
    for index in 0..u64::from(count) {
        let mut entry = [0; 56];
        let offset = table.checked_add(index * entry_size).ok_or(KernelError::BadElf)?;
        read(file, &mut entry, offset)?;
        if u32_at(&entry, 0) != PT_NOTE {
            continue;
        }
        let size = u64_at(&entry, 32).min(MAX_NOTES);
        let mut notes = vec![0; usize::try_from(size).map_err(|_| KernelError::BadElf)?];
        read(file, &mut notes, u64_at(&entry, 8))?;
        if has_pvh_note(&notes) {
            return Ok(());
        }
    }
    Err(KernelError::NoPvh)
}

fn read(file: &File, bytes: &mut [u8], offset: u64) -> Result<(), KernelError> {
    // Offsets beyond what the system call can express are errors of the image, not of the machine.
    if i64::try_from(offset).is_err() {
        return Err(KernelError::BadElf);
    }
    file.read_exact_at(bytes, offset)
        .map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => KernelError::BadElf,
            _ => KernelError::Read(error),
        })
}

fn has_pvh_note(mut notes: &[u8]) -> bool {
    while notes.len() >= 12 {
        let name_size = u32_at(notes, 0) as usize;
        let desc_size = u32_at(notes, 4) as usize;
        let kind = u32_at(notes, 8);
        let name_end = 12usize.saturating_add(name_size);
        let desc_start = name_end.saturating_add(3) & !3;
        let next = desc_start.saturating_add(desc_size).saturating_add(3) & !3;
        let Some(name) = notes.get(12..name_end) else {
            return false;
        };
        if kind == PVH_NOTE && name == b"Xen\0" {
            return true;
        }
        let Some(rest) = notes.get(next..) else {
            return false;
        };
        notes = rest;
    }
    false
}

fn u16_at(bytes: &[u8], offset: usize) -> u16 {
    array(bytes, offset).map_or(0, u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    array(bytes, offset).map_or(0, u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    array(bytes, offset).map_or(0, u64::from_le_bytes)
}

fn array<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..)?.first_chunk().copied()
}

#[cfg(test)]
#[cfg(target_arch = "x86_64")]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    fn look(bytes: &[u8]) -> Result<Kernel, KernelError> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        inspect(&file)
    }

    fn elf(note_kind: u32) -> Vec<u8> {
        let mut image = vec![0; 160];
        image[..6].copy_from_slice(b"\x7fELF\x02\x01");
        image[18] = 62;
        image[32] = 64;
        image[54] = 56;
        image[56] = 1;
        image[64] = 4;
        image[64 + 8] = 120;
        image[64 + 32] = 20;
        image[120..124].copy_from_slice(&4u32.to_le_bytes());
        image[124..128].copy_from_slice(&4u32.to_le_bytes());
        image[128..132].copy_from_slice(&note_kind.to_le_bytes());
        image[132..136].copy_from_slice(b"Xen\0");
        image
    }

    #[test]
    fn kernels_are_known_by_their_headers() {
        assert_eq!(look(&elf(18)).unwrap(), Kernel::Elf);
        assert!(matches!(look(&elf(6)), Err(KernelError::NoPvh)));
        let mut bzimage = vec![0; 0x210];
        bzimage[0x1fe] = 0x55;
        bzimage[0x1ff] = 0xaa;
        bzimage[0x202..0x206].copy_from_slice(b"HdrS");
        assert_eq!(look(&bzimage).unwrap(), Kernel::BzImage);
        assert!(matches!(look(b""), Err(KernelError::Unknown)));
        assert!(matches!(look(b"\x7fELF"), Err(KernelError::BadElf)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_damaged_elf_is_read_or_refused(at in 4usize..160, byte in any::<u8>(), cut in 0usize..160) {
            let mut image = elf(18);
            image[at] = byte;
            image.truncate(160 - cut.min(150));
            let _ = look(&image);
        }

        #[test]
        fn any_notes_are_walked_to_their_end(notes in prop::collection::vec(any::<u8>(), 0..256)) {
            let _ = has_pvh_note(&notes);
        }
    }
}

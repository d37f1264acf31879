//! What must be known of an ELF `vmlinux`: its machine and whether it can be entered the PVH way.

use object::elf::{EM_AARCH64, EM_X86_64, FileHeader64};
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader};
use object::{Endianness, elf};

use super::Arch;

/// Why bytes are not an ELF file to boot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ElfError {
    #[error("the ELF file is not a 64-bit one, or is damaged: {0}")]
    Damaged(String),
    #[error("the ELF file is for machine number {0}: only x86_64 (62) and aarch64 (183) are known")]
    Machine(u16),
    #[error("the ELF file has nothing to load: it is no kernel")]
    NothingToLoad,
}

/// Bytes that start an ELF file.
pub(super) const MAGIC: &[u8] = b"\x7fELF";

/// The note that holds the 32-bit entry point of a PVH boot (Xen's `public/elfnote.h`, `XEN_ELFNOTE_PHYS32_ENTRY`).
const PHYS32_ENTRY: u32 = 18;

#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    pub(super) arch: Arch,
    pub(super) pvh: bool,
}

pub(super) fn inspect(bytes: &[u8]) -> Result<Facts, ElfError> {
    let damaged = |error: object::Error| ElfError::Damaged(error.to_string());
    let header = FileHeader64::<Endianness>::parse(bytes).map_err(damaged)?;
    let endian = header.endian().map_err(damaged)?;
    let arch = arch(header.e_machine(endian))?;
    let segments = header.program_headers(endian, bytes).map_err(damaged)?;
    if !segments
        .iter()
        .any(|segment| segment.p_type(endian) == elf::PT_LOAD)
    {
        return Err(ElfError::NothingToLoad);
    }
    for segment in segments
        .iter()
        .filter(|segment| segment.p_type(endian) == elf::PT_LOAD)
    {
        segment
            .data(endian, bytes)
            .map_err(|()| ElfError::Damaged("a segment goes on behind its end".into()))?;
    }
    let mut pvh = false;
    for segment in segments {
        let Ok(Some(mut notes)) = segment.notes(endian, bytes) else {
            continue;
        };
        while let Ok(Some(note)) = notes.next() {
            pvh |= note.name() == b"Xen" && note.n_type(endian).0 == PHYS32_ENTRY;
        }
    }
    Ok(Facts { arch, pvh })
}

/// What a program needs to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    pub(crate) arch: Arch,
    /// Whether it is started by a loader of libraries.
    pub(crate) dynamic: bool,
}

/// Looks at a program's headers, which its first 4 KiB hold.
pub(crate) fn program(bytes: &[u8]) -> Result<Program, ElfError> {
    let damaged = |error: object::Error| ElfError::Damaged(error.to_string());
    let header = FileHeader64::<Endianness>::parse(bytes).map_err(damaged)?;
    let endian = header.endian().map_err(damaged)?;
    let segments = header.program_headers(endian, bytes).map_err(damaged)?;
    let dynamic = segments
        .iter()
        .any(|segment| segment.p_type(endian) == elf::PT_INTERP);
    Ok(Program {
        arch: arch(header.e_machine(endian))?,
        dynamic,
    })
}

fn arch(machine: elf::Machine) -> Result<Arch, ElfError> {
    match machine {
        EM_X86_64 => Ok(Arch::X86_64),
        EM_AARCH64 => Ok(Arch::Aarch64),
        other => Err(ElfError::Machine(other.0)),
    }
}

/// The content of a named section, if the file has it.
pub(crate) fn section<'a>(bytes: &'a [u8], name: &str) -> Result<Option<&'a [u8]>, ElfError> {
    let damaged = |error: object::Error| ElfError::Damaged(error.to_string());
    let header = FileHeader64::<Endianness>::parse(bytes).map_err(damaged)?;
    let endian = header.endian().map_err(damaged)?;
    let sections = header.sections(endian, bytes).map_err(damaged)?;
    match sections.section_by_name(endian, name.as_bytes()) {
        Some((_, section)) => section.data(endian, bytes).map(Some).map_err(damaged),
        None => Ok(None),
    }
}

//! Kernel images: from whatever a distribution ships to what a VMM boots.
//!
//! The invariant: nothing in the bytes is believed. Every offset is checked against the image's end, every payload is
//! unpacked under a limit of size and of ratio, and what comes out must itself be a kernel for a known machine. All
//! functions are pure: bytes in, a value or a typed error out.
//!
//! | what comes in | what goes out |
//! |---|---|
//! | ELF `vmlinux` | itself |
//! | x86 `bzImage` (`Documentation/arch/x86/boot.rst`) | the ELF in its payload |
//! | arm64 `Image` (`Documentation/arch/arm64/booting.rst`) | itself |
//! | EFI zboot image (`drivers/firmware/efi/libstub/zboot-header.S`) | the arm64 `Image` in its payload |
//! | any of them in gzip, xz, zstd, lzma or LZ4 | as above |

mod compression;
mod config;
mod elf;
mod image;
mod version;

pub use compression::{Compression, UnpackError, unpack};
pub use config::{Config, Setting};
pub use elf::ElfError;
pub(crate) use elf::{program, section};
pub use image::{Arch, Format, Kernel, KernelError, extract};
pub use version::{compare_versions, is_version};

/// How much may come in and go out.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Of the image as given, in bytes.
    pub input: u64,
    /// Of everything unpacked, in bytes.
    pub output: u64,
    /// Unpacked over packed size.
    pub ratio: u64,
}

impl Default for Limits {
    /// Ten times what the largest distribution's kernels need.
    fn default() -> Self {
        Self {
            input: 512 << 20,
            output: 1 << 30,
            ratio: 200,
        }
    }
}

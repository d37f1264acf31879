//! The forms of a kernel image, told apart by their headers, and the way from each to the kernel itself.

use std::borrow::Cow;

use super::elf::{self, ElfError};
use super::version::{find_version, leading_version};
use super::{Compression, Config, Limits, UnpackError, unpack};

/// A processor architecture that guests run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arch {
    X86_64,
    Aarch64,
}

impl Arch {
    /// This machine's, if guests can run on it.
    #[must_use]
    pub fn host() -> Option<Self> {
        match std::env::consts::ARCH {
            "x86_64" => Some(Self::X86_64),
            "aarch64" => Some(Self::Aarch64),
            _ => None,
        }
    }
}

impl std::fmt::Display for Arch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        })
    }
}

/// The form in which a VMM takes a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// x86_64 and aarch64 `vmlinux`.
    Elf,
    /// aarch64 `Image`.
    Image,
}

/// A kernel that a VMM can boot.
#[derive(Clone, Debug)]
pub struct Kernel<'a> {
    pub bytes: Cow<'a, [u8]>,
    pub format: Format,
    pub arch: Arch,
    /// `uname -r`, where the image says it.
    pub version: Option<String>,
    /// Whether it has the entry point that QEMU's and Firecracker's PVH boot needs. x86_64 only.
    pub pvh: bool,
    /// What the image was packed with.
    pub compression: Option<Compression>,
}

impl Kernel<'_> {
    /// The build configuration in the image, if it carries one.
    #[must_use]
    pub fn config(&self) -> Option<Config> {
        Config::find(&self.bytes)
    }

    /// Whether a driver that calls itself `name` is linked in: its name stands in the image as a text of its own.
    #[must_use]
    pub fn has_driver(&self, name: &str) -> bool {
        let pattern = [b"\0", name.as_bytes(), b"\0"].concat();
        memchr::memmem::find(&self.bytes, &pattern).is_some()
    }
}

/// Why an image gives no kernel.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    #[error("the kernel image has {size} bytes: more than {limit}")]
    TooLarge { size: u64, limit: u64 },
    #[error("this is no kernel image: neither an ELF vmlinux, nor a bzImage, nor an arm64 Image")]
    Unknown,
    #[error("the image is packed in itself more than {0} times: it is no kernel")]
    Nested(u32),
    #[error("the bzImage is damaged: {0}")]
    BzImage(&'static str),
    #[error("the bzImage speaks boot protocol {major}.{minor}: 2.08 or later (Linux 2.6.26) is needed")]
    OldProtocol { major: u8, minor: u8 },
    #[error("the EFI zboot image is damaged: {0}")]
    Zboot(&'static str),
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    #[error(transparent)]
    Elf(#[from] ElfError),
}

/// How often an image may be packed: `Image.gz` of a zboot image of a packed payload is more than anybody makes.
const NESTING: u32 = 4;

/// Finds the kernel in `image` and unpacks it as often as needed.
///
/// # Errors
/// The image is none of the known forms, is damaged, or exceeds `limits`.
pub fn extract<'a>(image: &'a [u8], limits: &Limits) -> Result<Kernel<'a>, KernelError> {
    if image.len() as u64 > limits.input {
        return Err(KernelError::TooLarge {
            size: image.len() as u64,
            limit: limits.input,
        });
    }
    let mut bytes = Cow::Borrowed(image);
    let mut compression = None;
    let mut header_version = None;
    for _ in 0..=NESTING {
        if bytes.starts_with(elf::MAGIC) {
            let facts = elf::inspect(&bytes)?;
            let version = find_version(&bytes).or(header_version);
            return Ok(Kernel {
                format: Format::Elf,
                arch: facts.arch,
                version,
                pvh: facts.pvh,
                compression,
                bytes,
            });
        }
        if is_arm64_image(&bytes) {
            let version = find_version(&bytes).or(header_version);
            let (format, arch) = (Format::Image, Arch::Aarch64);
            return Ok(Kernel {
                format,
                arch,
                version,
                pvh: false,
                compression,
                bytes,
            });
        }
        let payload = if let Some(setup) = bz_image(&bytes)? {
            header_version = setup.version;
            setup.payload
        } else if let Some(payload) = zboot(&bytes)? {
            payload
        } else {
            &bytes
        };
        let kind = Compression::detect(payload);
        bytes = match kind {
            Some(kind) => Cow::Owned(unpack(kind, payload, limits)?),
            // A bzImage may hold its ELF unpacked (CONFIG_KERNEL_UNCOMPRESSED).
            None if payload.len() < bytes.len() => Cow::Owned(payload.to_vec()),
            None => return Err(KernelError::Unknown),
        };
        compression = compression.or(kind);
    }
    Err(KernelError::Nested(NESTING))
}

/// `"ARM\x64"` at 56 (`Documentation/arch/arm64/booting.rst`).
fn is_arm64_image(bytes: &[u8]) -> bool {
    bytes.get(56..60) == Some(b"ARM\x64")
}

struct Setup<'a> {
    payload: &'a [u8],
    version: Option<String>,
}

/// Reads the x86 setup header (`Documentation/arch/x86/boot.rst`), if there is one.
fn bz_image(bytes: &[u8]) -> Result<Option<Setup<'_>>, KernelError> {
    if bytes.get(0x202..0x206) != Some(b"HdrS") || bytes.get(0x1fe..0x200) != Some(&[0x55, 0xaa]) {
        return Ok(None);
    }
    let cut_off = || KernelError::BzImage("it ends within its header");
    let (&[minor, major], _) = bytes
        .get(0x206..)
        .and_then(<[u8]>::split_first_chunk)
        .ok_or_else(cut_off)?;
    if (major, minor) < (2, 8) {
        return Err(KernelError::OldProtocol { major, minor });
    }
    // 0 stands for 4, says the protocol.
    let sectors = match bytes.get(0x1f1).ok_or_else(cut_off)? {
        0 => 4,
        sectors => usize::from(*sectors),
    };
    let offset = word(bytes, 0x248).ok_or_else(cut_off)? as usize;
    let length = word(bytes, 0x24c).ok_or_else(cut_off)? as usize;
    let start = offset.checked_add((sectors + 1) * 512).ok_or_else(cut_off)?;
    let payload = start.checked_add(length).and_then(|end| bytes.get(start..end));
    let payload = payload.ok_or(KernelError::BzImage("its payload goes on behind its end"))?;

    let version_at = bytes
        .get(0x20e..0x210)
        .and_then(|at| at.try_into().ok())
        .map(u16::from_le_bytes);
    let version = version_at
        .filter(|at| *at != 0)
        .and_then(|at| leading_version(bytes.get(usize::from(at) + 0x200..)?));
    Ok(Some(Setup { payload, version }))
}

/// Reads the header of an EFI zboot image, which is how arm64 kernels are shipped packed, if there is one.
fn zboot(bytes: &[u8]) -> Result<Option<&[u8]>, KernelError> {
    if !bytes.starts_with(b"MZ") || bytes.get(4..8) != Some(b"zimg") {
        return Ok(None);
    }
    let cut_off = || KernelError::Zboot("it ends within its header");
    let start = word(bytes, 8).ok_or_else(cut_off)? as usize;
    let length = word(bytes, 12).ok_or_else(cut_off)? as usize;
    let payload = start.checked_add(length).and_then(|end| bytes.get(start..end));
    payload
        .map(Some)
        .ok_or(KernelError::Zboot("its payload goes on behind its end"))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(u32::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests;

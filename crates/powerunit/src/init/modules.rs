//! Kernel modules, in the order that whoever made the initramfs worked out.
//!
//! The invariant: `/modules/order` names files of `/modules`, one a line; a module that is already in the kernel, or built into
//! it, is as good as loaded.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::files;

/// The folder of the initramfs that holds the modules.
pub(super) const FOLDER: &str = "/modules";

/// The largest order file, and the largest module, that are read, in bytes.
const MAX_ORDER: u64 = 64 * 1024;
const MAX_MODULE: u64 = 64 * 1024 * 1024;

/// Why a module is not in the kernel.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("cannot read {FOLDER}/order")]
    Order(#[source] std::io::Error),
    #[error("`{0}` is no name of a module's file")]
    Name(String),
    #[error("cannot open {FOLDER}/{name}")]
    Open {
        name: String,
        #[source]
        source: std::io::Error,
    },
    #[error("the kernel does not take {FOLDER}/{name}")]
    Load {
        name: String,
        #[source]
        source: std::io::Error,
    },
}

/// The modules that are still to be loaded, next first.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// [`FOLDER`], which stays within reach when something else has become the root.
    folder: Option<OwnedFd>,
    names: VecDeque<String>,
    /// The kernel takes no module without its signature.
    insists: bool,
}

impl Queue {
    /// Reads the order. Without an order file there are no modules: everything is built in.
    pub(super) fn read() -> Result<Self, Error> {
        let order = match files::read(&Path::new(FOLDER).join("order"), MAX_ORDER) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            read => read.map_err(Error::Order)?,
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(FOLDER, flags, Mode::empty()).map_err(|e| Error::Order(e.into()))?;
        Ok(Self {
            folder: Some(folder),
            names: parse(&String::from_utf8_lossy(&order)),
            insists: false,
        })
    }

    /// Loads the next module; `None` if there is none left.
    pub(super) fn load_next(&mut self) -> Option<Result<(), Error>> {
        let name = self.names.pop_front()?;
        let file = open(self.folder.as_ref()?, &name);
        Some(file.and_then(|file| self.load(name, &file)))
    }

    fn load(&mut self, name: String, file: &File) -> Result<(), Error> {
        let mut image = Vec::new();
        if let Err(source) = file.take(MAX_MODULE).read_to_end(&mut image) {
            return Err(Error::Open { name, source });
        }
        let signed = || rustix::system::finit_module(file, c"", 0);
        let loaded = match without_signature(&image).filter(|_| !self.insists) {
            Some(bare) => match rustix::system::init_module(bare, c"") {
                Err(Errno::KEYREJECTED | Errno::NOKEY | Errno::PERM) => {
                    self.insists = true;
                    signed()
                }
                loaded => loaded,
            },
            None => signed(),
        };
        match loaded {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(e) => Err(Error::Load {
                name,
                source: e.into(),
            }),
        }
    }
}

fn parse(order: &str) -> VecDeque<String> {
    let lines = order.lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(Into::into)
        .collect()
}

fn open(folder: &OwnedFd, name: &str) -> Result<File, Error> {
    if name.contains('/') || name == ".." {
        return Err(Error::Name(name.into()));
    }
    rustix::fs::openat(folder, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map(File::from)
        .map_err(|e| Error::Open {
            name: name.into(),
            source: e.into(),
        })
}

/// Ends a signed module (`MODULE_SIG_STRING` of linux/module_signature.h).
const MARK: &[u8] = b"~Module signature appended~\n";

/// The size of `struct module_signature`, which stands before the mark; its last four bytes are the size of the
/// signature before it, big-endian.
const TRAILER: usize = 12;

/// The module without its signature, if it has one.
///
/// Checking one costs the kernel about 16 million instructions, more than all the rest of loading, and proves nothing here:
/// whoever could change a module in the initramfs could change this program.
fn without_signature(module: &[u8]) -> Option<&[u8]> {
    let rest = module.strip_suffix(MARK)?;
    let (rest, trailer) = rest.split_at_checked(rest.len().checked_sub(TRAILER)?)?;
    let size = u32::from_be_bytes(*trailer.last_chunk()?);
    rest.get(..rest.len().checked_sub(usize::try_from(size).ok()?)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn comments_and_blank_lines_are_no_modules() {
        let order = parse("virtio.ko\n\n# vsock\n  vsock.ko  \r\n");
        assert_eq!(order, ["virtio.ko", "vsock.ko"]);
    }

    #[test]
    fn a_path_is_no_module() {
        let folder = File::open("/").unwrap().into();
        for name in ["../etc/passwd", "etc/passwd", ".."] {
            assert!(matches!(open(&folder, name), Err(Error::Name(_))), "{name}");
        }
    }

    #[test]
    fn an_unsigned_module_has_no_signature_to_take_off() {
        assert_eq!(without_signature(b"\x7fELF"), None);
        assert_eq!(without_signature(MARK), None);
    }

    proptest! {
        #[test]
        fn a_signature_comes_off_whole(
            module in prop::collection::vec(any::<u8>(), 0..64),
            signature in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            let size = u32::try_from(signature.len()).unwrap().to_be_bytes();
            let signed = [&module, &signature[..], &[0, 0, 2, 0, 0, 0, 0, 0], &size, MARK].concat();
            prop_assert_eq!(without_signature(&signed), Some(module.as_slice()));
        }

        #[test]
        fn a_lying_trailer_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = without_signature(&[bytes.as_slice(), MARK].concat());
        }

        #[test]
        fn the_order_is_kept(names in prop::collection::vec("[a-z0-9_-]{1,20}\\.ko", 0..30)) {
            prop_assert_eq!(Vec::from(parse(&names.join("\n"))), names);
        }
    }
}

//! Kernel modules, in the order that whoever made the initramfs worked out.
//!
//! The invariant: `/modules/order` names files of `/modules`, one a line; a module that is already in the kernel, or built into
//! it, is as good as loaded.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
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
        })
    }

    /// Loads the next module; `None` if there is none left.
    pub(super) fn load_next(&mut self) -> Option<Result<(), Error>> {
        let folder = self.folder.as_ref()?;
        self.names.pop_front().map(|name| load(folder, name))
    }
}

fn parse(order: &str) -> VecDeque<String> {
    let lines = order.lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(Into::into)
        .collect()
}

fn load(folder: impl AsFd, name: String) -> Result<(), Error> {
    if name.contains('/') || name == ".." {
        return Err(Error::Name(name));
    }
    let file = match rustix::fs::openat(folder, &name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(e) => {
            return Err(Error::Open {
                name,
                source: e.into(),
            });
        }
    };
    let loaded = match rustix::system::finit_module(&file, c"", 0) {
        // A kernel may come without the newer of the two calls.
        Err(Errno::NOSYS) => {
            let mut image = Vec::new();
            match file.take(MAX_MODULE).read_to_end(&mut image) {
                Ok(_) => rustix::system::init_module(&image, c""),
                Err(source) => return Err(Error::Open { name, source }),
            }
        }
        result => result,
    };
    match loaded {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(e) => Err(Error::Load {
            name,
            source: e.into(),
        }),
    }
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
        let folder = File::open("/").unwrap();
        assert!(matches!(
            load(&folder, "../etc/passwd".into()),
            Err(Error::Name(_))
        ));
        assert!(matches!(load(&folder, "..".into()), Err(Error::Name(_))));
    }

    proptest! {
        #[test]
        fn the_order_is_kept(names in prop::collection::vec("[a-z0-9_-]{1,20}\\.ko", 0..30)) {
            prop_assert_eq!(Vec::from(parse(&names.join("\n"))), names);
        }
    }
}

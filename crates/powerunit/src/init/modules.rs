//! Kernel modules, in the order that whoever made the initramfs worked out.
//!
//! The invariant: `/modules/order` names files of `/modules`, one a line; a module that is already in the kernel, or built into
//! it, is as good as loaded.

use std::collections::VecDeque;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// The folder of the initramfs that holds the modules.
pub(super) const FOLDER: &str = "/modules";

/// The largest order file read, in bytes.
const MAX_ORDER: usize = 64 * 1024;

/// Why a module is not in the kernel.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("cannot read {FOLDER}/order")]
    Order(#[source] std::io::Error),
    #[error("{FOLDER}/order is over {MAX_ORDER} bytes")]
    OrderTooLong,
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
pub(super) struct Queue(VecDeque<String>);

impl Queue {
    /// Reads the order. Without an order file there are no modules: everything is built in.
    pub(super) fn read() -> Result<Self, Error> {
        let order = match std::fs::read(Path::new(FOLDER).join("order")) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            read => read.map_err(Error::Order)?,
        };
        if order.len() > MAX_ORDER {
            return Err(Error::OrderTooLong);
        }
        Ok(Self(parse(&String::from_utf8_lossy(&order))))
    }

    /// Loads the next module, or says that there is none left.
    pub(super) fn load_next(&mut self) -> Option<Result<(), Error>> {
        self.0.pop_front().map(load)
    }
}

fn parse(order: &str) -> VecDeque<String> {
    let lines = order.lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(Into::into)
        .collect()
}

fn load(name: String) -> Result<(), Error> {
    if name.contains('/') || name == ".." {
        return Err(Error::Name(name));
    }
    let path = Path::new(FOLDER).join(&name);
    let file = match rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
        Ok(file) => file,
        Err(e) => {
            return Err(Error::Open {
                name,
                source: e.into(),
            });
        }
    };
    let loaded = match rustix::system::finit_module(&file, c"", 0) {
        // A kernel may come without the newer of the two calls.
        Err(Errno::NOSYS) => match std::fs::read(&path) {
            Ok(image) => rustix::system::init_module(&image, c""),
            Err(source) => return Err(Error::Open { name, source }),
        },
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
        assert!(matches!(load("../etc/passwd".into()), Err(Error::Name(_))));
    }

    proptest! {
        #[test]
        fn the_order_is_kept(names in prop::collection::vec("[a-z0-9_-]{1,20}\\.ko", 0..30)) {
            prop_assert_eq!(Vec::from(parse(&names.join("\n"))), names);
        }
    }
}

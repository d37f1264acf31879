//! An image of one layer, made of a tar of a root file system as it is read.

use std::io::{self, Read, Write};

use super::{Brought, ImportError, Options};
use crate::store::{Adding, LayerWriter, Origin};
use crate::tar::Reader;

/// Passes on what is read, and keeps it in the layer.
struct Tee<'a, R> {
    stream: R,
    layer: &'a mut LayerWriter,
}

impl<R: Read> Read for Tee<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.stream.read(buffer)?;
        self.layer.write_all(buffer.get(..count).unwrap_or_default())?;
        Ok(count)
    }
}

/// Makes an image of a tar of a root file system, byte for byte as it is. Every entry is looked at, so that no layer is made of
/// what is none.
pub(super) fn from_tar(
    adding: &Adding,
    stream: impl Read,
    options: &Options,
) -> Result<Brought, ImportError> {
    let mut layer = adding.layer()?;
    let tee = Tee {
        stream,
        layer: &mut layer,
    };
    let mut reader = Reader::new(tee, &options.tar);
    let mut is_empty = true;
    while reader.next()?.is_some() {
        is_empty = false;
    }
    reader.finish()?;
    if is_empty {
        return Err(ImportError::Nothing);
    }
    Ok(Brought {
        manifest: adding.image_of(
            layer.finish()?,
            &options.platform,
            &origin("a tar of a root file system"),
        )?,
        names: Vec::new(),
        notices: Vec::new(),
    })
}

/// Without a time: the same root file system makes the same image.
pub(super) fn origin(what: &str) -> Origin {
    Origin {
        created_by: format!("imported from {what}"),
        created: None,
    }
}

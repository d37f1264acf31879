//! Telling a full disk from all else that goes wrong, however deep in an error it lies.

use std::error::Error;
use std::io;

use crate::files::is_full;

/// Whether an error is, or comes from, a full disk or a quota that is used up.
#[must_use]
pub fn is_full_disk(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            // What it wraps is not among its sources.
            let wraps = |inner: &(dyn Error + Send + Sync + 'static)| is_full_disk(inner);
            if is_full(io) || io.get_ref().is_some_and(wraps) {
                return true;
            }
        }
        next = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::convert::{self, ConvertError};
    use crate::files::StageError;
    use crate::import::ImportError;
    use crate::store::StoreError;
    use crate::tar::{Problem, TarError};

    #[test]
    fn it_is_found_wherever_it_lies() {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let store = || StoreError::from(StageError::new(Path::new("/x"), 0, full()));
        // As it comes through a reader that writes what it reads.
        let read = |error| {
            ImportError::from(TarError {
                offset: 0,
                entry: None,
                problem: Problem::Io(error),
            })
        };
        let converted = convert::RootfsError::Convert {
            image: "x".to_owned(),
            source: ConvertError::Full(full()),
        };
        let errors: [Box<dyn Error>; 5] = [
            Box::new(store()),
            Box::new(read(io::Error::other(store()))),
            Box::new(read(io::Error::other(io::Error::other(full())))),
            Box::new(ImportError::Refused(Box::new(store()))),
            Box::new(converted),
        ];
        for error in errors {
            assert!(is_full_disk(&*error), "{error:?}");
        }
        let other: Box<dyn Error> = Box::new(read(io::Error::other("else")));
        assert!(!is_full_disk(&*other));
    }
}

//! Files that a spec names. The invariant: one that is not there is said before anything is made, and before a word about
//! the machine's name.

use std::io;
use std::path::Path;

use crate::{Error, Kernel, MachineSpec, Result, Root, VolumeSource};

/// Refuses a spec whose root file system, kernel or volume is a file that is not there.
pub(super) fn check(spec: &MachineSpec) -> Result<()> {
    if let Root::File(path) = &spec.root {
        regular_file(path)?;
    }
    if let Kernel::Path(path) = &spec.kernel {
        regular_file(path)?;
    }
    for volume in &spec.volumes {
        if let VolumeSource::File(path) = &volume.source {
            regular_file(path)?;
        }
    }
    Ok(())
}

/// Refuses what is no regular file; a link to one is.
pub(super) fn regular_file(path: &Path) -> Result<()> {
    match path.metadata() {
        Ok(metadata) if metadata.is_file() => Ok(()),
        Ok(_) => Err(Error::NotRegular(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Error::NoFile(path.to_owned())),
        Err(error) => Err(Error::io("read", path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Class;

    #[test]
    fn what_is_there_and_no_file_is_not_said_to_be_absent() {
        let temp = tempfile::tempdir().unwrap();
        let (file, absent) = (temp.path().join("file"), temp.path().join("absent"));
        std::fs::write(&file, "").unwrap();
        regular_file(&file).unwrap();
        for path in [temp.path(), Path::new("/dev/zero")] {
            let error = regular_file(path).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("{} is no regular file", path.display())
            );
            assert_eq!(error.class(), Class::Image);
        }
        for spec in [
            MachineSpec::new().root(Root::File(absent.clone())),
            MachineSpec::new().kernel(Kernel::Path(absent)),
        ] {
            let error = check(&spec).unwrap_err();
            assert!(matches!(error, Error::NoFile(_)), "{error}");
            assert_eq!(error.class(), Class::NotFound);
        }
    }
}

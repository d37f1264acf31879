//! Files that a spec names. The invariant: one that is not there is said before anything is made, and before a word about
//! the machine's name.

use std::io;
use std::path::Path;

use images::rootfs::GrowError;

use crate::{Error, Kernel, MachineSpec, Result, Root, VolumeSource};

/// Refuses a spec whose root file system, kernel or volume is a file that is not there.
pub(super) fn check(spec: &MachineSpec) -> Result<()> {
    match &spec.root {
        Root::File(path) => {
            regular_file(path)?;
            grows(path, spec.disk_mib)?;
        }
        Root::Raw(path) => there(path)?,
        Root::Initramfs | Root::Builtin | Root::Image(_) => {}
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

/// Refuses to make a file system smaller.
fn grows(path: &Path, size_mib: Option<u64>) -> Result<()> {
    let size = path.metadata().map_err(Error::io("read", path))?.len();
    match size_mib.map(|mib| mib.saturating_mul(1 << 20)) {
        Some(wanted) if wanted < size => Err(Error::Grow(Box::new(GrowError::Shrinks {
            path: path.to_owned(),
            size,
            wanted,
        }))),
        _ => Ok(()),
    }
}

fn there(path: &Path) -> Result<()> {
    match path.metadata() {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Error::NoFile(path.to_owned())),
        Err(error) => Err(Error::io("read", path)(error)),
    }
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
            MachineSpec::new().root(Root::Raw(absent.clone())),
            MachineSpec::new().kernel(Kernel::Path(absent)),
        ] {
            let error = check(&spec).unwrap_err();
            assert!(matches!(error, Error::NoFile(_)), "{error}");
            assert_eq!(error.class(), Class::NotFound);
        }
    }

    #[test]
    fn a_copy_is_not_made_smaller() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("rootfs.ext4");
        std::fs::File::create_new(&path)
            .unwrap()
            .set_len(64 << 20)
            .unwrap();
        let sized = |mib| check(&MachineSpec::new().root(Root::File(path.clone())).disk_mib(mib));
        sized(64).unwrap();
        let error = sized(63).unwrap_err();
        assert!(error.to_string().contains("never made smaller"), "{error}");
        assert_eq!(error.class(), Class::Usage);
    }
}

//! Machines that are there for whoever started them, and go with them.
//!
//! The invariant: from before such a machine is there until its last handle is gone, the process that started it holds
//! a flock(2) on a file of the machine. The kernel gives it back when the process dies, and the next command takes the
//! machine away.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::Arc;

use crate::flocked::Flocked;
use crate::layout::Files;
use crate::{Error, MachineSpec, Result};

/// Held by who started the machine.
#[derive(Clone, Debug)]
pub(crate) struct Attendance {
    _locked: Arc<Flocked>,
}

impl Attendance {
    /// For a machine whose claim is held. `None` if it stays without anybody.
    pub(crate) fn begin(files: &Files, spec: &MachineSpec) -> Result<Option<Self>> {
        if !(spec.attached && spec.remove_on_exit) {
            return Ok(None);
        }
        let path = files.attended();
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path);
        let locked = file.and_then(Flocked::alone);
        let locked = locked.map_err(Error::io("write", &path))?;
        Ok(Some(Self {
            _locked: Arc::new(locked),
        }))
    }
}

/// Whether whoever the machine was for is gone.
pub(crate) fn is_over(files: &Files) -> io::Result<bool> {
    let file = match File::open(files.attended()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        opened => opened?,
    };
    Ok(Flocked::try_shared(file)?.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_over_when_the_last_handle_is_gone() {
        let temp = tempfile::tempdir().unwrap();
        let files = Files {
            data: temp.path().to_owned(),
            runtime: temp.path().to_owned(),
        };
        let spec = MachineSpec::new().remove_on_exit(true);
        assert!(Attendance::begin(&files, &spec).unwrap().is_none());
        assert!(!is_over(&files).unwrap(), "nobody ever attended it");
        let mut attached = spec;
        attached.attached = true;
        let one = Attendance::begin(&files, &attached).unwrap().unwrap();
        let other = one.clone();
        drop(one);
        assert!(!is_over(&files).unwrap());
        drop(other);
        assert!(is_over(&files).unwrap());
    }
}

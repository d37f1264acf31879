//! A block device over a file, as root can make one.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run;

/// A loop device, gone with this value.
#[derive(Debug)]
pub struct LoopDevice(PathBuf);

impl LoopDevice {
    /// Over this file; `None` where no such device can be made.
    ///
    /// # Panics
    /// When losetup gives the device a name that is no text.
    #[must_use]
    pub fn over(file: &Path) -> Option<Self> {
        let output = Command::new("losetup")
            .args(["--find", "--show"])
            .arg(file)
            .output();
        let made = output.ok().filter(|output| output.status.success())?;
        let name = String::from_utf8(made.stdout).expect("the name of a device");
        Some(Self(name.trim_end().into()))
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let _ = run(Command::new("losetup").arg("--detach").arg(&self.0)).ok();
    }
}

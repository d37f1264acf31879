//! Whether any process of a boot lives, however deep it hangs. The invariant: from before it is made until its last process
//! is gone, a boot holds an exclusive flock(2) on the machine's `vmm.log`. The lock belongs to the open file, which is the
//! standard error of pasta, of the helper and of the VMM; the kernel lets go of it when the last of them ends.
//!
//! The API socket alone cannot tell: a VMM that is only just starting does not answer on it yet.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// Makes or empties the log and puts the lock on it, for the processes of a new boot. Waits for those who only look.
pub(crate) fn fasten(log: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(log)?;
    flock(&file, FlockOperation::LockExclusive)?;
    file.set_len(0)?;
    Ok(file)
}

/// Whether a process of the boot that writes this log is alive.
pub(crate) fn is_held(log: &Path) -> io::Result<bool> {
    let file = match File::open(log) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        opened => opened?,
    };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(false),
        Err(Errno::WOULDBLOCK) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// Blocks until no process of that boot is alive, or the time is over; whether none is.
pub(crate) fn wait(log: &Path, patience: Duration) -> io::Result<bool> {
    let file = File::open(log)?;
    let (tell, told) = mpsc::channel();
    // flock(2) knows no deadline. One that waited in vain goes when the boot does.
    std::thread::Builder::new()
        .name("leash".to_owned())
        .spawn(move || {
            let freed = loop {
                match flock(&file, FlockOperation::LockShared) {
                    Err(Errno::INTR) => {}
                    ended => break ended,
                }
            };
            // Nobody may wait for it any more.
            let _ = tell.send(freed);
        })?;
    match told.recv_timeout(patience) {
        Ok(freed) => Ok(freed.map(|()| true)?),
        Err(_) => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn the_lock_lives_as_long_as_the_processes() {
        let temp = tempfile::tempdir().unwrap();
        let log = temp.path().join("vmm.log");
        assert!(!is_held(&log).unwrap());
        let file = fasten(&log).unwrap();
        let mut cat = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .unwrap();
        assert!(is_held(&log).unwrap());
        assert!(!wait(&log, Duration::ZERO).unwrap());
        drop(cat.stdin.take());
        cat.wait().unwrap();
        assert!(!is_held(&log).unwrap());
        assert!(wait(&log, Duration::from_secs(60)).unwrap());
    }
}

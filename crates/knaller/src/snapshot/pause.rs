//! A machine standing still while it is looked at.
//!
//! The invariant: whatever ends the look, an error, a dropped future or a kill, the machine runs on. From before its guest is
//! frozen until it is thawed a file says so, that its pauser holds a lock on; one that nobody holds is healed by resuming.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use firecracker_api::Client;
use firecracker_api::models::VmState;

use crate::flocked::Flocked;
use crate::layout::Files;
use crate::{Error, Result, folder};

/// How long the VMM may take to let the guest go on.
const PATIENCE: Duration = Duration::from_secs(10);

/// Says that the machine stands still for this process, and whatever else there is of that is not of a start that was killed.
#[derive(Debug)]
pub(super) struct Mark {
    path: PathBuf,
    /// Where the guest asks meanwhile. Without the mark it would be that of a start that was killed, so it goes first.
    socket: PathBuf,
    _lock: Flocked,
    /// Whether the next command has to let the machine go on.
    stays: bool,
}

impl Mark {
    pub(super) fn make(files: &Files) -> Result<Self> {
        let path = files.pausing();
        let mut options = File::options();
        let options = options.write(true).create(true).truncate(true).mode(0o600);
        let lock = options.open(&path).and_then(Flocked::alone);
        let lock = lock.map_err(Error::io("write", &path))?;
        Ok(Self {
            path,
            socket: files.config_socket(),
            _lock: lock,
            stays: false,
        })
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        match folder::remove_file(&self.socket) {
            Ok(()) if self.stays => {}
            Ok(()) => {
                let _ = std::fs::remove_file(&self.path);
            }
            // The next command tries again.
            Err(error) => tracing::warn!(socket = %self.socket.display(), %error, "a socket is left"),
        }
    }
}

/// A machine whose CPUs stand still until this is dropped.
#[derive(Debug)]
pub(super) struct Pause<'a> {
    socket: PathBuf,
    since: Instant,
    /// `None` once the machine runs again.
    mark: Option<&'a mut Mark>,
}

impl<'a> Pause<'a> {
    pub(super) async fn begin(client: &Client, files: &Files, vmm: &str, mark: &'a mut Mark) -> Result<Self> {
        let pause = Self {
            socket: files.api_socket(),
            since: Instant::now(),
            mark: Some(mark),
        };
        client
            .patch_vm(VmState::Paused)
            .await
            .map_err(|error| Error::refused(vmm, &error))?;
        Ok(pause)
    }

    /// Lets the machine go on; how long it stood still.
    pub(super) async fn end(mut self, client: &Client, vmm: &str) -> Result<Duration> {
        client
            .patch_vm(VmState::Resumed)
            .await
            .map_err(|error| Error::refused(vmm, &error))?;
        self.mark = None;
        Ok(self.since.elapsed())
    }
}

impl Drop for Pause<'_> {
    fn drop(&mut self) {
        let Some(mark) = self.mark.take() else { return };
        if let Err(error) = resume(&self.socket) {
            // The next command tries again.
            mark.stays = true;
            tracing::warn!(%error, "a machine stands still");
        }
    }
}

/// Lets a machine go on whose pauser was killed; whether it was. Blocks.
pub(crate) fn resume_forsaken(files: &Files) -> Result<bool> {
    let path = files.pausing();
    let mark = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        mark => mark.map_err(Error::io("open", &path))?,
    };
    match mark.try_lock() {
        // Its pauser lives.
        Err(std::fs::TryLockError::WouldBlock) => return Ok(false),
        Err(std::fs::TryLockError::Error(error)) => return Err(Error::io("lock", &path)(error)),
        Ok(()) => {}
    }
    resume(&files.api_socket()).map_err(Error::io("reach", files.api_socket()))?;
    std::fs::remove_file(&path).map_err(Error::io("remove", &path))?;
    Ok(true)
}

/// One request, by hand: where this is called there may be no runtime to wait in.
fn resume(socket: &Path) -> io::Result<()> {
    let body = r#"{"state":"Resumed"}"#;
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "PATCH /vm HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut status = [0; 12];
    stream.read_exact(&mut status)?;
    // A guest that runs already is what was wanted.
    if status.starts_with(b"HTTP/1.1 2") || status.starts_with(b"HTTP/1.1 4") {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "the VMM answered {}",
        String::from_utf8_lossy(&status)
    )))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    fn files(temp: &tempfile::TempDir) -> Files {
        Files {
            data: temp.path().to_owned(),
            runtime: temp.path().to_owned(),
        }
    }

    /// A VMM that hears one request.
    fn vmm(files: &Files) -> std::thread::JoinHandle<String> {
        let listener = UnixListener::bind(files.api_socket()).unwrap();
        std::thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            let mut heard = vec![0; 4096];
            let mut length = 0;
            while !heard[..length].ends_with(b"}") {
                length += stream.read(&mut heard[length..]).unwrap();
            }
            stream.write_all(b"HTTP/1.1 204 \r\n\r\n").unwrap();
            String::from_utf8_lossy(&heard[..length]).into_owned()
        })
    }

    #[test]
    fn a_forsaken_machine_goes_on_and_one_with_a_pauser_does_not() {
        let temp = tempfile::tempdir().unwrap();
        let files = files(&temp);
        assert!(!resume_forsaken(&files).unwrap());
        let mark = File::create(files.pausing()).unwrap();
        mark.lock().unwrap();
        assert!(!resume_forsaken(&files).unwrap());
        assert!(files.pausing().exists());
        mark.unlock().unwrap();
        let vmm = vmm(&files);
        assert!(resume_forsaken(&files).unwrap());
        let heard = vmm.join().unwrap();
        assert!(
            heard.starts_with("PATCH /vm ") && heard.ends_with(r#"{"state":"Resumed"}"#),
            "{heard}"
        );
        assert!(!files.pausing().exists());
    }

    fn paused<'a>(files: &Files, mark: &'a mut Mark) -> Pause<'a> {
        Pause {
            socket: files.api_socket(),
            since: Instant::now(),
            mark: Some(mark),
        }
    }

    #[test]
    fn dropping_resumes_and_what_cannot_be_resumed_stays_marked() {
        let temp = tempfile::tempdir().unwrap();
        let files = files(&temp);
        let listening = vmm(&files);
        let mut mark = Mark::make(&files).unwrap();
        drop(paused(&files, &mut mark));
        drop(mark);
        assert!(listening.join().unwrap().contains("Resumed"));
        assert!(!files.pausing().exists());
        let mut mark = Mark::make(&files).unwrap();
        drop(paused(&files, &mut mark));
        drop(mark);
        assert!(files.pausing().exists());
    }

    #[test]
    fn the_mark_stays_for_as_long_as_the_socket_does() {
        let temp = tempfile::tempdir().unwrap();
        let files = files(&temp);
        // It cannot be removed as a file, by root neither.
        std::fs::create_dir(files.config_socket()).unwrap();
        drop(Mark::make(&files).unwrap());
        assert!(files.pausing().exists());
        std::fs::remove_dir(files.config_socket()).unwrap();
        std::fs::write(files.config_socket(), "").unwrap();
        drop(Mark::make(&files).unwrap());
        assert!(!files.pausing().exists() && !files.config_socket().exists());
    }
}

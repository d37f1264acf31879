//! A machine standing still while it is looked at.
//!
//! The invariant: whatever ends the look, an error, a dropped future or a kill, the machine runs on, or stays paused if its user
//! had paused it. From before its guest is frozen until it is thawed a file says which, that its pauser holds a lock on; one that
//! nobody holds is healed so.

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
use crate::{Error, Result, State, folder};

/// How long the VMM may take to let the guest go on.
const PATIENCE: Duration = Duration::from_secs(10);

/// Says that the machine stands still for this process, and whatever else there is of that is not of a start that was killed.
#[derive(Debug)]
pub(super) struct Mark {
    path: PathBuf,
    /// Where the guest asks meanwhile. Without the mark it would be that of a start that was killed, so it goes first.
    socket: PathBuf,
    _lock: Flocked,
    /// Where the machine is told how it is to be afterwards, and whether its user had paused it.
    api: PathBuf,
    was_paused: bool,
    /// Whether the next command has to tell it.
    stays: bool,
}

/// In the mark of a machine that its user had paused. That of any other is empty.
const WAS_PAUSED: &str = "paused";

impl Mark {
    pub(super) fn make(files: &Files, was_paused: bool) -> Result<Self> {
        let path = files.pausing();
        let mut options = File::options();
        let options = options.write(true).create(true).truncate(true).mode(0o600);
        let said = if was_paused { WAS_PAUSED } else { "" };
        // Locked before it says anything: who finds one that nobody holds heals it.
        let lock = options.open(&path).and_then(|mut file| {
            let lock = Flocked::alone(file.try_clone()?)?;
            file.write_all(said.as_bytes())?;
            Ok(lock)
        });
        let lock = lock.map_err(Error::io("write", &path))?;
        Ok(Self {
            api: files.api_socket(),
            was_paused,
            path,
            socket: files.config_socket(),
            _lock: lock,
            stays: false,
        })
    }

    /// Whether its user had paused the machine.
    pub(super) fn was_paused(&self) -> bool {
        self.was_paused
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        if self.was_paused
            && let Err(error) = turn(&self.api, VmState::Paused)
        {
            self.stays = true;
            tracing::warn!(%error, "a machine that was paused may run");
        }
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
        // Its guest, which is frozen, goes on by itself once its user lets the machine.
        if mark.was_paused {
            return;
        }
        if let Err(error) = turn(&self.socket, VmState::Resumed) {
            // The next command tries again.
            mark.stays = true;
            tracing::warn!(%error, "a machine stands still");
        }
    }
}

/// Lets a machine go on whose pauser was killed, or pauses it again if its user had: which, or nothing if its pauser lives.
/// Between that and the end of its mark `tell` tells its guest, if it is to go on: who is killed meanwhile leaves the mark to the
/// next. Blocks.
pub(crate) fn heal_forsaken(files: &Files, tell: impl FnOnce() -> Result<()>) -> Result<Option<State>> {
    let path = files.pausing();
    let mut mark = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        mark => mark.map_err(Error::io("open", &path))?,
    };
    match mark.try_lock() {
        // Its pauser lives.
        Err(std::fs::TryLockError::WouldBlock) => return Ok(None),
        Err(std::fs::TryLockError::Error(error)) => return Err(Error::io("lock", &path)(error)),
        Ok(()) => {}
    }
    let mut said = [0; WAS_PAUSED.len()];
    let (to, state) = match mark.read(&mut said).map_err(Error::io("read", &path))? {
        0 => (VmState::Resumed, State::Running),
        _ => (VmState::Paused, State::Paused),
    };
    turn(&files.api_socket(), to).map_err(Error::io("reach", files.api_socket()))?;
    if state == State::Running {
        tell()?;
    }
    std::fs::remove_file(&path).map_err(Error::io("remove", &path))?;
    Ok(Some(state))
}

/// One request, by hand: where this is called there may be no runtime to wait in.
fn turn(socket: &Path, to: VmState) -> io::Result<()> {
    let body = match to {
        VmState::Paused => r#"{"state":"Paused"}"#,
        VmState::Resumed => r#"{"state":"Resumed"}"#,
    };
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
    // A guest that does so already is what was wanted.
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
        assert_eq!(heal_forsaken(&files, || Ok(())).unwrap(), None);
        let mark = File::create(files.pausing()).unwrap();
        mark.lock().unwrap();
        assert_eq!(heal_forsaken(&files, || Ok(())).unwrap(), None);
        assert!(files.pausing().exists());
        mark.unlock().unwrap();
        // Whoever cannot tell the guest leaves the mark.
        let untold = vmm(&files);
        heal_forsaken(&files, || Err(Error::Busy("web".parse().unwrap()))).unwrap_err();
        untold.join().unwrap();
        assert!(files.pausing().exists());
        std::fs::remove_file(files.api_socket()).unwrap();
        let vmm = vmm(&files);
        assert_eq!(heal_forsaken(&files, || Ok(())).unwrap(), Some(State::Running));
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
        let mut mark = Mark::make(&files, false).unwrap();
        drop(paused(&files, &mut mark));
        drop(mark);
        assert!(listening.join().unwrap().contains("Resumed"));
        assert!(!files.pausing().exists());
        let mut mark = Mark::make(&files, false).unwrap();
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
        drop(Mark::make(&files, false).unwrap());
        assert!(files.pausing().exists());
        std::fs::remove_dir(files.config_socket()).unwrap();
        std::fs::write(files.config_socket(), "").unwrap();
        drop(Mark::make(&files, false).unwrap());
        assert!(!files.pausing().exists() && !files.config_socket().exists());
    }

    #[test]
    fn what_its_user_had_paused_is_paused_again_whoever_was_looking() {
        let temp = tempfile::tempdir().unwrap();
        let files = files(&temp);
        let listening = vmm(&files);
        let mut mark = Mark::make(&files, true).unwrap();
        drop(paused(&files, &mut mark));
        drop(mark);
        assert!(listening.join().unwrap().ends_with(r#"{"state":"Paused"}"#));
        assert!(!files.pausing().exists());
        // As of one that was killed: nobody was there to hear it.
        drop(Mark::make(&files, true).unwrap());
        assert!(files.pausing().exists());
        std::fs::remove_file(files.api_socket()).unwrap();
        let listening = vmm(&files);
        assert_eq!(heal_forsaken(&files, || Ok(())).unwrap(), Some(State::Paused));
        assert!(listening.join().unwrap().ends_with(r#"{"state":"Paused"}"#));
        assert!(!files.pausing().exists());
    }
}

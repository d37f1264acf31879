//! QEMU's process: started, watched, ended.
//!
//! Invariant: QEMU never outlives this process, however this process ends. The kernel kills it when the thread that
//! started it ends (`PR_SET_PDEATHSIG`), so it is started on the main thread only; that it was not orphaned before
//! the kernel was told is checked in the child, before it becomes QEMU.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use super::accel::Accel;
use super::inside;
use crate::arch;

/// Lines of QEMU's own complaints kept for an error's text.
const MAX_LINES: usize = 8;
/// Longest line kept, in bytes.
const MAX_LINE: u64 = 4096;

/// Why QEMU did not start.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// A socket or pipe could not be made.
    #[error("no descriptors for QEMU: {0}")]
    Descriptors(#[source] io::Error),
    /// The program could not be started.
    #[error("{} did not start: {source} (install Debian's qemu-system package, or name the program in $QEMU)", program.display())]
    Exec {
        /// The program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A running QEMU.
#[derive(Debug)]
pub struct Process {
    child: Child,
    complaints: JoinHandle<VecDeque<String>>,
    log: JoinHandle<bool>,
}

/// What is known of a QEMU that has ended.
#[derive(Debug)]
pub struct Remains {
    /// How it ended.
    pub status: io::Result<ExitStatus>,
    /// Its last words on standard error.
    pub complaints: Vec<String>,
    /// Whether its log tells of a triple fault.
    pub triple_fault: bool,
}

/// The program: `$QEMU`, else the one for this architecture on the search path.
#[must_use]
pub fn program() -> PathBuf {
    std::env::var_os("QEMU")
        .filter(|path| !path.is_empty())
        .map_or_else(|| arch::QEMU.into(), PathBuf::from)
}

/// The two ends of QEMU's log: ours to read, QEMU's to write.
pub fn log_pipe() -> io::Result<(pipe::Receiver, OwnedFd)> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    Ok((pipe::Receiver::from_owned_fd(read)?, write))
}

impl Process {
    /// Starts QEMU with these arguments. `inherited` stays open in it, under the same numbers; nothing else does.
    /// `preload` is the number of the library to be loaded into it first, if any. Must be called on the main thread.
    pub fn spawn(
        program: &Path,
        accel: Accel,
        args: &[String],
        inherited: &[OwnedFd],
        preload: Option<RawFd>,
        log: pipe::Receiver,
    ) -> Result<Self, SpawnError> {
        let numbers: Vec<RawFd> = inherited.iter().map(AsRawFd::as_raw_fd).collect();
        let parent = getpid();
        let mut command = std::process::Command::new(program);
        // Its own process group: Ctrl-C on the terminal is for this process (or, raw, for the guest).
        command
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0);
        if let Some(number) = preload {
            command.env(preload::VARIABLE, inside::preload(number));
        }
        let prepare = move || {
            set_parent_process_death_signal(Some(Signal::KILL))?;
            if getppid() != Some(parent) {
                return Err(io::Error::other("the parent has ended"));
            }
            rustix::thread::set_no_new_privs(true)?;
            // Translated code goes into pages for which QEMU asks huge ones, and the guest stands still while the kernel
            // zeroes one after the other: a tenth of the time to a loaded guest's first login.
            if accel == Accel::Tcg {
                // A kernel without huge pages refuses, and has none to be spared.
                let _ = rustix::thread::disable_transparent_huge_pages(true);
            }
            numbers.iter().try_for_each(|number| keep_open(*number))
        };
        // SAFETY: between fork and exec only system calls are made, nothing is allocated and no lock is taken.
        unsafe { command.pre_exec(prepare) };
        let mut child = Command::from(command)
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| SpawnError::Exec {
                program: program.to_owned(),
                source,
            })?;
        let stderr = child.stderr.take();
        Ok(Self {
            child,
            complaints: tokio::spawn(async move {
                match stderr {
                    Some(stderr) => collect(stderr).await,
                    None => VecDeque::new(),
                }
            }),
            log: tokio::spawn(find_triple_fault(log)),
        })
    }

    /// QEMU's process id, while it runs.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits until QEMU ends. May be dropped while it waits.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Ends QEMU if it still runs, and gathers what it left.
    pub async fn finish(mut self) -> Remains {
        // An error means that it has ended already, which is what is wanted.
        let _ = self.child.start_kill();
        let status = self.child.wait().await;
        Remains {
            status,
            complaints: self.complaints.await.unwrap_or_default().into(),
            triple_fault: self.log.await.unwrap_or(false),
        }
    }
}

/// Clears close-on-exec, in the child.
fn keep_open(number: RawFd) -> io::Result<()> {
    // SAFETY: the number is that of a descriptor the caller of `spawn` holds open during the call.
    let fd = unsafe { rustix::fd::BorrowedFd::borrow_raw(number) };
    Ok(rustix::io::fcntl_setfd(fd.as_fd(), rustix::io::FdFlags::empty())?)
}

/// Reads QEMU's standard error to its end; every line is logged, the last are kept.
async fn collect(stream: impl AsyncRead + Unpin) -> VecDeque<String> {
    let mut lines = VecDeque::new();
    let mut reader = BufReader::new(stream);
    while let Some(line) = next_line(&mut reader).await {
        tracing::warn!("QEMU: {line}");
        if lines.len() == MAX_LINES {
            lines.pop_front();
        }
        lines.push_back(line);
    }
    lines
}

/// QEMU's log (`-d cpu_reset`) is read for one line; the registers around it are dropped, so that a guest that resets
/// its processors for ever fills nothing.
async fn find_triple_fault(stream: impl AsyncRead + Unpin) -> bool {
    let mut found = false;
    let mut reader = BufReader::new(stream);
    while let Some(line) = next_line(&mut reader).await {
        found |= line == "Triple fault";
    }
    found
}

async fn next_line(reader: &mut (impl AsyncBufReadExt + Unpin)) -> Option<String> {
    let mut line = Vec::new();
    match reader.take(MAX_LINE).read_until(b'\n', &mut line).await {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(String::from_utf8_lossy(&line).trim_end().to_owned()),
    }
}

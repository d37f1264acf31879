//! The guest's side of a copy: an SFTP session, with many requests under way at once.

use std::fmt;

use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use russh_sftp::client::error::Error as SftpError;
use russh_sftp::client::{Config, RawSftpSession};
use russh_sftp::protocol::{FileAttributes, Name as Names, OpenFlags, Packet, StatusCode};
use russh_sftp::ser::to_bytes;
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::failed;
use crate::layout::Files;
use crate::ssh::{self, Ssh};
use crate::{Error, Name, Result};

/// Bytes of a read or write: what every server takes (draft-ietf-secsh-filexfer-02, 3).
const CHUNK: u32 = 32 * 1024;

/// Requests under way at once: a MiB is on its way, more than the vsock device holds.
const AT_ONCE: usize = 32;

/// How long the guest may take for one answer, in seconds.
const PATIENCE: u64 = 120;

/// The most entries of one folder.
const MAX_ENTRIES: usize = 1 << 20;

/// As setstat, of a link itself (OpenSSH: PROTOCOL, 4.9). powerunit and every OpenSSH since 8.0 have it.
const SET_LINK: &str = "lsetstat@openssh.com";

/// The data of [`SET_LINK`].
#[derive(Serialize)]
struct LinkAttributes<'a> {
    path: &'a str,
    attributes: FileAttributes,
}

/// What a path in the guest is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Folder,
    Link,
    Other,
}

/// What is known of a path in the guest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attributes {
    pub(super) kind: Kind,
    pub(super) size: u64,
    /// Permission bits, with setuid, setgid and sticky.
    pub(super) mode: u32,
    /// Seconds since the Unix epoch.
    pub(super) modified: u32,
}

/// An open session.
pub(super) struct Remote {
    sftp: RawSftpSession,
    name: Name,
    _ssh: Ssh,
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Remote")
    }
}

impl Remote {
    pub(super) async fn connect(files: &Files, name: &Name, user: &str) -> Result<Self> {
        let ssh = ssh::connect(files, name, user).await?;
        let failed = |reason: String| Error::Ssh {
            name: name.clone(),
            reason,
        };
        let channel = ssh
            .handle
            .channel_open_session()
            .await
            .map_err(|e| failed(e.to_string()))?;
        channel
            .request_subsystem(true, "sftp")
            .await
            .map_err(|e| failed(e.to_string()))?;
        let config = Config {
            request_timeout_secs: PATIENCE,
            ..Config::default()
        };
        let sftp = RawSftpSession::new_with_config(channel.into_stream(), config);
        sftp.init()
            .await
            .map_err(|e| failed(format!("no SFTP: {}", reason(&e))))?;
        Ok(Self {
            sftp,
            name: name.clone(),
            _ssh: ssh,
        })
    }

    /// That there is nothing at `path`.
    pub(super) fn absent(&self, path: &str) -> Error {
        Error::NoGuestFile {
            name: self.name.clone(),
            path: path.to_owned(),
        }
    }

    /// What `path` is, of a link the link itself; `None` if there is nothing.
    pub(super) async fn look(&self, path: &str, follow: bool) -> Result<Option<Attributes>> {
        let found = if follow {
            self.sftp.stat(path).await
        } else {
            self.sftp.lstat(path).await
        };
        match found {
            Ok(found) => Ok(Some(attributes(&found.attrs))),
            Err(SftpError::Status(status)) if status.status_code == StatusCode::NoSuchFile => Ok(None),
            Err(error) => Err(failed(path, &reason(&error))),
        }
    }

    /// The absolute path that `path` stands for.
    pub(super) async fn resolve(&self, path: &str) -> Result<String> {
        one_name(path, self.sftp.realpath(path).await)
    }

    /// The names in a folder, without `.` and `..`.
    pub(super) async fn list(&self, path: &str) -> Result<Vec<(String, Attributes)>> {
        let failed_here = |e: SftpError| failed(path, &reason(&e));
        let handle = self.sftp.opendir(path).await.map_err(failed_here)?.handle;
        let mut entries = Vec::new();
        loop {
            match self.sftp.readdir(&handle).await {
                Ok(names) => entries.extend(
                    names
                        .files
                        .into_iter()
                        .filter(|file| file.filename != "." && file.filename != "..")
                        .map(|file| (file.filename, attributes(&file.attrs))),
                ),
                Err(SftpError::Status(status)) if status.status_code == StatusCode::Eof => break,
                Err(error) => return Err(failed_here(error)),
            }
            if entries.len() > MAX_ENTRIES {
                return Err(failed(
                    path,
                    &format!("more than {MAX_ENTRIES} entries in one folder"),
                ));
            }
        }
        self.sftp.close(handle).await.map_err(failed_here)?;
        Ok(entries)
    }

    pub(super) async fn read_link(&self, path: &str) -> Result<String> {
        one_name(path, self.sftp.readlink(path).await)
    }

    /// Makes a folder that only its owner may use, unless there is one.
    pub(super) async fn make_folder(&self, path: &str) -> Result<()> {
        match self.sftp.mkdir(path, permissions(0o700)).await {
            Ok(_) => Ok(()),
            Err(error) => match self.look(path, true).await? {
                Some(Attributes {
                    kind: Kind::Folder, ..
                }) => Ok(()),
                _ => Err(failed(path, &reason(&error))),
            },
        }
    }

    /// Makes a link, in the place of a file or link of this name, and gives it its time.
    pub(super) async fn make_link(&self, target: &str, path: &str, modified: u32) -> Result<()> {
        // Whether there was something is seen below.
        let _ = self.sftp.remove(path).await;
        // In the order that OpenSSH has, which is the other way round than the draft's (OpenSSH: PROTOCOL, 4.1).
        let failed_here = |e: SftpError| failed(path, &reason(&e));
        self.sftp.symlink(target, path).await.map_err(failed_here)?;
        let request = LinkAttributes {
            path,
            attributes: times(modified),
        };
        let request = to_bytes(&request).map_err(|e| failed(path, &e))?.to_vec();
        match self.sftp.extended(SET_LINK, request).await.map_err(failed_here)? {
            Packet::Status(status) if status.status_code == StatusCode::Ok => Ok(()),
            Packet::Status(status) => Err(failed(path, &status.error_message)),
            _ => Err(failed(path, &"no answer")),
        }
    }

    pub(super) async fn set(&self, path: &str, mode: u32, modified: u32) -> Result<()> {
        self.sftp
            .setstat(path, full(mode, modified))
            .await
            .map(drop)
            .map_err(|e| failed(path, &reason(&e)))
    }

    /// Writes all of `source` to the file `path`, and gives it its mode and time.
    pub(super) async fn write(
        &self,
        path: &str,
        source: &mut (impl AsyncRead + Unpin + Send),
        mode: u32,
        modified: u32,
        mut progress: impl FnMut(u64) + Send,
    ) -> Result<()> {
        let failed_here = |e: SftpError| failed(path, &reason(&e));
        let flags = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::TRUNCATE;
        let handle = self
            .sftp
            .open(path, flags, permissions(0o600))
            .await
            .map_err(failed_here)?
            .handle;
        let mut under_way = FuturesUnordered::new();
        let mut offset = 0;
        loop {
            let mut chunk = Vec::with_capacity(CHUNK as usize);
            let got = source
                .take(u64::from(CHUNK))
                .read_to_end(&mut chunk)
                .await
                .map_err(|e| failed(path, &e))?;
            if got == 0 {
                break;
            }
            let write = self.sftp.write(handle.as_str(), offset, chunk);
            let got = got as u64;
            under_way.push(async move { write.await.map(|_| got) });
            offset += got;
            if under_way.len() == AT_ONCE
                && let Some(written) = under_way.next().await
            {
                progress(written.map_err(failed_here)?);
            }
        }
        while let Some(written) = under_way.next().await {
            progress(written.map_err(failed_here)?);
        }
        drop(under_way);
        self.sftp
            .fsetstat(handle.as_str(), full(mode, modified))
            .await
            .map_err(failed_here)?;
        self.sftp.close(handle).await.map(drop).map_err(failed_here)
    }

    /// Reads the file `path`, which is said to have `size` bytes, into `sink`.
    pub(super) async fn read(
        &self,
        path: &str,
        size: u64,
        sink: &mut (impl AsyncWrite + Unpin + Send),
        mut progress: impl FnMut(u64) + Send,
    ) -> Result<()> {
        let failed_here = |e: SftpError| failed(path, &reason(&e));
        let handle = self
            .sftp
            .open(path, OpenFlags::READ, FileAttributes::empty())
            .await;
        let handle = handle.map_err(failed_here)?.handle;
        let chunks = stream::iter((0..size).step_by(CHUNK as usize));
        let mut chunks = chunks
            .map(|offset| self.read_chunk(&handle, offset))
            .buffered(AT_ONCE);
        let mut end = 0;
        while let Some(chunk) = chunks.try_next().await.map_err(failed_here)? {
            sink.write_all(&chunk).await.map_err(|e| failed(path, &e))?;
            end += chunk.len() as u64;
            progress(chunk.len() as u64);
            if chunk.len() < CHUNK as usize {
                break;
            }
        }
        drop(chunks);
        // A file that grows, or one of /proc, which has no size.
        loop {
            let chunk = self.read_chunk(&handle, end).await.map_err(failed_here)?;
            if chunk.is_empty() {
                break;
            }
            sink.write_all(&chunk).await.map_err(|e| failed(path, &e))?;
            end += chunk.len() as u64;
            progress(chunk.len() as u64);
        }
        sink.flush().await.map_err(|e| failed(path, &e))?;
        self.sftp.close(handle).await.map(drop).map_err(failed_here)
    }

    /// A whole chunk, or what there is before the end of the file: servers may answer a read in parts.
    async fn read_chunk(&self, handle: &str, offset: u64) -> std::result::Result<Vec<u8>, SftpError> {
        let mut chunk = Vec::new();
        while chunk.len() < CHUNK as usize {
            let want = CHUNK.saturating_sub(u32::try_from(chunk.len()).unwrap_or(CHUNK));
            match self.sftp.read(handle, offset + chunk.len() as u64, want).await {
                Ok(data) if data.data.is_empty() => break,
                Ok(data) => chunk.extend_from_slice(&data.data),
                Err(SftpError::Status(status)) if status.status_code == StatusCode::Eof => break,
                Err(error) => return Err(error),
            }
        }
        Ok(chunk)
    }
}

/// The only name of an answer about `path`.
fn one_name(path: &str, answer: std::result::Result<Names, SftpError>) -> Result<String> {
    let names = answer.map_err(|e| failed(path, &reason(&e)))?.files;
    let first = names.into_iter().next().map(|file| file.filename);
    first.ok_or_else(|| failed(path, &"no answer"))
}

fn attributes(attributes: &FileAttributes) -> Attributes {
    let mode = attributes.permissions.unwrap_or(0);
    // S_IFMT and its values (inode(7)).
    let kind = match mode & 0o170_000 {
        0o100_000 => Kind::File,
        0o040_000 => Kind::Folder,
        0o120_000 => Kind::Link,
        _ => Kind::Other,
    };
    Attributes {
        kind,
        size: attributes.size.unwrap_or(0),
        mode: mode & 0o7777,
        modified: attributes.mtime.unwrap_or(0),
    }
}

fn permissions(mode: u32) -> FileAttributes {
    FileAttributes {
        permissions: Some(mode),
        ..FileAttributes::empty()
    }
}

fn times(modified: u32) -> FileAttributes {
    FileAttributes {
        atime: Some(modified),
        mtime: Some(modified),
        ..FileAttributes::empty()
    }
}

fn full(mode: u32, modified: u32) -> FileAttributes {
    FileAttributes {
        permissions: Some(mode),
        ..times(modified)
    }
}

fn reason(error: &SftpError) -> String {
    match error {
        SftpError::Status(status) if !status.error_message.is_empty() => status.error_message.clone(),
        other => other.to_string(),
    }
}

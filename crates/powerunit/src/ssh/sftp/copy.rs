//! Copying within the guest, on its own side of the network (OpenSSH's PROTOCOL, section 4.10).

use std::os::fd::BorrowedFd;

use rustix::io::Errno;

use super::status::Status;

/// How many bytes are copied at once.
const CHUNK: usize = 1024 * 1024;

/// A place in an open file.
#[derive(Clone, Copy, Debug)]
pub(super) struct At<'a> {
    pub(super) fd: BorrowedFd<'a>,
    pub(super) offset: u64,
}

/// Copies `length` bytes, or to the end if it is 0. The end of the source before that is an end all the same.
pub(super) fn copy(mut from: At<'_>, mut to: At<'_>, length: u64) -> Result<(), Status> {
    let mut left = if length == 0 { u64::MAX } else { length };
    while left > 0 {
        let chunk = usize::try_from(left).map_or(CHUNK, |left| left.min(CHUNK));
        let copied = match rustix::fs::copy_file_range(
            from.fd,
            Some(&mut from.offset),
            to.fd,
            Some(&mut to.offset),
            chunk,
        ) {
            Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                by_hand(&mut from, &mut to, chunk)?
            }
            copied => copied?,
        };
        if copied == 0 {
            break;
        }
        left -= copied as u64;
    }
    Ok(())
}

/// Where the kernel cannot copy: between some file systems, and to files opened for appending.
fn by_hand(from: &mut At<'_>, to: &mut At<'_>, chunk: usize) -> Result<usize, Status> {
    let mut buffer = vec![0; chunk];
    let length = rustix::io::pread(from.fd, &mut buffer, from.offset)?;
    let mut data = buffer.get(..length).unwrap_or_default();
    while !data.is_empty() {
        let written = rustix::io::pwrite(to.fd, data, to.offset)?;
        to.offset += written as u64;
        data = data.get(written..).unwrap_or_default();
    }
    from.offset += length as u64;
    Ok(length)
}

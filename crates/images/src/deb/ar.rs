//! The outer archive of a package: `ar` in the plain form that deb(5) prescribes (short names, even offsets).

use std::io::{self, Read, Take};

use super::DebError;

const MAGIC: &[u8; 8] = b"!<arch>\n";
const HEADER: usize = 60;
/// debian-binary, control.tar, data.tar, and a few whose names begin with `_`.
const MAX_MEMBERS: usize = 16;

/// The member that holds the package's files, with its name.
pub(super) fn find_data<R: Read>(mut package: R) -> Result<(String, Take<R>), DebError> {
    let mut magic = [0; 8];
    read_whole(&mut package, &mut magic)?
        .filter(|()| &magic == MAGIC)
        .ok_or(DebError::NoPackage)?;
    for _ in 0..MAX_MEMBERS {
        let mut header = [0; HEADER];
        let Some(()) = read_whole(&mut package, &mut header)? else {
            return Err(DebError::NoData);
        };
        let (name, size) =
            parse(&header).ok_or_else(|| DebError::Damaged(io::ErrorKind::InvalidData.into()))?;
        if name.starts_with("data.tar") {
            return Ok((name, package.take(size)));
        }
        let padded = size.saturating_add(size % 2);
        io::copy(&mut (&mut package).take(padded), &mut io::sink()).map_err(DebError::Damaged)?;
    }
    Err(DebError::NoData)
}

/// Fills `buffer`, or gives `None` where the input ends before.
fn read_whole(input: &mut impl Read, buffer: &mut [u8]) -> Result<Option<()>, DebError> {
    match input.read_exact(buffer) {
        Ok(()) => Ok(Some(())),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(DebError::Damaged(error)),
    }
}

/// Name and size of a member: 16 and 10 characters of a header that ends with `` `\n ``.
fn parse(header: &[u8; HEADER]) -> Option<(String, u64)> {
    let header = std::str::from_utf8(header)
        .ok()
        .filter(|header| header.ends_with("`\n"))?;
    let name = header.get(..16)?.trim_end().trim_end_matches('/');
    let size = header.get(48..58)?.trim_end();
    let digits = !size.is_empty() && size.bytes().all(|byte| byte.is_ascii_digit());
    Some((name.to_owned(), size.parse().ok().filter(|_| digits)?))
}

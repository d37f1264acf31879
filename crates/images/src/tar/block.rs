//! One header block, field by field.

use super::Time;
use super::error::Problem;
use super::input::BLOCK;
use super::number::{numeric, octal};

/// Which form a header has; it decides what the bytes behind the link's name mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    V7,
    /// POSIX, with or without pax headers before it.
    Ustar,
    /// Jörg Schilling's: a shorter prefix, then two times.
    Star,
    Gnu,
}

/// A header whose checksum is right.
pub(super) struct Block {
    bytes: [u8; BLOCK],
    pub(super) form: Form,
}

impl Block {
    pub(super) fn new(bytes: [u8; BLOCK]) -> Result<Self, Problem> {
        let form = match (&bytes[257..263], &bytes[263..265], &bytes[508..]) {
            (b"ustar\0", _, b"tar\0") => Form::Star,
            (b"ustar\0", ..) => Form::Ustar,
            (b"ustar ", b" \0", _) => Form::Gnu,
            _ => Form::V7,
        };
        if is_header(&bytes) {
            Ok(Self { bytes, form })
        } else {
            Err(Problem::Checksum)
        }
    }

    pub(super) fn bytes(&self) -> &[u8; BLOCK] {
        &self.bytes
    }

    pub(super) fn type_flag(&self) -> u8 {
        self.bytes[156]
    }

    /// Bytes that follow, padding not counted.
    pub(super) fn size(&self) -> Result<u64, Problem> {
        natural(&self.bytes[124..136], "the size")
    }

    pub(super) fn mode(&self) -> Result<u16, Problem> {
        let mode = natural(&self.bytes[100..108], "the mode")?;
        // GNU tar and others put the kind of file above the permissions.
        u16::try_from(mode & 0o7777).map_err(|_| Problem::Number("the mode"))
    }

    pub(super) fn uid(&self) -> Result<i64, Problem> {
        numeric(&self.bytes[108..116]).ok_or(Problem::Number("the user id"))
    }

    pub(super) fn gid(&self) -> Result<i64, Problem> {
        numeric(&self.bytes[116..124]).ok_or(Problem::Number("the group id"))
    }

    pub(super) fn mtime(&self) -> Result<Time, Problem> {
        time(&self.bytes[136..148], "the time of modification")
    }

    /// Major and minor number.
    pub(super) fn device(&self) -> Result<(i64, i64), Problem> {
        if self.form == Form::V7 {
            return Ok((0, 0));
        }
        let number = |field| numeric(field).ok_or(Problem::Number("the device number"));
        Ok((number(&self.bytes[329..337])?, number(&self.bytes[337..345])?))
    }

    /// Times of access and of change, where this header has them.
    pub(super) fn access_and_change(&self) -> (Option<Time>, Option<Time>) {
        let (access, change) = match self.form {
            Form::Gnu => (&self.bytes[345..357], &self.bytes[357..369]),
            Form::Star => (&self.bytes[476..488], &self.bytes[488..500]),
            Form::V7 | Form::Ustar => return (None, None),
        };
        // A field that holds no time is one that some writer put something else into.
        let given = |field: &[u8]| {
            field
                .first()
                .filter(|first| **first != 0)
                .and_then(|_| numeric(field))
        };
        let time = |seconds| Time {
            seconds,
            nanoseconds: 0,
        };
        (given(access).map(time), given(change).map(time))
    }

    /// The name with its prefix.
    pub(super) fn path(&self) -> Vec<u8> {
        let name = until_nul(&self.bytes[..100]);
        let prefix = match self.form {
            Form::Ustar => until_nul(&self.bytes[345..500]),
            Form::Star => until_nul(&self.bytes[345..476]),
            Form::V7 | Form::Gnu => &[],
        };
        if prefix.is_empty() {
            return name.to_vec();
        }
        [prefix, b"/", name].concat()
    }

    pub(super) fn link(&self) -> Vec<u8> {
        until_nul(&self.bytes[157..257]).to_vec()
    }
}

/// Whether the block's checksum is right: the sum of its bytes, the field itself as blanks. Some writers took the bytes as
/// signed.
pub(super) fn is_header(bytes: &[u8; BLOCK]) -> bool {
    let Some(expected) = octal(&bytes[148..156]) else {
        return false;
    };
    let mut blanked = *bytes;
    blanked[148..156].fill(b' ');
    let unsigned: u32 = blanked.iter().map(|byte| u32::from(*byte)).sum();
    let signed: i32 = blanked.iter().map(|byte| i32::from(byte.cast_signed())).sum();
    expected == i64::from(unsigned) || expected == i64::from(signed)
}

pub(super) fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

pub(super) fn natural(field: &[u8], what: &'static str) -> Result<u64, Problem> {
    numeric(field)
        .and_then(|number| u64::try_from(number).ok())
        .ok_or(Problem::Number(what))
}

fn time(field: &[u8], what: &'static str) -> Result<Time, Problem> {
    let seconds = numeric(field).ok_or(Problem::Number(what))?;
    Ok(Time {
        seconds,
        nanoseconds: 0,
    })
}

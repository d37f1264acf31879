use std::io::Read;

use super::Limits;
use super::block::{Block, until_nul};
use super::error::{Bound, Problem};
use super::input::Input;
use super::pax::Records;

/// What extension headers say of the entry that follows them.
#[derive(Debug, Default)]
pub(super) struct Extended {
    pub(super) records: Records,
    /// GNU's long names; they count more than pax records, as in Go.
    pub(super) long_path: Option<Vec<u8>>,
    pub(super) long_link: Option<Vec<u8>>,
    /// Whether any header asks for an entry to follow.
    pub(super) is_pending: bool,
}

impl Extended {
    /// Takes in an extension header with its data; `false`: it is none, but an entry.
    pub(super) fn take<R: Read>(
        &mut self,
        header: &Block,
        globals: &mut Globals,
        input: &mut Input<R>,
        limits: &Limits,
    ) -> Result<bool, Problem> {
        let mut data = || {
            let size = header.size()?;
            Bound::Extension.check(size, limits.extension)?;
            input.whole(size)
        };
        match header.type_flag() {
            // Solaris wrote an `X` before POSIX had the `x`.
            b'x' | b'X' => {
                // Of two headers for one entry the last counts, as in Go.
                self.records = globals.records.clone();
                self.records.read(&data()?, limits)?;
                globals.is_pax = true;
                self.is_pending = true;
            }
            b'g' => {
                globals.records.read_global(&data()?, limits)?;
                globals.is_pax = true;
                self.records = globals.records.clone();
            }
            b'L' => {
                self.long_path = Some(until_nul(&data()?).to_vec()).filter(|name| !name.is_empty());
                self.is_pending = true;
            }
            b'K' => {
                self.long_link = Some(until_nul(&data()?).to_vec()).filter(|name| !name.is_empty());
                self.is_pending = true;
            }
            // The name of the volume.
            b'V' => drop(data()?),
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// What holds for all entries that follow.
#[derive(Debug, Default)]
pub(super) struct Globals {
    pub(super) records: Records,
    /// A pax header was met: this is no archive of an older form.
    pub(super) is_pax: bool,
}

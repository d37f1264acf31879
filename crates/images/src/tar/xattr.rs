use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::Limits;
use super::error::{Bound, Name, Problem};

/// libarchive leaves the padding out, others do not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The attributes of an entry, each name once.
#[derive(Clone, Debug, Default)]
pub(super) struct Xattrs {
    list: Vec<(Vec<u8>, Vec<u8>)>,
    bytes: usize,
}

impl Xattrs {
    /// Sets an attribute; a later one replaces an earlier one, as pax records do.
    pub(super) fn set(&mut self, name: &[u8], value: Vec<u8>, limits: &Limits) -> Result<(), Problem> {
        if name.is_empty() || name.contains(&0) {
            return Err(Problem::Xattr(Name(name.to_vec())));
        }
        Bound::XattrName.check_len(name.len(), limits.xattr_name)?;
        Bound::XattrValue.check_len(value.len(), limits.xattr_value)?;
        self.bytes = self.bytes.saturating_add(name.len() + value.len());
        Bound::Xattrs.check_len(self.bytes, limits.xattrs)?;
        match self.list.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => {
                self.bytes = self.bytes.saturating_sub(name.len() + old.len());
                *old = value;
            }
            None => self.list.push((name.to_vec(), value)),
        }
        Ok(())
    }

    /// As libarchive writes it: the name percent-encoded, the value in base 64.
    pub(super) fn set_encoded(&mut self, name: &[u8], value: &[u8], limits: &Limits) -> Result<(), Problem> {
        let damaged = || Problem::Xattr(Name(name.to_vec()));
        let value = BASE64.decode(value.trim_ascii_end()).map_err(|_| damaged())?;
        let name = percent_decoded(name).ok_or_else(damaged)?;
        self.set(&name, value, limits)
    }

    pub(super) fn set_if_absent(
        &mut self,
        name: &[u8],
        value: Vec<u8>,
        limits: &Limits,
    ) -> Result<(), Problem> {
        if self.has(name) {
            return Ok(());
        }
        self.set(name, value, limits)
    }

    pub(super) fn has(&self, name: &[u8]) -> bool {
        self.list.iter().any(|(known, _)| known == name)
    }

    pub(super) fn into_list(self) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.list
    }
}

fn percent_decoded(mut text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    while let Some((first, rest)) = text.split_first() {
        if *first == b'%' {
            let (digits, rest) = rest.split_at_checked(2)?;
            bytes.extend(hex::decode(digits).ok()?);
            text = rest;
        } else {
            bytes.push(*first);
            text = rest;
        }
    }
    Some(bytes)
}

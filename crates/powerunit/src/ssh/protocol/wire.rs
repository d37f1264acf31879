//! The data types of SSH, RFC 4251 section 5, read from foreign bytes and written to a buffer.

/// Foreign bytes that end too early, too late, or hold something else than was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed SSH data")]
pub struct Malformed;

/// Reads values from the front of a byte string.
#[derive(Clone, Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next `length` bytes as they are.
    pub fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    pub fn u8(&mut self) -> Result<u8, Malformed> {
        let (&byte, rest) = self.0.split_first().ok_or(Malformed)?;
        self.0 = rest;
        Ok(byte)
    }

    /// Any value but 0 is true.
    pub fn bool(&mut self) -> Result<bool, Malformed> {
        self.u8().map(|byte| byte != 0)
    }

    pub fn u32(&mut self) -> Result<u32, Malformed> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
        self.0 = rest;
        Ok(u32::from_be_bytes(*bytes))
    }

    pub fn u64(&mut self) -> Result<u64, Malformed> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
        self.0 = rest;
        Ok(u64::from_be_bytes(*bytes))
    }

    pub fn string(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.u32()?;
        self.take(length as usize)
    }

    /// A string that must be UTF-8.
    pub fn text(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.string()?).map_err(|_| Malformed)
    }

    /// A positive `mpint` without its leading zero bytes.
    pub fn unsigned(&mut self) -> Result<&'a [u8], Malformed> {
        let bytes = self.string()?;
        if bytes.first().is_some_and(|first| first & 0x80 != 0) {
            return Err(Malformed);
        }
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        bytes.get(zeros..).ok_or(Malformed)
    }

    /// The names of a `name-list`.
    pub fn names(&mut self) -> Result<Vec<&'a str>, Malformed> {
        Ok(self.text()?.split(',').filter(|name| !name.is_empty()).collect())
    }

    /// What has not been read.
    pub fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// All must have been read.
    pub fn end(self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed) }
    }
}

/// Appends values to a buffer.
pub trait Put {
    fn put(&mut self, bytes: &[u8]);

    fn put_u8(&mut self, value: u8) {
        self.put(&[value]);
    }

    fn put_bool(&mut self, value: bool) {
        self.put_u8(u8::from(value));
    }

    fn put_u32(&mut self, value: u32) {
        self.put(&value.to_be_bytes());
    }

    fn put_u64(&mut self, value: u64) {
        self.put(&value.to_be_bytes());
    }

    /// Nothing here is ever near 4 GiB; what were longer would be cut.
    fn put_string(&mut self, bytes: &[u8]) {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.put_u32(length);
        self.put(bytes.get(..length as usize).unwrap_or(bytes));
    }

    /// `magnitude`, big-endian, as a positive `mpint`.
    fn put_unsigned(&mut self, magnitude: &[u8]) {
        let zeros = magnitude.iter().take_while(|byte| **byte == 0).count();
        let magnitude = magnitude.get(zeros..).unwrap_or_default();
        let sign = usize::from(magnitude.first().is_some_and(|first| first & 0x80 != 0));
        self.put_u32(u32::try_from(magnitude.len() + sign).unwrap_or(u32::MAX));
        if sign == 1 {
            self.put_u8(0);
        }
        self.put(magnitude);
    }
}

impl Put for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_as_in_the_rfc() {
        // The examples of RFC 4251, section 5.
        let mut bytes = Vec::new();
        bytes.put_unsigned(&[]);
        bytes.put_unsigned(&[0x09, 0xa3, 0x78]);
        bytes.put_unsigned(&[0x80]);
        assert_eq!(
            bytes,
            [0, 0, 0, 0, 0, 0, 0, 3, 9, 0xa3, 0x78, 0, 0, 0, 2, 0, 0x80]
        );
        let mut reader = Reader::new(&[0, 0, 0, 2, 0xed, 0xcc]);
        assert_eq!(reader.unsigned(), Err(Malformed));
    }

    proptest! {
        #[test]
        fn what_was_put_is_read(text in ".{0,40}", number: u32, big: u64, flag: bool, magnitude in prop::collection::vec(any::<u8>(), 0..40)) {
            let mut bytes = Vec::new();
            bytes.put_string(text.as_bytes());
            bytes.put_u32(number);
            bytes.put_u64(big);
            bytes.put_bool(flag);
            bytes.put_unsigned(&magnitude);
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.text().unwrap(), text);
            prop_assert_eq!(reader.u32().unwrap(), number);
            prop_assert_eq!(reader.u64().unwrap(), big);
            prop_assert_eq!(reader.bool().unwrap(), flag);
            let zeros = magnitude.iter().take_while(|byte| **byte == 0).count();
            prop_assert_eq!(reader.unsigned().unwrap(), &magnitude[zeros..]);
            prop_assert_eq!(reader.end(), Ok(()));
        }
    }
}

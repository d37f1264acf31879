//! Archives byte by byte, so that every lie can be told.

/// A header that is written field by field; `end` sets the checksum.
pub(super) struct Header([u8; 512]);

impl Header {
    /// Without magic: the form of Unix v7.
    pub(super) fn v7(path: &[u8], flag: u8) -> Self {
        let mut header = Self([0; 512]);
        header.0[156] = flag;
        header
            .at(0, path)
            .at(100, b"0000644\0")
            .at(108, b"0000000\0")
            .at(116, b"0000000\0")
            .at(124, b"00000000000\0")
            .at(136, b"00000000000\0")
    }

    pub(super) fn ustar(path: &[u8], flag: u8) -> Self {
        Self::v7(path, flag).at(257, b"ustar\x0000")
    }

    pub(super) fn gnu(path: &[u8], flag: u8) -> Self {
        Self::v7(path, flag).at(257, b"ustar  \0")
    }

    pub(super) fn at(mut self, offset: usize, bytes: &[u8]) -> Self {
        self.0[offset..offset + bytes.len()].copy_from_slice(bytes);
        self
    }

    pub(super) fn link(self, target: &[u8]) -> Self {
        self.at(157, target)
    }

    pub(super) fn size(self, size: u64) -> Self {
        self.at(124, format!("{size:011o}\0").as_bytes())
    }

    pub(super) fn end(self) -> Vec<u8> {
        let header = self.at(148, b"        ");
        let sum: u32 = header.0.iter().map(|byte| u32::from(*byte)).sum();
        header.at(148, format!("{sum:06o}\0 ").as_bytes()).0.to_vec()
    }

    /// With its data, padded.
    pub(super) fn data(self, data: &[u8]) -> Vec<u8> {
        [self.size(data.len() as u64).end(), padded(data)].concat()
    }
}

pub(super) fn padded(data: &[u8]) -> Vec<u8> {
    let mut bytes = data.to_vec();
    bytes.resize(data.len().next_multiple_of(512), 0);
    bytes
}

pub(super) fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let length = (1..20)
        .map(|digits| rest + digits)
        .find(|sum| sum.to_string().len() + rest == *sum);
    let mut bytes = format!("{} {key}=", length.unwrap()).into_bytes();
    bytes.extend_from_slice(value);
    bytes.push(b'\n');
    bytes
}

/// A pax header with these records; `flag` is `x` or `g`.
pub(super) fn pax_of(flag: u8, records: &[(&str, &[u8])]) -> Vec<u8> {
    let records: Vec<u8> = records
        .iter()
        .flat_map(|(key, value)| record(key, value))
        .collect();
    Header::ustar(b"PaxHeaders/x", flag).data(&records)
}

pub(super) fn pax(records: &[(&str, &[u8])]) -> Vec<u8> {
    pax_of(b'x', records)
}

pub(super) fn archive(parts: &[Vec<u8>]) -> Vec<u8> {
    [parts.concat(), vec![0; 1024]].concat()
}

/// What a layer may grow to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the tar stream, and of the blob where its size is not known: 64 GiB.
    pub total: u64,
    /// How many times larger than the blob the stream may be. Zeros packed by gzip give 1,000, files of programs 2 to 5.
    pub ratio: u64,
    /// The ratio counts from this size of the stream on: what is smaller does no harm, and a few large files of zeros
    /// are no attack.
    pub ratio_from: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            total: 64 << 30,
            ratio: 500,
            ratio_from: 64 << 20,
        }
    }
}

impl Limits {
    /// The most that may come out of `packed` bytes.
    pub(super) fn most(&self, packed: u64) -> u64 {
        packed.saturating_mul(self.ratio).max(self.ratio_from)
    }
}

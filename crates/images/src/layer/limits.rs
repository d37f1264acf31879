/// What a layer may grow to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the tar stream, and of the blob where its size is not known: 64 GiB.
    pub total: u64,
    /// How many times larger than the blob the stream may be. Zeros packed by gzip give 1,000, files of programs 2 to 5.
    /// It is the whole blob that counts, as a layer may well begin with a file of zeros; of a stream whose length nobody
    /// knows, what was read of it so far.
    pub ratio: u64,
    /// The ratio counts from this size of the stream on: what is smaller fills no disk. 1 GiB.
    pub ratio_from: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            total: 64 << 30,
            ratio: 500,
            ratio_from: 1 << 30,
        }
    }
}

impl Limits {
    /// The same, and a layer may unpack to any multiple of its size.
    pub(crate) fn of_any_ratio(self) -> Self {
        Self {
            ratio: u64::MAX,
            ..self
        }
    }

    /// The most that may come out of `packed` bytes.
    pub(super) fn most(&self, packed: u64) -> u64 {
        packed.saturating_mul(self.ratio).max(self.ratio_from)
    }
}

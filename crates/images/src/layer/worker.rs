use std::io::{self, BufReader, ErrorKind, Read};
use std::thread::{self, JoinHandle};

use super::blob::{Account, Blob};
use super::error::LayerError;
use super::queue::{CHUNK, Closed, Filler};
use super::{Compression, Expected, Limits};
use crate::oci::{Digest, Hasher};

/// What the blob was, as it is stored.
#[derive(Debug)]
pub(super) struct Packed {
    /// If it was to be taken.
    pub(super) digest: Option<Digest>,
    pub(super) size: u64,
}

/// The thread that reads, digests and unpacks.
#[derive(Debug)]
pub(super) struct Worker(JoinHandle<Result<Packed, LayerError>>);

impl Worker {
    pub(super) fn start(
        blob: impl Read + Send + 'static,
        compression: Compression,
        hasher: Option<Hasher>,
        expected: &Expected,
        limits: &Limits,
        filler: Filler,
    ) -> Result<Self, LayerError> {
        let job = Job {
            compression,
            expected_digest: expected.digest.clone(),
            expected_size: expected.size,
            limits: limits.clone(),
            filler,
        };
        thread::Builder::new()
            .name("layer".to_owned())
            .spawn(move || job.run(blob, hasher))
            .map(Self)
            .map_err(LayerError::Thread)
    }

    /// Waits for its end.
    pub(super) fn join(self) -> Result<Packed, LayerError> {
        // A panic was told by the panic hook; whoever joins has no result.
        self.0.join().unwrap_or(Err(LayerError::GivenUp))
    }
}

impl From<Closed> for LayerError {
    fn from(_: Closed) -> Self {
        Self::GivenUp
    }
}

struct Job {
    compression: Compression,
    expected_digest: Option<Digest>,
    expected_size: Option<u64>,
    limits: Limits,
    filler: Filler,
}

impl Job {
    fn run(self, blob: impl Read, hasher: Option<Hasher>) -> Result<Packed, LayerError> {
        let account = Account::new(hasher);
        let limit = self.expected_size.unwrap_or(self.limits.total);
        let mut blob = BufReader::with_capacity(CHUNK, Blob::new(blob, &account, limit));
        match self.unpack(&mut blob, &account) {
            // Damage is mostly that of the blob, and then its digest says so more plainly.
            Err(error @ LayerError::Damaged { .. }) if self.expected_size.is_some() => {
                rest(&mut blob, &account)?;
                drop(blob);
                self.check(account)?;
                Err(error)
            }
            // Nobody said how long it is: it is the limit that it is longer than.
            Err(LayerError::Long { limit }) if self.expected_size.is_none() => {
                Err(LayerError::Total { limit })
            }
            Err(error) => Err(error),
            Ok(()) => {
                rest(&mut blob, &account)?;
                drop(blob);
                self.check(account)
            }
        }
    }

    fn unpack(&self, blob: impl io::BufRead, account: &Account) -> Result<(), LayerError> {
        let damaged = |source| {
            account.take_failure().unwrap_or(LayerError::Damaged {
                kind: self.compression,
                source,
            })
        };
        let mut stream = self.compression.decoder(blob).map_err(damaged)?;
        let mut total = 0u64;
        loop {
            let got = self.filler.fill(|buffer| {
                let got = fill(&mut stream, buffer).map_err(damaged)?;
                total = total.saturating_add(got as u64);
                if total > self.limits.total {
                    return Err(LayerError::Total {
                        limit: self.limits.total,
                    });
                }
                if total
                    > self
                        .limits
                        .most(self.expected_size.unwrap_or_else(|| account.read()))
                {
                    return Err(LayerError::Ratio {
                        ratio: self.limits.ratio,
                    });
                }
                Ok(got)
            })?;
            if got == 0 {
                return Ok(());
            }
        }
    }

    fn check(&self, account: Account) -> Result<Packed, LayerError> {
        let size = account.read();
        let digest = account.into_hasher().map(Hasher::finish);
        if let Some(expected) = self.expected_size.filter(|expected| *expected != size) {
            return Err(LayerError::Short {
                expected,
                actual: size,
            });
        }
        match (&self.expected_digest, digest) {
            (Some(expected), Some(actual)) if *expected != actual => Err(LayerError::Digest {
                expected: expected.clone(),
                actual,
            }),
            (_, digest) => Ok(Packed { digest, size }),
        }
    }
}

/// Reads on to the blob's end, since its size and digest are of all of it.
fn rest(blob: &mut impl Read, account: &Account) -> Result<(), LayerError> {
    io::copy(blob, &mut io::sink())
        .map(drop)
        .map_err(|error| account.take_failure().unwrap_or(LayerError::Read(error)))
}

/// Reads until the buffer is full or the stream at its end.
fn fill(stream: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(free) = buffer.get_mut(filled..).filter(|free| !free.is_empty()) {
        match stream.read(free) {
            Ok(0) => break,
            Ok(got) => filled += got,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

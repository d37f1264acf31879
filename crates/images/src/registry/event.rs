//! What happens while an image is fetched or sent, for who shows it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::oci::{Descriptor, Digest};

/// One thing that happened. [`Event::Planned`] comes first, and each blob ends as `There`, `Mounted` or `Done` unless
/// the whole fails.
#[derive(Clone, Debug)]
pub enum Event {
    /// What an image is made of: its configuration, then its layers, the lowest first; each content once.
    Planned {
        blobs: Vec<Descriptor>,
    },
    Blob {
        digest: Digest,
        state: BlobState,
    },
    /// Of all blobs together, in bytes; what was there already is done.
    Total {
        done: u64,
        total: u64,
    },
    /// Something that is no blob is tried again after a pause.
    Waiting {
        why: String,
        pause: Duration,
    },
    /// A mirror could not serve; the next place is asked.
    Mirror {
        host: String,
        why: String,
    },
}

/// Where a blob is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlobState {
    /// Others are first.
    Queued,
    /// This many bytes have come or gone; the first time, those that an earlier attempt left. Fewer than before, where
    /// it had to begin anew.
    Moving {
        done: u64,
    },
    /// An attempt failed; the next follows after a pause.
    Waiting {
        why: String,
        pause: Duration,
    },
    /// Nothing had to be moved.
    There,
    /// The registry took it from another of its repositories.
    Mounted,
    Done,
}

/// How little a blob must move for its watcher to hear of it.
const STEP: u64 = 256 * 1024;

/// Tells one watcher of all blobs, and keeps the sum.
pub(super) struct Watcher<'a> {
    tell: &'a (dyn Fn(Event) + Send + Sync),
    done: AtomicU64,
    total: u64,
}

impl<'a> Watcher<'a> {
    pub(super) fn new(tell: &'a (dyn Fn(Event) + Send + Sync), blobs: &[Descriptor]) -> Self {
        let total = blobs
            .iter()
            .fold(0_u64, |sum, blob| sum.saturating_add(blob.size));
        tell(Event::Planned {
            blobs: blobs.to_vec(),
        });
        let watcher = Self {
            tell,
            done: AtomicU64::new(0),
            total,
        };
        for blob in blobs {
            watcher.state(blob, BlobState::Queued);
        }
        watcher
    }

    pub(super) fn state(&self, blob: &Descriptor, state: BlobState) {
        let digest = blob.digest.clone();
        (self.tell)(Event::Blob { digest, state });
    }

    /// A blob's progress from here on, as far as it is.
    pub(super) fn blob<'b>(&'b self, blob: &'b Descriptor) -> Progress<'b> {
        Progress {
            watcher: self,
            blob,
            told: AtomicU64::new(0),
        }
    }

    fn moved(&self, from: u64, to: u64) {
        // Never below what others have added: a difference, in whichever direction.
        let before = self.done.fetch_add(to.wrapping_sub(from), Ordering::Relaxed);
        let done = before.wrapping_add(to.wrapping_sub(from));
        (self.tell)(Event::Total {
            done,
            total: self.total,
        });
    }
}

/// How far one blob is.
pub(super) struct Progress<'a> {
    watcher: &'a Watcher<'a>,
    blob: &'a Descriptor,
    /// Of how many bytes the watcher has heard.
    told: AtomicU64,
}

impl Progress<'_> {
    /// An attempt begins at `done` bytes of its size: what earlier ones left.
    pub(super) fn from(&self, done: u64) {
        self.tell(done);
    }

    /// It is at `done` bytes of its size now.
    pub(super) fn at(&self, done: u64) {
        let told = self.told.load(Ordering::Relaxed);
        if done < told || done - told >= STEP {
            self.tell(done);
        }
    }

    pub(super) fn waiting(&self, why: String, pause: Duration) {
        self.watcher.state(self.blob, BlobState::Waiting { why, pause });
    }

    /// It is over, all of it.
    pub(super) fn end(&self, state: BlobState) {
        self.watcher.state(self.blob, state);
        let told = self.told.swap(self.blob.size, Ordering::Relaxed);
        self.watcher.moved(told, self.blob.size);
    }

    fn tell(&self, done: u64) {
        let told = self.told.swap(done, Ordering::Relaxed);
        self.watcher.state(self.blob, BlobState::Moving { done });
        self.watcher.moved(told, done);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn the_total_is_the_sum_also_after_a_new_beginning() {
        let blobs = [
            Descriptor::new("", Digest::of(b"a"), 3 * STEP),
            Descriptor::new("", Digest::of(b"b"), 10),
        ];
        let totals = Mutex::new(Vec::new());
        let tell = |event| {
            if let Event::Total { done, total } = event {
                totals.lock().unwrap().push((done, total));
            }
        };
        let watcher = Watcher::new(&tell, &blobs);
        let (first, second) = (watcher.blob(&blobs[0]), watcher.blob(&blobs[1]));
        first.from(0);
        first.at(1);
        first.at(2 * STEP);
        second.end(BlobState::There);
        first.at(0);
        first.end(BlobState::Done);
        let all = 3 * STEP + 10;
        let expected = [
            (0, all),
            (2 * STEP, all),
            (2 * STEP + 10, all),
            (10, all),
            (all, all),
        ];
        assert_eq!(*totals.lock().unwrap(), expected);
    }
}

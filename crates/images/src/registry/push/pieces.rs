//! How much of a blob goes with one request.
//!
//! The invariant: all of it, until the registry (or what stands before it) does not take that; then never more again
//! than it took.

use std::sync::atomic::{AtomicU64, Ordering};

/// Less than that at once is no way to send an image. Bytes.
const LEAST: u64 = 64 * 1024;

/// What is known of one registry during one push.
#[derive(Debug)]
pub(super) struct Pieces {
    /// Bytes.
    size: AtomicU64,
    first: u64,
}

impl Pieces {
    /// `first` bytes are tried when all at once is too much.
    pub(super) fn new(first: u64) -> Self {
        Self {
            size: AtomicU64::new(u64::MAX),
            first: first.max(LEAST),
        }
    }

    /// Of `rest` bytes that are to be sent, how many go now. `least`: what the registry takes at the least.
    pub(super) fn next(&self, rest: u64, least: u64) -> u64 {
        self.size.load(Ordering::Relaxed).max(least).min(rest)
    }

    /// So many bytes were too much. Whether there is a smaller piece to try.
    pub(super) fn refused(&self, size: u64, least: u64) -> bool {
        let smaller = (size / 2).min(self.first).max(LEAST).max(least);
        if smaller >= size {
            return false;
        }
        self.size.fetch_min(smaller, Ordering::Relaxed);
        true
    }

    /// A connection broke while so many bytes went over it: of smaller pieces less is lost.
    pub(super) fn broken(&self, size: u64) {
        if size > self.first {
            self.size.fetch_min(self.first, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    #[test]
    fn pieces_get_smaller_until_they_are_taken() {
        let pieces = Pieces::new(16 * MIB);
        assert_eq!(pieces.next(100 * MIB, 0), 100 * MIB);
        assert!(pieces.refused(100 * MIB, 0));
        assert_eq!(pieces.next(100 * MIB, 0), 16 * MIB);
        assert_eq!(pieces.next(100 * MIB, 20 * MIB), 20 * MIB);
        assert_eq!(pieces.next(MIB, 20 * MIB), MIB);
        // Of what another blob found out already nothing is lost.
        assert!(pieces.refused(100 * MIB, 0));
        assert_eq!(pieces.next(100 * MIB, 0), 16 * MIB);
        let mut size = 16 * MIB;
        while pieces.refused(size, 0) {
            size = pieces.next(100 * MIB, 0);
        }
        assert_eq!(size, LEAST);
        assert!(!pieces.refused(20 * MIB, 20 * MIB));
    }

    #[test]
    fn a_small_blob_that_breaks_changes_nothing() {
        let pieces = Pieces::new(16 * MIB);
        pieces.broken(MIB);
        assert_eq!(pieces.next(100 * MIB, 0), 100 * MIB);
        pieces.broken(50 * MIB);
        assert_eq!(pieces.next(100 * MIB, 0), 16 * MIB);
    }
}

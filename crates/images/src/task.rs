//! Long work that can be watched and called off.
//!
//! The invariant: after [`Task::cancel`] no function that was given the task makes anything new; it ends at its next
//! step with [`Cancelled`] and leaves nothing behind.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Where the work is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is being done, as a person reads it: `unpacking the kernel`.
    pub step: &'static str,
    /// Bytes or entries done in this step.
    pub done: u64,
    /// Of how many, where that is known.
    pub total: Option<u64>,
}

/// The work was called off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("called off")]
pub struct Cancelled;

type Report = dyn Fn(Progress) + Send + Sync;

/// A handle that the caller keeps one copy of while the work holds another.
#[derive(Clone, Default)]
pub struct Task {
    cancelled: Arc<AtomicBool>,
    report: Option<Arc<Report>>,
}

impl Task {
    /// Work that nobody watches.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Work that tells `report` of every step, from the thread that does it.
    #[must_use]
    pub fn watched(report: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        Self {
            cancelled: Arc::default(),
            report: Some(Arc::new(report)),
        }
    }

    /// Calls the work off.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Whether it may go on.
    ///
    /// # Errors
    /// It was called off.
    pub fn check(&self) -> Result<(), Cancelled> {
        if self.cancelled.load(Ordering::Relaxed) {
            Err(Cancelled)
        } else {
            Ok(())
        }
    }

    /// Says where the work is and learns whether it may go on.
    pub(crate) fn at(&self, step: &'static str, done: u64, total: Option<u64>) -> Result<(), Cancelled> {
        if let Some(report) = &self.report {
            report(Progress { step, done, total });
        }
        self.check()
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task")
            .field("cancelled", &self.cancelled)
            .finish_non_exhaustive()
    }
}

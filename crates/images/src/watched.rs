//! Sources that tell how far they were read, and end when the work is called off.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::task::Task;

/// What sources that belong together are read for: the bytes of all of them count.
#[derive(Debug)]
pub(crate) struct Meter {
    step: &'static str,
    read: AtomicU64,
    total: Option<u64>,
    task: Task,
}

impl Meter {
    pub(crate) fn new(step: &'static str, total: Option<u64>, task: &Task) -> Arc<Self> {
        Arc::new(Self {
            step,
            read: AtomicU64::new(0),
            total,
            task: task.clone(),
        })
    }
}

pub(crate) struct Watched<R> {
    inner: R,
    meter: Arc<Meter>,
}

impl<R: Read> Watched<R> {
    pub(crate) fn new(inner: R, meter: &Arc<Meter>) -> Self {
        Self {
            inner,
            meter: Arc::clone(meter),
        }
    }
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let meter = &self.meter;
        let read = meter.read.load(Ordering::Relaxed);
        meter
            .task
            .at(meter.step, read, meter.total)
            .map_err(io::Error::other)?;
        let count = self.inner.read(buffer)?;
        meter.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

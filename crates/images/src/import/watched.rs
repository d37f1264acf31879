//! A source that tells how far it was read and ends when the work is called off.

use std::io::{self, Read};

use crate::task::Task;

pub(super) struct Watched<R> {
    inner: R,
    step: &'static str,
    read: u64,
    total: Option<u64>,
    task: Task,
}

impl<R: Read> Watched<R> {
    pub(super) fn new(inner: R, step: &'static str, total: Option<u64>, task: &Task) -> Self {
        Self {
            inner,
            step,
            read: 0,
            total,
            task: task.clone(),
        }
    }
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.task
            .at(self.step, self.read, self.total)
            .map_err(io::Error::other)?;
        let count = self.inner.read(buffer)?;
        self.read = self.read.saturating_add(count as u64);
        Ok(count)
    }
}

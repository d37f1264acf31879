use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;

/// How many more bytes may be read before the owner says otherwise. It keeps tar, which holds long names in memory whatever
/// their size, from being fed without end.
#[derive(Clone, Default)]
pub(super) struct Budget(Rc<Cell<u64>>);

impl Budget {
    pub(super) fn allow(&self, bytes: u64) {
        self.0.set(bytes);
    }

    pub(super) fn reader<R>(&self, inner: R) -> BudgetReader<R> {
        BudgetReader {
            inner,
            budget: self.clone(),
        }
    }
}

pub(super) struct BudgetReader<R> {
    inner: R,
    budget: Budget,
}

impl<R: Read> Read for BudgetReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.budget.0.get();
        if left == 0 && !buffer.is_empty() {
            return Err(io::Error::other(
                "an entry's headers are larger than any real ones",
            ));
        }
        let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let got = self.inner.read(buffer.get_mut(..most).unwrap_or_default())?;
        self.budget.allow(left.saturating_sub(got as u64));
        Ok(got)
    }
}

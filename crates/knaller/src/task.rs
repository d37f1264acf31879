//! Work that blocks, from async code. The invariant: when the future is gone, so is the work; nothing goes on behind the back
//! of whoever cleans up after it.

use std::sync::mpsc;

use images::{Progress, Task};

use crate::{Error, Result};

/// Runs `work` on a thread made for that. Dropping the future calls the work off and waits for its end.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce(&Task) -> Result<T> + Send + 'static,
) -> Result<T> {
    run(Task::new(), work).await
}

/// As [`blocking`]; `report` hears of the work's steps, on its thread.
pub(crate) async fn watched<T: Send + 'static>(
    report: impl Fn(Progress) + Send + Sync + 'static,
    work: impl FnOnce(&Task) -> Result<T> + Send + 'static,
) -> Result<T> {
    run(Task::watched(report), work).await
}

async fn run<T: Send + 'static>(
    task: Task,
    work: impl FnOnce(&Task) -> Result<T> + Send + 'static,
) -> Result<T> {
    let (running, ended) = mpsc::channel::<()>();
    let _wait = Wait {
        task: task.clone(),
        ended,
    };
    let thread = tokio::task::spawn_blocking(move || {
        let result = work(&task);
        drop(running);
        result
    });
    thread
        .await
        .unwrap_or_else(|e| Err(Error::system("finish a piece of work")(std::io::Error::other(e))))
}

/// Calls its task off when it is dropped.
pub(crate) struct CallOff(Task);

impl CallOff {
    pub(crate) fn watched(report: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        Self(Task::watched(report))
    }

    pub(crate) fn task(&self) -> &Task {
        &self.0
    }
}

impl Drop for CallOff {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

struct Wait {
    task: Task,
    ended: mpsc::Receiver<()>,
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.task.cancel();
        // Nothing is ever sent: this returns when the other end is gone, with the work's end or without its beginning.
        let _ = self.ended.recv();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_dropped_future_waits_for_its_work() {
        let ended = Arc::new(AtomicBool::new(false));
        let (started, has_started) = tokio::sync::oneshot::channel();
        let (release, released) = mpsc::channel::<()>();
        let flag = Arc::clone(&ended);
        let work = blocking(move |_| {
            started.send(()).unwrap();
            released.recv().unwrap();
            flag.store(true, Ordering::SeqCst);
            Ok(())
        });
        let mut work = Box::pin(work);
        tokio::select! {
            _ = &mut work => unreachable!("it waits"),
            begun = has_started => begun.unwrap(),
        }
        release.send(()).unwrap();
        drop(work);
        assert!(ended.load(Ordering::SeqCst));
    }
}

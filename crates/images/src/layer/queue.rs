//! The way from the worker to the reader: a fixed number of buffers that go round.

use std::sync::mpsc::{Receiver, Sender, channel};

/// Large enough that the threads wake each other rarely.
pub(super) const CHUNK: usize = 256 << 10;
const CHUNKS: usize = 6;

/// The most bytes that a layer is unpacked ahead of its reader.
pub const AHEAD: usize = CHUNK * CHUNKS;

#[derive(Debug)]
pub(super) struct Chunk {
    bytes: Box<[u8]>,
    len: usize,
}

pub(super) fn queue() -> (Chunks, Filler) {
    let (fill, full) = channel();
    let (give_back, empty) = channel();
    for _ in 0..CHUNKS {
        let bytes = vec![0; CHUNK].into_boxed_slice();
        // The other end is in this very function.
        let _ = give_back.send(Chunk { bytes, len: 0 });
    }
    let ends = Some((full, give_back));
    (
        Chunks {
            ends,
            current: None,
            at: 0,
        },
        Filler { empty, fill },
    )
}

/// The reader's end.
#[derive(Debug)]
pub(super) struct Chunks {
    ends: Option<(Receiver<Chunk>, Sender<Chunk>)>,
    current: Option<Chunk>,
    at: usize,
}

impl Chunks {
    /// Waits for the next bytes, giving back the last ones. `None`: the filler is gone.
    pub(super) fn next(&mut self) -> Option<&[u8]> {
        self.at = 0;
        let (full, give_back) = self.ends.as_ref()?;
        if let Some(chunk) = self.current.take() {
            // A worker that is done takes nothing back.
            let _ = give_back.send(chunk);
        }
        self.current = full.recv().ok();
        self.current.is_some().then(|| self.rest())
    }

    /// What is left of the current bytes.
    pub(super) fn rest(&self) -> &[u8] {
        let chunk = self.current.as_ref();
        chunk
            .and_then(|chunk| chunk.bytes.get(self.at..chunk.len))
            .unwrap_or_default()
    }

    pub(super) fn read(&mut self, buffer: &mut [u8]) -> usize {
        let rest = self.rest();
        let got = rest.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..got), rest.get(..got)) {
            to.copy_from_slice(from);
        }
        self.at += got;
        got
    }

    pub(super) fn close(&mut self) {
        self.ends = None;
    }
}

/// The worker's end.
pub(super) struct Filler {
    empty: Receiver<Chunk>,
    fill: Sender<Chunk>,
}

/// There is no reader any more.
pub(super) struct Closed;

impl Filler {
    /// Waits for a free buffer, lets `work` fill it, and passes on what it filled: how many bytes. At 0 nothing is passed on.
    pub(super) fn fill<E: From<Closed>>(
        &self,
        work: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<usize, E> {
        let mut chunk = self.empty.recv().map_err(|_| Closed)?;
        chunk.len = work(&mut chunk.bytes)?;
        let len = chunk.len;
        if len > 0 {
            self.fill.send(chunk).map_err(|_| Closed)?;
        }
        Ok(len)
    }
}

//! Finds the line of a kernel panic in what a guest writes.
//!
//! Invariant: a guest can write anything, so what is found is worth a log line and a distinct exit code, and nothing
//! more. At most [`MAX_LINE`] bytes are kept.

/// What the kernel writes first (`kernel/panic.c`).
const MARK: &[u8] = b"Kernel panic - not syncing";
/// Longest line looked at, in bytes.
const MAX_LINE: usize = 512;

/// Sees all output, line by line.
#[derive(Debug, Default)]
pub(super) struct PanicFinder {
    line: Vec<u8>,
    found: Option<String>,
}

impl PanicFinder {
    /// Sees the next bytes.
    pub(super) fn see(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = MAX_LINE - self.line.len();
            self.line.extend_from_slice(&part[..part.len().min(room)]);
            if part.ends_with(b"\n") {
                self.line_ended();
            }
        }
    }

    /// The first panic seen.
    pub(super) fn found(mut self) -> Option<String> {
        self.line_ended();
        self.found
    }

    fn line_ended(&mut self) {
        let mark = self.line.windows(MARK.len()).position(|window| window == MARK);
        if let (Some(start), None) = (mark, &self.found) {
            let text = String::from_utf8_lossy(&self.line[start..]);
            let text: String = text.chars().filter(|char| !char.is_control()).collect();
            tracing::error!("The guest's kernel panicked: {text}");
            self.found = Some(text);
        }
        self.line.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OUTPUT: &[u8] = b"[    0.1] Run /init\r\n[    0.2] Kernel panic - not syncing: No init found.\r\n[    0.3] Kernel panic - not syncing: again\n";

    proptest! {
        #[test]
        fn the_first_panic_is_found_however_the_bytes_arrive(size in 1usize..64) {
            let mut finder = PanicFinder::default();
            OUTPUT.chunks(size).for_each(|part| finder.see(part));
            let found = finder.found();
            prop_assert_eq!(found.as_deref(), Some("Kernel panic - not syncing: No init found."));
        }

        #[test]
        fn any_output_is_seen(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            let mut finder = PanicFinder::default();
            finder.see(&bytes);
            prop_assert!(finder.line.len() <= MAX_LINE);
        }
    }

    #[test]
    fn a_line_without_end_counts() {
        let mut finder = PanicFinder::default();
        finder.see(b"x\nKernel panic - not syncing: y");
        assert_eq!(finder.found().as_deref(), Some("Kernel panic - not syncing: y"));
    }
}

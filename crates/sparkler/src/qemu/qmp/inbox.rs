//! Splits what arrives on the control socket into lines.
//!
//! Invariant: never holds more than [`MAX_LINE`] bytes of an unfinished line, whatever the other side sends.

use super::message::MAX_LINE;

/// Bytes that have arrived and are not yet a whole line.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    bytes: Vec<u8>,
    /// How far the search for a line feed has come: no byte is looked at twice.
    searched: usize,
}

/// The other side sent a line longer than `MAX_LINE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("QEMU's control socket sent a line longer than {MAX_LINE} bytes")]
pub struct TooLong;

impl Inbox {
    /// Adds what has arrived.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Takes the next whole line, without its line feed; none if it has not fully arrived.
    pub(super) fn line(&mut self) -> Result<Option<Vec<u8>>, TooLong> {
        let Some(end) = self.bytes[self.searched..].iter().position(|&byte| byte == b'\n') else {
            self.searched = self.bytes.len();
            return if self.bytes.len() > MAX_LINE {
                Err(TooLong)
            } else {
                Ok(None)
            };
        };
        let end = self.searched + end;
        self.searched = 0;
        if end > MAX_LINE {
            return Err(TooLong);
        }
        let rest = self.bytes.split_off(end + 1);
        let mut line = std::mem::replace(&mut self.bytes, rest);
        line.pop();
        Ok(Some(line))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn lines_come_out_as_they_went_in(
            lines in prop::collection::vec(prop::collection::vec(any::<u8>().prop_filter("no line feed", |b| *b != b'\n'), 0..40), 0..8),
            cut in 1usize..17,
        ) {
            let stream: Vec<u8> = lines.iter().flat_map(|line| line.iter().copied().chain([b'\n'])).collect();
            let mut inbox = Inbox::default();
            let mut seen = Vec::new();
            for part in stream.chunks(cut) {
                inbox.push(part);
                while let Some(line) = inbox.line().unwrap() {
                    seen.push(line);
                }
            }
            prop_assert_eq!(seen, lines);
        }
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let mut inbox = Inbox::default();
        inbox.push(&vec![b'x'; MAX_LINE]);
        assert_eq!(inbox.line(), Ok(None));
        inbox.push(b"x");
        assert_eq!(inbox.line(), Err(TooLong));
    }
}

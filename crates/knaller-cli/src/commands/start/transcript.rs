//! A console without what only the machine's own end writes on it.
//!
//! Whoever runs a command in a machine wants that command's words: no line of the guest's init that repeats the exit code,
//! none of the kernel that it powers off, and no carriage returns, which a console adds to every line end. Everything
//! else passes at once, whether its line is ended or not.

use guest_protocol::console::EXIT;

/// Takes a console piece by piece.
#[derive(Debug, Default)]
pub(super) struct Transcript {
    /// The beginning of a line that may yet turn out to be one to leave out, or a carriage return that may yet end one.
    held: Vec<u8>,
    /// The current line was let through so far.
    passing: bool,
}

impl Transcript {
    /// What of `bytes`, and of what was held, is to be shown now.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut shown = Vec::with_capacity(bytes.len());
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            self.held.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                self.end_line(&mut shown);
            } else {
                self.pass(&mut shown);
            }
        }
        shown
    }

    /// What was held back and is shown after all: there is no more.
    pub(super) fn finish(mut self) -> Vec<u8> {
        if self.passing || !is_ours(&self.held) {
            std::mem::take(&mut self.held)
        } else {
            Vec::new()
        }
    }

    fn end_line(&mut self, shown: &mut Vec<u8>) {
        if self.passing || !is_ours(&self.held) {
            let text = self.held.strip_suffix(b"\n").unwrap_or(&self.held);
            shown.extend_from_slice(text.strip_suffix(b"\r").unwrap_or(text));
            shown.push(b'\n');
        }
        self.held.clear();
        self.passing = false;
    }

    /// Lets the unended line through, but for a carriage return at its end.
    fn pass(&mut self, shown: &mut Vec<u8>) {
        self.passing = self.passing || !may_become_ours(&self.held);
        if self.passing {
            let returns = usize::from(self.held.ends_with(b"\r"));
            let rest = self.held.split_off(self.held.len() - returns);
            shown.append(&mut self.held);
            self.held = rest;
        }
    }
}

/// `powerunit: exit: …`, or the kernel's `[    5.813546] reboot: …`.
fn is_ours(line: &[u8]) -> bool {
    line.starts_with(EXIT.as_bytes()) || after_time(line).is_some_and(|text| text.starts_with(b"reboot: "))
}

fn may_become_ours(line: &[u8]) -> bool {
    let begins = |text: &[u8], with: &[u8]| text.starts_with(with) || with.starts_with(text);
    let time = line
        .strip_prefix(b"[")
        .is_some_and(|time| time.iter().all(is_of_time));
    begins(line, EXIT.as_bytes()) || time || after_time(line).is_some_and(|text| begins(text, b"reboot: "))
}

/// What follows the kernel's time stamp, which has digits, blanks and a point in brackets.
fn after_time(line: &[u8]) -> Option<&[u8]> {
    let line = line.strip_prefix(b"[")?;
    let end = line.iter().position(|byte| !is_of_time(byte))?;
    line[end..].strip_prefix(b"] ")
}

fn is_of_time(byte: &u8) -> bool {
    byte.is_ascii_digit() || matches!(byte, b' ' | b'.')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(pieces: &[&[u8]]) -> String {
        let mut transcript = Transcript::default();
        let mut shown: Vec<u8> = pieces.iter().flat_map(|piece| transcript.push(piece)).collect();
        shown.extend(transcript.finish());
        String::from_utf8(shown).unwrap()
    }

    #[test]
    fn the_ends_own_lines_are_left_out() {
        let console = b"hello\r\n[1] job\r\npowerunit: exit: {\"code\":5}\r\n[    5.813546] reboot: Restarting system\r\n";
        assert_eq!(shown(&[console]), "hello\n[1] job\n");
    }

    #[test]
    fn an_unended_line_is_shown_at_once() {
        let mut transcript = Transcript::default();
        assert_eq!(transcript.push(b"login: "), b"login: ");
        assert_eq!(transcript.push(b"root\r"), b"root");
        assert_eq!(transcript.push(b"\nPass"), b"\nPass");
        assert_eq!(transcript.push(b"\r50 %"), b"\r50 %");
        assert_eq!(transcript.push(b"\npower"), b"\n");
        assert_eq!(transcript.push(b" plant"), b"power plant");
        assert_eq!(transcript.finish(), b"");
    }

    proptest! {
        #[test]
        fn only_carriage_returns_at_line_ends_are_lost_of_other_texts(
            lines in prop::collection::vec("[a-z \r\\[\\]0-9.:]{0,12}", 0..8),
            cut in 1usize..6,
        ) {
            let console = lines.join("\n");
            prop_assume!(!console.lines().any(|line| is_ours(line.as_bytes())));
            let pieces: Vec<&[u8]> = console.as_bytes().chunks(cut).collect();
            prop_assert_eq!(shown(&pieces), console.replace("\r\n", "\n"));
        }
    }
}

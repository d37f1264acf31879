//! Foreign text in our own messages: short, one line, without control characters.

const SHOWN: usize = 300;

/// The beginning of what somebody said, safe to show.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let start = bytes.get(..4 * SHOWN).unwrap_or(bytes);
    let text = String::from_utf8_lossy(start);
    let words = text.split(|c: char| c.is_whitespace() || c.is_control());
    let line = words
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ");
    if line.chars().count() <= SHOWN {
        return line;
    }
    let cut: String = line.chars().take(SHOWN).collect();
    format!("{cut}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_short_line() {
        assert_eq!(shown(b" a\n\x1b[31mb\0c\xff "), "a [31mb c\u{fffd}");
        assert_eq!(shown(&vec![b'x'; 10_000]).chars().count(), SHOWN + 1);
    }
}

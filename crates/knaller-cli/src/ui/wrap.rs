//! Lines broken between words, so that a terminal breaks none within one.
//!
//! What stands between backticks is for copying and stays whole, however long it is.

use anstream::adapter::strip_str;

/// `text` with every line that is wider than `width` broken at blanks; what follows a break begins as its
/// line does: with the same blanks and bars. Styles take no room.
pub(crate) fn wrap(text: &str, width: u16) -> String {
    text.split('\n')
        .map(|line| wrap_line(line, usize::from(width)))
        .collect::<Vec<_>>()
        .join("\n")
}

fn wrap_line(line: &str, width: usize) -> String {
    if columns(line) <= width {
        return line.to_owned();
    }
    let body = line.trim_start_matches([' ', '|']);
    let indent = &line[..line.len() - body.len()];
    let mut wrapped = indent.to_owned();
    let mut used = indent.len();
    let mut first = true;
    for word in words(body) {
        let wide = columns(word);
        if !first && used + 1 + wide > width {
            wrapped.push('\n');
            wrapped.push_str(indent);
            used = indent.len();
        } else if !first {
            wrapped.push(' ');
            used += 1;
        }
        wrapped.push_str(word);
        used += wide;
        first = false;
    }
    wrapped
}

/// The words of `text`: split at blanks that are not between backticks.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |c: char| {
        quoted ^= c == '`';
        c == ' ' && !quoted
    })
}

fn columns(text: &str) -> usize {
    strip_str(text).to_string().chars().count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_break_between_words_and_keep_their_indent() {
        let text = "error: something went wrong with web\n  because: it is a long story\nshort";
        insta::assert_snapshot!(wrap(text, 20), @"
        error: something
        went wrong with web
          because: it is a
          long story
        short
        ");
    }

    #[test]
    fn commands_stay_whole() {
        assert_eq!(
            wrap("see `knaller doctor --fix` now", 12),
            "see\n`knaller doctor --fix`\nnow"
        );
    }

    #[test]
    fn styles_take_no_room() {
        let text = "\u{1b}[1mhint:\u{1b}[0m one two";
        assert_eq!(wrap(text, 13), text);
        assert_eq!(wrap(text, 12), "\u{1b}[1mhint:\u{1b}[0m one\ntwo");
    }

    proptest! {
        #[test]
        fn nothing_but_blanks_becomes_line_ends(text in "[a-z` \n]{0,60}", width in 1u16..30) {
            let wrapped = wrap(&text, width);
            let letters = |text: &str| text.split_whitespace().collect::<String>();
            prop_assert_eq!(letters(&wrapped), letters(&text));
        }
    }
}

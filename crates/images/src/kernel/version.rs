//! Kernel releases: found in an image, and put in order.

use std::cmp::Ordering;

/// Starts the text that every kernel keeps of itself (`init/version.c`).
const BANNER: &[u8] = b"Linux version ";

/// The longest release: `__NEW_UTS_LEN` of the kernel.
const MAX: usize = 64;

/// The release (`uname -r`) in an unpacked kernel.
#[must_use]
pub(crate) fn find_version(image: &[u8]) -> Option<String> {
    memchr::memmem::find_iter(image, BANNER).find_map(|at| leading_version(image.get(at + BANNER.len()..)?))
}

/// The release that `bytes` begin with, ended by a blank.
pub(super) fn leading_version(bytes: &[u8]) -> Option<String> {
    let bytes = bytes.get(..bytes.len().min(MAX + 1))?;
    let end = bytes.iter().position(|byte| *byte == b' ')?;
    let text = std::str::from_utf8(bytes.get(..end)?).ok()?;
    is_version(text).then(|| text.to_owned())
}

/// Whether `text` can be a kernel's release: a digit, then letters, digits and `.+~_-`, 64 at most. Such a text is safe
/// as a file name.
#[must_use]
pub fn is_version(text: &str) -> bool {
    let fit = |byte: u8| byte.is_ascii_alphanumeric() || b".+~_-".contains(&byte);
    text.len() <= MAX && text.starts_with(|c: char| c.is_ascii_digit()) && text.bytes().all(fit)
}

/// Orders releases as a person would: runs of digits by their value, everything else by its characters; a release is
/// newer than its own candidates (`6.1-rc3` before `6.1`).
#[must_use]
pub fn compare_versions(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (parts(a), parts(b));
    loop {
        match (a.next(), b.next()) {
            (None, None) => return Ordering::Equal,
            (Some(Part::Text(text)), None) if text.starts_with("-rc") => return Ordering::Less,
            (None, Some(Part::Text(text))) if text.starts_with("-rc") => return Ordering::Greater,
            (Some(_), None) => return Ordering::Greater,
            (None, Some(_)) => return Ordering::Less,
            (Some(x), Some(y)) if x == y => {}
            (Some(x), Some(y)) => return x.cmp(&y),
        }
    }
}

/// Ordered as listed: text before a number.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Part<'a> {
    Text(&'a str),
    /// Without leading zeros: longer is larger, then digit by digit.
    Number(usize, &'a str),
}

fn parts(text: &str) -> impl Iterator<Item = Part<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let digits = first.is_ascii_digit();
        let end = rest
            .find(|c: char| c.is_ascii_digit() != digits)
            .unwrap_or(rest.len());
        let (part, tail) = rest.split_at(end);
        rest = tail;
        Some(if digits {
            let number = part.trim_start_matches('0');
            Part::Number(number.len(), number)
        } else {
            Part::Text(part)
        })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn releases_are_ordered_by_number() {
        let ordered = [
            "5.10.0-9-amd64",
            "5.10.0-30-amd64",
            "6.1.0-rc2",
            "6.1.0-rc10",
            "6.1.0",
            "6.1.0-9-cloud-amd64",
            "6.1.0-56-cloud-amd64",
            "6.12.3",
            "10.0",
        ];
        for pair in ordered.windows(2) {
            assert_eq!(compare_versions(pair[0], pair[1]), Ordering::Less, "{pair:?}");
            assert_eq!(compare_versions(pair[1], pair[0]), Ordering::Greater, "{pair:?}");
        }
    }

    proptest! {
        #[test]
        fn the_order_is_total(a in "[0-9a-c.-]{0,8}", b in "[0-9a-c.-]{0,8}", c in "[0-9a-c.-]{0,8}") {
            prop_assert_eq!(compare_versions(&a, &b), compare_versions(&b, &a).reverse());
            if compare_versions(&a, &b).is_le() && compare_versions(&b, &c).is_le() {
                prop_assert!(compare_versions(&a, &c).is_le(), "{} {} {}", a, b, c);
            }
        }
    }

    #[test]
    fn the_banner_is_found_and_its_format_is_not() {
        let image = b"..Linux version %s (%s)\0..Linux version 6.1.0-56-cloud-amd64 (x@y) (gcc)\0";
        assert_eq!(find_version(image).as_deref(), Some("6.1.0-56-cloud-amd64"));
        assert_eq!(find_version(b"Linux version ../../etc (x)"), None);
        assert_eq!(find_version(b"Linux version 6.1"), None);
    }
}

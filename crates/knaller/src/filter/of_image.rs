//! Which image is meant by a word of a filter.

use images::oci::Reference;

/// The fewest digits of an id that mean one.
const FEWEST: usize = 6;

/// Whether the image that was asked for as `name`, and is `id`, is `wanted`: by its name, whatever its tag where `wanted` has
/// none, or by its id.
pub(super) fn is_meant(name: &str, id: Option<&str>, wanted: &str) -> bool {
    if name == wanted || id.is_some_and(|id| begins(id, wanted)) {
        return true;
    }
    let (Ok(name), Ok(reference)) = (name.parse::<Reference>(), wanted.parse::<Reference>()) else {
        return false;
    };
    let same_name = (name.registry(), name.repository()) == (reference.registry(), reference.repository());
    let same_version = match reference.digest() {
        Some(digest) => name.digest() == Some(digest) || id == Some(digest.to_string().as_str()),
        None => !has_tag(wanted) || name.tag() == reference.tag(),
    };
    same_name && same_version
}

/// Whether an id begins so, whether its algorithm is said or not.
pub(super) fn begins(id: &str, wanted: &str) -> bool {
    let digits = |text: &str| {
        text.rsplit_once(':')
            .map_or(text.len(), |(_, digits)| digits.len())
    };
    let bare = id.split_once(':').map_or(id, |(_, digits)| digits);
    digits(wanted) >= FEWEST && (id.starts_with(wanted) || bare.starts_with(wanted))
}

/// Whether an image's name is like this pattern, as a whole, or without what is mostly left out: the tag, or Docker's registry.
pub(super) fn is_like(name: &Reference, pattern: &str) -> bool {
    let texts = [name.familiar(), name.to_string()];
    texts.iter().any(|text| {
        let without = text.split_once('@').map_or(text.as_str(), |(name, _)| name);
        let without = if has_tag(without) {
            without.rsplit_once(':').map_or(without, |(name, _)| name)
        } else {
            without
        };
        fits(pattern.as_bytes(), text.as_bytes()) || fits(pattern.as_bytes(), without.as_bytes())
    })
}

/// A colon before the last slash is that of a registry's port.
fn has_tag(text: &str) -> bool {
    let name = text.split_once('@').map_or(text, |(name, _)| name);
    name.rsplit('/').next().is_some_and(|last| last.contains(':'))
}

/// `*` is any number of characters but `/`, `?` is one.
fn fits(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut seen) = (0, 0);
    // Where to go on if what came after the last star does not fit.
    let mut back = None;
    loop {
        match (pattern.get(at), text.get(seen)) {
            (Some(b'*'), _) => {
                back = Some((at, seen));
                at += 1;
            }
            (None, None) => return true,
            (Some(b'?'), Some(byte)) if *byte != b'/' => (at, seen) = (at + 1, seen + 1),
            (Some(wanted), Some(byte)) if wanted == byte => (at, seen) = (at + 1, seen + 1),
            _ => match back {
                Some((star, from)) if text.get(from).is_some_and(|byte| *byte != b'/') => {
                    back = Some((star, from + 1));
                    (at, seen) = (star + 1, from + 1);
                }
                _ => return false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_of_an_image_by_name_tag_digest_or_id() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        let other = format!("sha256:{}", "cd".repeat(32));
        let is_of = |name: &str, wanted: &str| is_meant(name, Some(&digest), wanted);
        for wanted in [
            "alpine",
            "alpine:3.20",
            "docker.io/library/alpine",
            "library/alpine:3.20",
            &digest,
            &digest[..14],
            "ababab",
            &format!("alpine@{digest}"),
        ] {
            assert!(is_of("alpine:3.20", wanted), "{wanted}");
        }
        for wanted in [
            "alpin",
            "alpine:3.2",
            "alpine:latest",
            "ghcr.io/library/alpine",
            "debian",
            "abab",
            "a",
            &other,
            &format!("alpine@{other}"),
            &format!("debian@{digest}"),
        ] {
            assert!(!is_of("alpine:3.20", wanted), "{wanted}");
        }
        // Without a tag it is the latest.
        assert!(is_of("alpine", "alpine:latest"));
        assert!(is_of("localhost:5000/web:1", "localhost:5000/web"));
        // An index has another digest than the manifest that was taken of it.
        assert!(is_of(&format!("alpine@{other}"), &format!("alpine@{other}")));
    }

    #[test]
    fn a_pattern_is_of_the_name_with_or_without_its_tag() {
        let like = |name: &str, pattern: &str| is_like(&name.parse().unwrap(), pattern);
        for pattern in [
            "alpine",
            "alp*",
            "alpine:*",
            "*:3.2?",
            "*pine:3.*",
            "docker.io/library/alpine",
            "*/*/alpine:3.20",
        ] {
            assert!(like("alpine:3.20", pattern), "{pattern}");
        }
        for pattern in ["pine", "alpine:3.2", "*/alpine", "", "alpine:3.20?", "a?pin"] {
            assert!(!like("alpine:3.20", pattern), "{pattern}");
        }
        assert!(like("localhost:5000/team/web:1", "localhost:5000/*/web"));
        assert!(!like("localhost:5000/team/web:1", "localhost*"));
    }
}

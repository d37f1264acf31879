//! What images are called: `debian`, `ghcr.io/user/app:1.2`, `localhost:5000/x@sha256:…`.
//!
//! The invariant: a [`Reference`] is whole, as Docker completes short names, so two that mean the same image are equal, and
//! what it is made of can be put into a registry's URL as it stands. Grammar: the distribution project's
//! `reference/reference.go`; completion: its `normalize.go`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::digest::{Digest, DigestError};

const DEFAULT_REGISTRY: &str = "docker.io";
/// Where Docker's images without a user's name lie.
const DEFAULT_USER: &str = "library/";
const DEFAULT_TAG: &str = "latest";

/// Of a repository's name (`reference.go`, `RepositoryNameTotalLengthMax`), and of a registry's (RFC 1035).
const MAX_NAME: usize = 255;
const MAX_TAG: usize = 128;
/// More than the longest name, tag and digest together.
const MAX_TEXT: usize = 1024;

/// Why a text is no reference to an image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    #[error("the image's name is empty: give one such as debian:12")]
    Empty,
    #[error("the image's name is longer than {MAX_TEXT} bytes")]
    TooLong,
    #[error(
        "{text:?} is no image's name: {} must be words of lower-case letters and digits, joined by '.', '_', '__' or dashes, at most {MAX_NAME} bytes in all{}", part_of(.text, .part), lower(.text)
    )]
    Repository { text: String, part: String },
    #[error(
        "{text:?} is no image's name: {part:?} is no registry's name, which reads as a host name and perhaps a port: registry.example.org:5000"
    )]
    Registry { text: String, part: String },
    #[error(
        "{text:?} is no image's name: the tag {part:?} must be at most {MAX_TAG} letters, digits, '_', '.' and '-', and not begin with '.' or '-'"
    )]
    Tag { text: String, part: String },
    #[error("{text:?} is no image's name: what follows '@' is no digest")]
    Digest { text: String, source: DigestError },
    #[error("{0:?} is an image's id and not its name")]
    Id(String),
    #[error("{0:?} begins as an address does: give the image's name alone, without {1:?}")]
    Scheme(String, &'static str),
}

/// A part that is the whole is not said again.
fn part_of(text: &str, part: &str) -> String {
    if text == part {
        "it".to_owned()
    } else {
        format!("{part:?}")
    }
}

fn lower(text: &str) -> String {
    let lower = text.to_lowercase();
    if lower != text && lower.parse::<Reference>().is_ok() {
        format!(". Did you mean {lower:?}?")
    } else {
        String::new()
    }
}

/// An image's whole name. With a digest, that decides, and the tag is only what it was called.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// `docker.io`, `localhost:5000`. Not always the host to connect to: Docker's own registry answers elsewhere.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The name within the registry: `library/debian`.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    #[must_use]
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The name that it is stored under: with a digest, that and no tag, since the tag may mean something else by now.
    #[must_use]
    pub fn stored(&self) -> Self {
        let tag = self.tag.clone().filter(|_| self.digest.is_none());
        Self { tag, ..self.clone() }
    }

    /// Exactly this manifest of the same repository.
    #[must_use]
    pub fn at(&self, digest: Digest) -> Self {
        Self {
            digest: Some(digest),
            ..self.clone()
        }
    }

    /// As people write it, without what Docker completes: `debian:12`. It reads back as this reference.
    #[must_use]
    pub fn familiar(&self) -> String {
        let whole = self.to_string();
        let Some(short) = whole
            .strip_prefix(DEFAULT_REGISTRY)
            .and_then(|rest| rest.strip_prefix('/'))
        else {
            return whole;
        };
        let shorter = short.strip_prefix(DEFAULT_USER).unwrap_or(short);
        // `docker.io/library/localhost/x`, say, needs its prefixes.
        [shorter, short]
            .into_iter()
            .find(|text| text.parse().as_ref() == Ok(self))
            .map_or_else(|| whole.clone(), str::to_owned)
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if text.is_empty() {
            return Err(ReferenceError::Empty);
        }
        if text.len() > MAX_TEXT {
            return Err(ReferenceError::TooLong);
        }
        for scheme in ["docker://", "https://", "http://", "oci://"] {
            if text.starts_with(scheme) {
                return Err(ReferenceError::Scheme(text.to_owned(), scheme));
            }
        }
        if is_id(text) {
            return Err(ReferenceError::Id(text.to_owned()));
        }
        let owned = || text.to_owned();
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                let digest = digest.parse().map_err(|source| ReferenceError::Digest {
                    text: owned(),
                    source,
                })?;
                (rest, Some(digest))
            }
            None => (text, None),
        };
        let (registry, rest) = split_registry(rest);
        let (name, tag) = match rest.split_once(':') {
            Some((name, tag)) => (name, Some(tag)),
            None => (rest, None),
        };
        if !is_registry(registry) {
            return Err(ReferenceError::Registry {
                text: owned(),
                part: registry.to_owned(),
            });
        }
        let needs_user = registry == DEFAULT_REGISTRY && !name.contains('/');
        let repository = if needs_user {
            format!("{DEFAULT_USER}{name}")
        } else {
            name.to_owned()
        };
        if !is_repository(&repository) {
            return Err(ReferenceError::Repository {
                text: owned(),
                part: name.to_owned(),
            });
        }
        if let Some(part) = tag.filter(|tag| !is_tag(tag)) {
            return Err(ReferenceError::Tag {
                text: owned(),
                part: part.to_owned(),
            });
        }
        let default = digest.is_none().then_some(DEFAULT_TAG);
        Ok(Self {
            registry: registry.to_owned(),
            repository,
            tag: tag.or(default).map(str::to_owned),
            digest,
        })
    }
}

/// The registry and the rest. The first part is a registry's name if it looks like no user's: with a dot, a port or capitals,
/// or `localhost`.
fn split_registry(text: &str) -> (&str, &str) {
    let looks_so = |part: &str| {
        part == "localhost" || part.contains(['.', ':']) || part.contains(|c: char| c.is_ascii_uppercase())
    };
    match text.split_once('/').filter(|(first, _)| looks_so(first)) {
        Some(("index.docker.io", rest)) => (DEFAULT_REGISTRY, rest),
        Some(split) => split,
        None => (DEFAULT_REGISTRY, text),
    }
}

/// 64 hexadecimal digits: Docker takes no such name, and it means an image's id.
fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_registry(text: &str) -> bool {
    let is_port = |port: &str| port.parse::<u16>().is_ok() && port.bytes().all(|byte| byte.is_ascii_digit());
    let host = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) => {
            return address.parse::<std::net::Ipv6Addr>().is_ok()
                && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port));
        }
        None => match text.split_once(':') {
            Some((host, port)) if is_port(port) => host,
            Some(_) => return false,
            None => text,
        },
    };
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    host.len() <= MAX_NAME && host.split('.').all(is_label)
}

fn is_repository(text: &str) -> bool {
    text.len() <= MAX_NAME && text.split('/').all(is_component)
}

/// Runs of lower-case letters and digits, joined by one dot, one or two underscores, or any number of dashes.
fn is_component(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    let ends_in_words = |byte: Option<&u8>| byte.is_some_and(|byte| is_word(*byte));
    ends_in_words(bytes.first())
        && ends_in_words(bytes.last())
        && bytes.split(|byte| is_word(*byte)).all(|joint| match joint {
            [] | b"." | b"_" | b"__" => true,
            dashes => dashes.iter().all(|byte| *byte == b'-'),
        })
}

fn is_tag(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.len() <= MAX_TAG
        && text.bytes().next().is_some_and(is_word)
        && text
            .bytes()
            .all(|byte| is_word(byte) || byte == b'.' || byte == b'-')
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Reference, ReferenceError> {
        text.parse()
    }

    const DIGEST: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn short_names_are_completed_as_docker_does() {
        for (text, whole, familiar) in [
            ("debian", "docker.io/library/debian:latest", "debian:latest"),
            ("debian:12", "docker.io/library/debian:12", "debian:12"),
            ("user/app", "docker.io/user/app:latest", "user/app:latest"),
            ("docker.io/debian:12", "docker.io/library/debian:12", "debian:12"),
            (
                "index.docker.io/library/debian",
                "docker.io/library/debian:latest",
                "debian:latest",
            ),
            ("localhost/x", "localhost/x:latest", "localhost/x:latest"),
            ("localhost:5000/x:1", "localhost:5000/x:1", "localhost:5000/x:1"),
            ("Registry/x", "Registry/x:latest", "Registry/x:latest"),
            (
                "[::1]:5000/a/b/c:v1.0-rc_1",
                "[::1]:5000/a/b/c:v1.0-rc_1",
                "[::1]:5000/a/b/c:v1.0-rc_1",
            ),
            (
                "ghcr.io/a__b/c--d.e",
                "ghcr.io/a__b/c--d.e:latest",
                "ghcr.io/a__b/c--d.e:latest",
            ),
        ] {
            let reference = parse(text).unwrap();
            assert_eq!(reference.to_string(), whole);
            assert_eq!(reference.familiar(), familiar);
        }
        let library = parse("docker.io/library/localhost/x").unwrap();
        assert_eq!(library.familiar(), "library/localhost/x:latest");
    }

    #[test]
    fn a_digest_needs_no_tag_and_may_have_one() {
        let bare = parse(&format!("debian@{DIGEST}")).unwrap();
        assert_eq!(bare.tag(), None);
        assert_eq!(bare.to_string(), format!("docker.io/library/debian@{DIGEST}"));
        let both = parse(&format!("debian:12@{DIGEST}")).unwrap();
        assert_eq!(both.tag(), Some("12"));
        assert_eq!(both.digest(), bare.digest());
        assert_eq!(both.stored(), bare);
        let tagged = parse("debian:12").unwrap();
        assert_eq!(tagged.stored(), tagged);
        assert_eq!(tagged.at(both.digest().unwrap().clone()), both);
    }

    #[test]
    fn what_is_no_reference() {
        use ReferenceError as E;
        assert_eq!(parse(""), Err(E::Empty));
        assert_eq!(parse(&"a".repeat(2000)), Err(E::TooLong));
        assert!(matches!(parse(&DIGEST[7..]), Err(E::Id(_))));
        assert!(matches!(parse("https://docker.io/debian"), Err(E::Scheme(..))));
        assert!(matches!(parse("debian@sha256:12"), Err(E::Digest { .. })));
        for text in ["debian:", "debian:-1", "debian:a b", "debian:1:2", "x:é"] {
            assert!(matches!(parse(text), Err(E::Tag { .. })), "{text}");
        }
        for text in [
            "a..b/x",
            "-a.b/x",
            "a.b:port/x",
            "a.b:99999/x",
            "a.b:+1/x",
            "[::1/x",
            "a.é/x",
            "a.b:/x",
        ] {
            assert!(matches!(parse(text), Err(E::Registry { .. })), "{text}");
        }
        let long = "a".repeat(250);
        for text in [
            "a/", "/a", "a//b", "a/../b", "a._b", "a-", "_a", "a___b", "a..b", "é", " ", "a b", ":tag", "..",
            &long,
        ] {
            assert!(matches!(parse(text), Err(E::Repository { .. })), "{text}");
        }
        let hint = parse("Debian").unwrap_err().to_string();
        assert!(hint.ends_with("Did you mean \"debian\"?"), "{hint}");
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_so_and_read_back(
            text in "(([a-zA-Z0-9.-]{1,12}|localhost|docker\\.io)(:[0-9]{1,5})?/)?[a-z0-9._/-]{1,20}(:[A-Za-z0-9_.-]{1,12})?"
        ) {
            if let Ok(reference) = parse(&text) {
                prop_assert_eq!(parse(&reference.to_string()), Ok(reference.clone()));
                prop_assert_eq!(parse(&reference.familiar()), Ok(reference.clone()));
                prop_assert!(!reference.repository().contains("..") && !reference.repository().starts_with('/'));
            }
        }

        #[test]
        fn no_text_is_too_strange(text in any::<String>()) {
            if let Ok(reference) = parse(&text) {
                prop_assert_eq!(parse(&reference.to_string()), Ok(reference));
            }
        }
    }
}

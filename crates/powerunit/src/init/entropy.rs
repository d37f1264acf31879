//! Fresh randomness from the host, credited before anything in the guest asks for random bytes: a guest restored
//! from a snapshot would otherwise share its generator's state with every other guest made from it.

use rustix::fs::{Mode, OFlags};

use crate::sys;

/// Why the host's entropy was not credited.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(
        "the config's entropy is not hexadecimal, two digits a byte, at most {} bytes",
        sys::MAX_ENTROPY
    )]
    NotHex,
    #[error("cannot open /dev/urandom")]
    Open(#[source] std::io::Error),
    #[error("the kernel did not take the entropy")]
    Credit(#[source] std::io::Error),
}

/// Credits the bytes that `hex` spells. None is fine.
pub(crate) fn credit(hex: &str) -> Result<(), Error> {
    let bytes = decode(hex).ok_or(Error::NotHex)?;
    if bytes.is_empty() {
        return Ok(());
    }
    let random = rustix::fs::open("/dev/urandom", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| Error::Open(e.into()))?;
    sys::add_entropy(random, &bytes).map_err(Error::Credit)
}

fn decode(hex: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
    if !rest.is_empty() || pairs.len() > sys::MAX_ENTROPY {
        return None;
    }
    pairs
        .iter()
        .map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?))
        .collect()
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_byte_string_survives_its_spelling(bytes in prop::collection::vec(any::<u8>(), 0..=512)) {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            prop_assert_eq!(decode(&hex), Some(bytes.clone()));
            prop_assert_eq!(decode(&hex.to_uppercase()), Some(bytes));
        }

        #[test]
        fn what_is_not_hexadecimal_is_refused(text in "[0-9a-f]{0,6}[^0-9a-fA-F][0-9a-f]{0,6}") {
            prop_assert_eq!(decode(&text), None);
        }
    }

    #[test]
    fn odd_digits_and_too_many_are_refused() {
        assert_eq!(decode("abc"), None);
        assert_eq!(decode(&"00".repeat(513)), None);
    }
}

//! Numbers as headers and pax records write them.

use super::Time;

/// A header's number: octal digits among blanks and NULs, or GNU's base 256, which the first byte's top bit announces
/// and which may be negative (GNU tar manual, "Basic Tar Format"). An empty field is 0.
pub(super) fn numeric(field: &[u8]) -> Option<i64> {
    match field.first() {
        Some(first) if first & 0x80 != 0 => base_256(field),
        _ => octal(field),
    }
}

pub(super) fn octal(field: &[u8]) -> Option<i64> {
    let blank = |byte: &u8| matches!(byte, b' ' | 0);
    let start = field.iter().position(|byte| !blank(byte)).unwrap_or(field.len());
    let digits = field.get(start..)?;
    let end = digits.iter().position(|byte| *byte == 0).unwrap_or(digits.len());
    let digits = digits.get(..end)?.trim_ascii_end();
    digits.iter().try_fold(0i64, |number, digit| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 8)?;
        number.checked_mul(8)?.checked_add(digit.into())
    })
}

/// Two's complement, most significant byte first; the top bit of the first byte is not part of it.
fn base_256(field: &[u8]) -> Option<i64> {
    let (first, rest) = field.split_first()?;
    let negative = first & 0x40 != 0;
    let start = i64::from(first & 0x3f) - if negative { 0x40 } else { 0 };
    rest.iter().try_fold(start, |number, byte| {
        number.checked_mul(256)?.checked_add((*byte).into())
    })
}

/// A pax record's number: decimal digits, with a minus if `i64` is asked for a negative one.
pub(super) fn decimal(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0i64, |number, digit| {
        let digit = i64::from(digit.checked_sub(b'0').filter(|digit| *digit < 10)?);
        number
            .checked_mul(10)?
            .checked_add(if negative { -digit } else { digit })
    })
}

/// A size or a count.
pub(super) fn natural(text: &[u8]) -> Option<u64> {
    decimal(text).and_then(|number| u64::try_from(number).ok())
}

/// A pax record's time: decimal seconds with a fraction of any length, of which nanoseconds are kept.
pub(super) fn time(text: &[u8]) -> Option<Time> {
    let mut parts = text.splitn(2, |byte| *byte == b'.');
    let whole = parts.next()?;
    let fraction = parts.next().unwrap_or_default();
    let negative = whole.first() == Some(&b'-');
    let seconds = decimal(whole)?;
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = fraction.iter().chain(std::iter::repeat(&b'0')).take(9);
    let nanoseconds = digits.fold(0, |number, digit| number * 10 + u32::from(digit - b'0'));
    Some(if negative && nanoseconds > 0 {
        Time {
            seconds: seconds.checked_sub(1)?,
            nanoseconds: 1_000_000_000 - nanoseconds,
        }
    } else {
        Time { seconds, nanoseconds }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn octal_numbers_may_be_padded_in_every_way() {
        for text in ["644", "0000644", " 644 ", "000644 \0", "\0\x00644\0", "644\0junk"] {
            assert_eq!(numeric(text.as_bytes()), Some(0o644), "{text:?}");
        }
        assert_eq!(numeric(b"\0\0\0\0"), Some(0));
        assert_eq!(numeric(b"        "), Some(0));
        for text in ["648", "-1", "6 44", "0x10", "7777777777777777777777777"] {
            assert_eq!(numeric(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn base_256_is_signed_and_never_wraps() {
        assert_eq!(numeric(b"\x80\0\0\0\0\0\0\0\0\0\x01\0"), Some(256));
        assert_eq!(
            numeric(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe"),
            Some(-2)
        );
        assert_eq!(
            numeric(b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff"),
            Some(i64::MAX)
        );
        assert_eq!(numeric(b"\x80\0\0\0\x80\0\0\0\0\0\0\0"), None);
        assert_eq!(numeric(b"\xbf\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), None);
        assert_eq!(numeric(b"\xff\xff\xff\xff\x80\0\0\0\0\0\0\0"), Some(i64::MIN));
        assert_eq!(numeric(b"\xff\xff\xff\xff\x7f\xff\xff\xff\xff\xff\xff\xff"), None);
    }

    #[test]
    fn times_before_1970_are_rounded_down() {
        let at = |seconds, nanoseconds| Some(Time { seconds, nanoseconds });
        assert_eq!(time(b"1.5"), at(1, 500_000_000));
        assert_eq!(time(b"-1.5"), at(-2, 500_000_000));
        assert_eq!(time(b"-0.000000001"), at(-1, 999_999_999));
        assert_eq!(time(b"-3"), at(-3, 0));
        assert_eq!(time(b"7."), at(7, 0));
        assert_eq!(time(b"1.12345678999"), at(1, 123_456_789));
        for text in ["", ".5", "-", "1.-5", "1.5.5", "+1", "1e3", "9223372036854775808"] {
            assert_eq!(time(text.as_bytes()), None, "{text}");
        }
        assert_eq!(time(b"-9223372036854775808.5"), None);
    }

    proptest! {
        #[test]
        fn decimals_are_read_as_they_were_written(number in any::<i64>()) {
            prop_assert_eq!(decimal(number.to_string().as_bytes()), Some(number));
        }

        #[test]
        fn base_256_is_read_as_it_was_written(number in any::<i64>()) {
            let mut field = [if number < 0 { 0xff } else { 0 }; 12];
            field[4..].copy_from_slice(&number.to_be_bytes());
            field[0] |= 0x80;
            prop_assert_eq!(numeric(&field), Some(number));
        }

        #[test]
        fn any_field_is_read_without_a_panic(field in proptest::collection::vec(any::<u8>(), 0..14)) {
            let _ = (numeric(&field), decimal(&field), time(&field));
        }
    }
}

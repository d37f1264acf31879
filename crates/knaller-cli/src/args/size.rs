//! Memory sizes as people write them: `512`, `512M`, `512MiB`, `1G`, `1.5G`.

/// The MiB that `text` stands for; a bare number is MiB already. Units are powers of 1024, in either case.
pub(crate) fn mebibytes(text: &str) -> Result<u32, String> {
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim().to_ascii_lowercase();
    let factor = match unit.as_str() {
        "" | "m" | "mb" | "mib" => 1,
        "g" | "gb" | "gib" => 1024,
        "t" | "tb" | "tib" => 1024 * 1024,
        _ => {
            return Err(format!(
                "{unit:?} is not a unit of memory; write 512, 512M or 1.5G"
            ));
        }
    };
    let thousandths = thousandths(number).ok_or("write a size as 512, 512M or 1.5G")?;
    let mebibytes = thousandths.checked_mul(factor).map(|size| size / 1000);
    match mebibytes.and_then(|size| u32::try_from(size).ok()) {
        None => Err("that is more memory than any machine has".to_owned()),
        Some(0) => Err("that is less than 1 MiB".to_owned()),
        Some(size) => Ok(size),
    }
}

/// A decimal number times 1,000, what is smaller cut off.
pub(super) fn thousandths(number: &str) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.contains('.') {
        return None;
    }
    let mut digits: String = fraction.chars().take(3).collect();
    while digits.len() < 3 {
        digits.push('0');
    }
    whole
        .parse::<u64>()
        .ok()?
        .checked_mul(1000)?
        .checked_add(digits.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn units() {
        let sizes = [
            ("512", 512),
            ("512M", 512),
            ("512MiB", 512),
            ("1G", 1024),
            ("1 gb", 1024),
            ("1.5G", 1536),
            ("0.25g", 256),
            ("1T", 1_048_576),
        ];
        for (text, size) in sizes {
            assert_eq!(mebibytes(text), Ok(size), "{text}");
        }
    }

    #[test]
    fn what_is_no_size() {
        for text in [
            "",
            "M",
            "512K",
            "-1",
            "1.2.3",
            ".5G",
            "0",
            "0.5",
            "99999999T",
            "99999999999999999999",
        ] {
            assert!(mebibytes(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn foreign_text_never_panics(text in "\\PC{0,30}") {
            let _ = mebibytes(&text);
        }

        #[test]
        fn a_bare_number_is_itself(size in 1u32..) {
            prop_assert_eq!(mebibytes(&size.to_string()), Ok(size));
        }
    }
}

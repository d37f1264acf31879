//! Rates as people write them: `20`, `0.5`, and `20:100` with what may pass at once.

use knaller::Rate;

use super::size::thousandths;

/// Megabytes a second: `20`, and `20:100` for 100 MB at once.
pub(crate) fn megabytes(text: &str) -> Result<Rate, String> {
    rate(text, 1_000_000, "20 or 20:100, in MB")
}

/// Megabits a second.
pub(crate) fn megabits(text: &str) -> Result<Rate, String> {
    rate(text, 1_000_000 / 8, "10 or 10:80, in Mbit")
}

/// Operations a second.
pub(crate) fn operations(text: &str) -> Result<Rate, String> {
    rate(text, 1, "500 or 500:2000")
}

fn rate(text: &str, unit: u64, example: &str) -> Result<Rate, String> {
    let wrong = || format!("write it as {example}");
    let number = |text: &str| -> Option<u64> {
        let amount = thousandths(text.trim())?.checked_mul(unit)? / 1_000;
        (amount > 0).then_some(amount)
    };
    let (rate, burst) = match text.split_once(':') {
        None => (text, None),
        Some((rate, burst)) => (rate, Some(number(burst).ok_or_else(wrong)?)),
    };
    let rate = Rate::new(number(rate).ok_or_else(wrong)?);
    Ok(burst.map_or(rate, |burst| rate.burst(burst)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn units_and_bursts() {
        assert_eq!(megabytes("20"), Ok(Rate::new(20_000_000)));
        assert_eq!(megabytes("0.5:2"), Ok(Rate::new(500_000).burst(2_000_000)));
        assert_eq!(megabits("10"), Ok(Rate::new(1_250_000)));
        assert_eq!(operations("500:2000"), Ok(Rate::new(500).burst(2_000)));
    }

    #[test]
    fn what_is_no_rate() {
        for text in [
            "",
            "0",
            "-1",
            "5:",
            ":5",
            "5:0",
            "5M",
            "1:2:3",
            "0.0001",
            "99999999999999999999",
        ] {
            assert!(operations(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn foreign_text_never_panics(text in "\\PC{0,30}") {
            let _ = megabytes(&text);
        }
    }
}

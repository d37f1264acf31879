//! Numbers as a person reads them: short, with their unit, never more exact than is of use.

use std::time::Duration;

use jiff::Timestamp;

/// An age: `5s`, `3m`, `2h`, `5d`.
pub(crate) fn age(age: Duration) -> String {
    let seconds = age.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// A span that somebody waited for: `0 ms`, `830 ms`, `2.31 s`, `94 s`.
pub(crate) fn span(span: Duration) -> String {
    let milliseconds = span.as_millis();
    match milliseconds {
        0..1_000 => format!("{milliseconds} ms"),
        1_000..60_000 => format!("{:.2} s", span.as_secs_f64()),
        _ => format!("{:.0} s", span.as_secs_f64()),
    }
}

/// A size in bytes, in the largest binary unit that leaves a figure of at least 1: `512 B`, `1.5 GiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut divisor = 1024u64;
    let mut unit = UNITS[0];
    for larger in &UNITS[1..] {
        if bytes / divisor < 1024 {
            break;
        }
        divisor *= 1024;
        unit = larger;
    }
    let tenths = u128::from(bytes) * 10 / u128::from(divisor);
    match tenths % 10 {
        0 => format!("{} {unit}", tenths / 10),
        tenth => format!("{}.{tenth} {unit}", tenths / 10),
    }
}

/// A size in MiB, as [`bytes`].
pub(crate) fn mebibytes(mebibytes: u64) -> String {
    bytes(mebibytes.saturating_mul(1024 * 1024))
}

/// A moment, to the second.
pub(crate) fn moment(moment: Timestamp) -> String {
    moment.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_the_seeds() {
        let seconds = [
            (5, "5s"),
            (59, "59s"),
            (180, "3m"),
            (82_800, "23h"),
            (86_400, "1d"),
            (10_368_000, "120d"),
        ];
        for (seconds, text) in seconds {
            assert_eq!(age(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn spans_change_unit_with_their_length() {
        let milliseconds = [(0, "0 ms"), (999, "999 ms"), (2_314, "2.31 s"), (93_600, "94 s")];
        for (milliseconds, text) in milliseconds {
            assert_eq!(span(Duration::from_millis(milliseconds)), text);
        }
    }

    #[test]
    fn sizes_change_unit_at_powers_of_1024() {
        let sizes = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (1 << 30, "1 GiB"),
        ];
        for (size, text) in sizes {
            assert_eq!(bytes(size), text);
        }
        assert_eq!(bytes(u64::MAX), "16383.9 PiB");
        assert_eq!(mebibytes(512), "512 MiB");
    }
}

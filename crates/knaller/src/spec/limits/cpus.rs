//! CPUs of the host, in parts and by number.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::text_form::text_form;

/// The least and the most thousandths of a CPU: the kernel wants a millisecond of each period (`min_cfs_quota_period`), and
/// no host has more CPUs (`NR_CPUS`).
const MIN_QUOTA: u32 = 10;
const MAX_QUOTA: u32 = 8_192_000;

/// The highest number of a CPU (`NR_CPUS` is at most 8192 on x86).
const MAX_CPU: u16 = 8_191;

/// A text that stands for no CPUs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCpus {
    #[error("{0:?} is no number of CPUs: write it as 0.5 or 2, from 0.01 on, in steps of 0.001")]
    Quota(String),
    #[error("{0:?} names no CPUs: write them as 0-3,5")]
    Set(String),
}

/// The time of so many CPUs, in thousandths: 0.01 to 8192 CPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CpuQuota(u32);

impl CpuQuota {
    /// In thousandths of a CPU.
    #[must_use]
    pub fn thousandths(self) -> u32 {
        self.0
    }
}

impl FromStr for CpuQuota {
    type Err = InvalidCpus;

    fn from_str(text: &str) -> Result<Self, InvalidCpus> {
        let wrong = || InvalidCpus::Quota(text.chars().take(40).collect());
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !digits(whole) || !digits(part) || part.len() > 3 || text.ends_with('.') {
            return Err(wrong());
        }
        let thousandths: u32 = format!("{whole}{part:0<3}").parse().map_err(|_| wrong())?;
        (MIN_QUOTA..=MAX_QUOTA)
            .contains(&thousandths)
            .then_some(Self(thousandths))
            .ok_or_else(wrong)
    }
}

impl fmt::Display for CpuQuota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / 1_000, self.0 % 1_000);
        if part == 0 {
            return write!(f, "{whole}");
        }
        let part = format!("{part:03}");
        write!(f, "{whole}.{}", part.trim_end_matches('0'))
    }
}

text_form!(CpuQuota, InvalidCpus);

/// CPUs by their numbers, at least one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CpuSet(BTreeSet<u16>);

impl CpuSet {
    /// The numbers, in order.
    pub fn numbers(&self) -> impl Iterator<Item = u16> {
        self.0.iter().copied()
    }
}

impl FromStr for CpuSet {
    type Err = InvalidCpus;

    fn from_str(text: &str) -> Result<Self, InvalidCpus> {
        let wrong = || InvalidCpus::Set(text.chars().take(40).collect());
        let number = |text: &str| -> Result<u16, InvalidCpus> {
            let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let number = plain.then(|| text.parse().ok()).flatten();
            number.filter(|number| *number <= MAX_CPU).ok_or_else(wrong)
        };
        let mut numbers = BTreeSet::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (number(first.trim())?, number(last.trim())?);
            if last < first {
                return Err(wrong());
            }
            numbers.extend(first..=last);
        }
        Ok(Self(numbers))
    }
}

/// In the kernel's own form: `0-3,5`.
impl fmt::Display for CpuSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.iter().copied().peekable();
        let mut comma = "";
        while let Some(first) = rest.next() {
            let mut last = first;
            while let Some(next) = rest.next_if(|next| *next == last + 1) {
                last = next;
            }
            if first == last {
                write!(f, "{comma}{first}")?;
            } else {
                write!(f, "{comma}{first}-{last}")?;
            }
            comma = ",";
        }
        Ok(())
    }
}

text_form!(CpuSet, InvalidCpus);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parts_of_cpus() {
        for (text, thousandths, shown) in [
            ("0.5", 500, "0.5"),
            ("2", 2_000, "2"),
            ("1.25", 1_250, "1.25"),
            ("0.01", 10, "0.01"),
            ("0.125", 125, "0.125"),
            ("02.500", 2_500, "2.5"),
        ] {
            let quota: CpuQuota = text.parse().unwrap();
            assert_eq!(quota.thousandths(), thousandths, "{text}");
            assert_eq!(quota.to_string(), shown);
        }
        for text in [
            "",
            ".",
            ".5",
            "1.",
            "0",
            "0.009",
            "-1",
            "+1",
            "50%",
            "1e3",
            "0.1234",
            "8193",
            "99999999999",
        ] {
            assert!(text.parse::<CpuQuota>().is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_of_cpus() {
        for (text, shown) in [
            ("0", "0"),
            ("3,1,2", "1-3"),
            ("0-3, 5", "0-3,5"),
            ("1,3,5-5", "1,3,5"),
        ] {
            assert_eq!(text.parse::<CpuSet>().unwrap().to_string(), shown, "{text}");
        }
        for text in ["", ",", "1-", "-1", "3-1", "a", "8192", "0-99999", "1,,2", "+1"] {
            assert!(text.parse::<CpuSet>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn foreign_text_never_panics(text in "\\PC{0,30}") {
            let _ = text.parse::<CpuSet>();
            let _ = text.parse::<CpuQuota>();
        }

        #[test]
        fn what_is_shown_is_read(numbers in prop::collection::btree_set(0..=MAX_CPU, 1..40), thousandths in MIN_QUOTA..=MAX_QUOTA) {
            let set = CpuSet(numbers);
            prop_assert_eq!(set.to_string().parse(), Ok(set));
            let quota = CpuQuota(thousandths);
            prop_assert_eq!(quota.to_string().parse(), Ok(quota));
        }
    }
}

//! The texts that CPU templates are written in: bitmaps with don't-care bits, prefixed numbers, KVM capabilities.
//!
//! The invariant: what is written reads back as the same value; what Firecracker cannot read
//! (`src/vmm/src/cpu_config/templates.rs`, `templates_serde.rs`) is refused with its words.

use std::fmt;
use std::ops::{BitAnd, BitOrAssign, Shl};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A capability of KVM (`KVM_CAP_*`): a number, or a number after `!`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub enum KvmCapability {
    /// Must be there.
    Add(u32),
    /// Need not be there.
    Remove(u32),
}

impl Serialize for KvmCapability {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Add(capability) => serializer.collect_str(capability),
            Self::Remove(capability) => serializer.collect_str(&format_args!("!{capability}")),
        }
    }
}

impl<'de> Deserialize<'de> for KvmCapability {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let (digits, make): (_, fn(u32) -> Self) = match text.strip_prefix('!') {
            Some(digits) => (digits, Self::Remove),
            None => (text.as_str(), Self::Add),
        };
        digits.parse().map(make).map_err(|err| {
            D::Error::custom(format_args!(
                "Failed to parse string [{text}] as a kvm capability - can not convert to numeric: {err}"
            ))
        })
    }
}

/// Unsigned integers that a [`Bitmap`] can be made of.
pub trait Bits:
    Copy + Default + PartialEq + BitAnd<Output = Self> + BitOrAssign + Shl<u32, Output = Self>
{
    /// Bits of the type.
    const BITS: u32;
    /// 1 of the type.
    const ONE: Self;
}

macro_rules! bits {
    ($($type:ident),*) => {
        $(impl Bits for $type {
            const BITS: u32 = $type::BITS;
            const ONE: Self = 1;
        })*
    };
}
bits!(u32, u64, u128);

/// Bits to set, bits to clear, and bits to leave: `0b` and then `0`, `1` or `x` for each bit, the highest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bitmap<V> {
    /// 1 for each bit that is changed.
    pub filter: V,
    /// The new bits; 0 wherever `filter` is.
    pub value: V,
}

impl<V: Bits> fmt::Display for Bitmap<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("0b")?;
        for bit in (0..V::BITS).rev() {
            let is_set = |value: V| value & (V::ONE << bit) != V::default();
            f.write_str(match (is_set(self.filter), is_set(self.value)) {
                (false, _) => "x",
                (true, false) => "0",
                (true, true) => "1",
            })?;
        }
        Ok(())
    }
}

impl<V: Bits> Serialize for Bitmap<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, V: Bits> Deserialize<'de> for Bitmap<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = text.strip_prefix("0b").unwrap_or(&text);
        let mut bitmap = Self {
            filter: V::default(),
            value: V::default(),
        };
        let mut bit = 0;
        for digit in digits.bytes().rev() {
            if bit == V::BITS {
                return Err(D::Error::custom(format_args!(
                    "Failed to parse string [{text}] as a bitmap - string is too long"
                )));
            }
            match digit {
                b'_' => continue,
                b'x' => {}
                b'0' => bitmap.filter |= V::ONE << bit,
                b'1' => {
                    bitmap.filter |= V::ONE << bit;
                    bitmap.value |= V::ONE << bit;
                }
                other => {
                    return Err(D::Error::custom(format_args!(
                        "Failed to parse string [{text}] as a bitmap - unknown character: {other}"
                    )));
                }
            }
            bit += 1;
        }
        Ok(bitmap)
    }
}

/// Numbers written as `0x…`; read in that form or as `0b…`, and in no other.
pub(super) mod number {
    use std::fmt;
    use std::num::ParseIntError;

    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    /// An integer read in a given base.
    pub(in super::super) trait FromRadix: Sized {
        fn from_radix(digits: &str, radix: u32) -> Result<Self, ParseIntError>;
    }

    macro_rules! from_radix {
        ($($type:ident),*) => {
            $(impl FromRadix for $type {
                fn from_radix(digits: &str, radix: u32) -> Result<Self, ParseIntError> {
                    $type::from_str_radix(digits, radix)
                }
            })*
        };
    }
    from_radix!(u32, u64);

    pub(in super::super) fn serialize<N: fmt::LowerHex, S: Serializer>(
        number: &N,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{number:#x}"))
    }

    pub(in super::super) fn deserialize<'de, N: FromRadix, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<N, D::Error> {
        let text = String::deserialize(deserializer)?;
        let number = if let Some(digits) = text.strip_prefix("0b") {
            N::from_radix(digits, 2)
        } else if let Some(digits) = text.strip_prefix("0x") {
            N::from_radix(digits, 16)
        } else {
            return Err(D::Error::custom(format_args!(
                "No supported number system prefix found in value [{text}]. Make sure to prefix the number with \
                 '0x' for hexadecimal numbers or '0b' for binary numbers."
            )));
        };
        number.map_err(|err| {
            D::Error::custom(format_args!(
                "Failed to parse string [{text}] as a number for CPU template - {err:?}"
            ))
        })
    }
}

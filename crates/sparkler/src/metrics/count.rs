//! What a metric is: a count since the last line, or a value.
//!
//! Invariant: every event is told in exactly one line: a count shows what was added since [`Told::told`] was last
//! called, and that is called once the line has been written.

use serde::{Serialize, Serializer};

/// A total that only grows, shown as what was added since it was last told.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Count {
    total: u64,
    told: u64,
}

impl Count {
    /// One more.
    pub(crate) fn up(&mut self) {
        self.total += 1;
    }

    /// The total, as somebody else counts it.
    pub(crate) fn set(&mut self, total: u64) {
        self.total = total.max(self.told);
    }
}

impl Serialize for Count {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.total - self.told)
    }
}

/// What can be marked as told, and summed up over devices.
pub(crate) trait Told {
    /// A line with this has been written.
    fn told(&mut self);
    /// Adds what another of the same kind has counted.
    fn absorb(&mut self, other: &Self);
}

impl Told for Count {
    fn told(&mut self) {
        self.told = self.total;
    }

    fn absorb(&mut self, other: &Self) {
        self.total += other.total;
        self.told += other.told;
    }
}

/// A value, shown as it is in every line.
impl Told for u64 {
    fn told(&mut self) {}

    fn absorb(&mut self, other: &Self) {
        *self = (*self).max(*other);
    }
}

/// Defines groups of metrics: their fields are Firecracker's, in its order.
macro_rules! groups {
    ($($(#[$doc:meta])* $group:ident { $($field:ident: $kind:ty),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Default, Clone, serde::Serialize)]
        pub(crate) struct $group { $(pub(crate) $field: $kind),* }

        impl crate::metrics::count::Told for $group {
            fn told(&mut self) {
                $(crate::metrics::count::Told::told(&mut self.$field);)*
            }

            fn absorb(&mut self, other: &Self) {
                $(crate::metrics::count::Told::absorb(&mut self.$field, &other.$field);)*
            }
        }
    )*};
}
pub(super) use groups;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_shows_what_was_added() {
        let mut count = Count::default();
        count.up();
        count.up();
        let show = |count: &Count| serde_json::to_string(count).unwrap();
        assert_eq!(show(&count), "2");
        count.told();
        assert_eq!(show(&count), "0");
        count.set(7);
        assert_eq!(show(&count), "5");
        // A counter that starts again does not count backwards.
        count.told();
        count.set(1);
        assert_eq!(show(&count), "0");
    }
}

//! What the specifications let vary in JSON, and programs vary beyond them.

use serde::{Deserialize, Deserializer};

/// A value, or its default where `null` stands: Go writes that for an empty list or map.
pub(super) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

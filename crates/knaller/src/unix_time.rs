//! Seconds since the Unix epoch, written for programs as RFC 3339 in UTC: `2026-02-01T10:00:00Z`.

use jiff::Timestamp;
use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer, de};

/// A time that no calendar has is the epoch.
pub(crate) fn serialize<S: Serializer>(seconds: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    let time = i64::try_from(*seconds).ok();
    let time = time.and_then(|seconds| Timestamp::from_second(seconds).ok());
    time.unwrap_or(Timestamp::UNIX_EPOCH).serialize(serializer)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let time = Timestamp::deserialize(deserializer)?;
    u64::try_from(time.as_second()).map_err(|_| de::Error::custom("a time before 1970"))
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Made {
        #[serde(with = "super")]
        at: u64,
    }

    #[test]
    fn seconds_are_a_time_and_come_back() {
        let json = serde_json::to_string(&Made { at: 1_769_940_000 }).unwrap();
        assert_eq!(json, r#"{"at":"2026-02-01T10:00:00Z"}"#);
        assert_eq!(
            serde_json::from_str::<Made>(&json).unwrap(),
            Made { at: 1_769_940_000 }
        );
        assert!(serde_json::from_str::<Made>(r#"{"at":"1969-12-31T23:59:59Z"}"#).is_err());
    }
}

//! One line of QEMU's machine protocol, read as a value.
//!
//! Invariant: any byte string gives a [`Message`] or a [`ParseError`], never a panic; what is not understood is
//! kept by name only, so that a guest that provokes events cannot make this process hold their contents.
//!
//! Source of the format: QEMU's `docs/interop/qmp-spec.txt`.

use serde_json::{Map, Value};

/// Longest line taken from QEMU, in bytes. The longest answer asked for (`query-blockstats` of 24 drives) is
/// below 100 KiB.
pub(super) const MAX_LINE: usize = 1 << 20;

/// What QEMU says in one line.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// The first line of every connection.
    Greeting,
    /// The answer to the command sent with this id.
    Return {
        /// Id given with the command; none if QEMU could not read the command at all.
        id: Option<u64>,
        /// What the command returned.
        value: Value,
    },
    /// The refusal of the command sent with this id.
    Error {
        /// Id given with the command; none if QEMU could not read the command at all.
        id: Option<u64>,
        /// Text for people.
        desc: String,
    },
    /// Something that happened by itself.
    Event(Event),
}

/// The events sparkler acts on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The machine stopped for good.
    Shutdown {
        /// Whether the guest asked for it.
        guest: bool,
        /// Why: `guest-reset`, `guest-shutdown`, `guest-panic`, `host-qmp-quit`, …
        reason: String,
    },
    /// An incoming migration went on.
    Migration {
        /// Where it is: `active`, `completed`, `failed`, …
        status: String,
    },
    /// An event without meaning here, by its name.
    Other(String),
}

/// Why a line is not a message.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// The line is not JSON.
    #[error("QEMU's control socket sent a line that is not JSON")]
    Json(#[source] serde_json::Error),
    /// The line is JSON, but none of the four kinds of message.
    #[error("QEMU's control socket sent JSON that is no greeting, answer, error or event")]
    Unknown,
}

/// Reads one line, with or without its line feed.
pub fn parse(line: &[u8]) -> Result<Message, ParseError> {
    let mut object: Map<String, Value> = serde_json::from_slice(line).map_err(ParseError::Json)?;
    let id = object.get("id").and_then(Value::as_u64);
    if let Some(value) = object.remove("return") {
        return Ok(Message::Return { id, value });
    }
    if let Some(error) = object.get("error") {
        let desc = error
            .get("desc")
            .and_then(Value::as_str)
            .ok_or(ParseError::Unknown)?;
        return Ok(Message::Error {
            id,
            desc: desc.to_owned(),
        });
    }
    if let Some(name) = object.get("event") {
        let name = name.as_str().ok_or(ParseError::Unknown)?;
        return Ok(Message::Event(event(name, object.get("data"))));
    }
    if object.contains_key("QMP") {
        return Ok(Message::Greeting);
    }
    Err(ParseError::Unknown)
}

fn event(name: &str, data: Option<&Value>) -> Event {
    let field = |key: &str| data.and_then(|data| data.get(key));
    match name {
        "SHUTDOWN" => Event::Shutdown {
            guest: field("guest").and_then(Value::as_bool).unwrap_or(false),
            reason: field("reason")
                .and_then(Value::as_str)
                .unwrap_or("unknown")
                .to_owned(),
        },
        "MIGRATION" => Event::Migration {
            status: field("status")
                .and_then(Value::as_str)
                .unwrap_or("unknown")
                .to_owned(),
        },
        other => Event::Other(other.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,12}".prop_map(Value::from),
        ];
        let key = prop_oneof![
            Just("return"),
            Just("error"),
            Just("event"),
            Just("data"),
            Just("QMP"),
            Just("id"),
            Just("desc"),
            Just("reason"),
            Just("guest")
        ]
        .prop_map(str::to_owned);
        leaf.prop_recursive(4, 32, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(key.clone(), inner, 0..5)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(line in prop::collection::vec(any::<u8>(), 0..512)) {
            let _ = parse(&line);
        }

        #[test]
        fn any_json_is_read_or_refused(value in json()) {
            let _ = parse(value.to_string().as_bytes());
        }

        #[test]
        fn answers_keep_their_id_and_value(id in any::<u64>(), value in json()) {
            let line = serde_json::json!({ "return": value, "id": id }).to_string();
            prop_assert_eq!(parse(line.as_bytes()).unwrap(), Message::Return { id: Some(id), value });
        }
    }

    #[test]
    fn real_lines_are_understood() {
        let greeting = br#"{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}}, "capabilities": ["oob"]}}"#;
        assert_eq!(parse(greeting).unwrap(), Message::Greeting);
        let error = br#"{"id": 3, "error": {"class": "CommandNotFound", "desc": "The command x has not been found"}}"#;
        let desc = "The command x has not been found".to_owned();
        assert_eq!(parse(error).unwrap(), Message::Error { id: Some(3), desc });
        let event = br#"{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-reset"}}"#;
        let shutdown = Event::Shutdown {
            guest: true,
            reason: "guest-reset".to_owned(),
        };
        assert_eq!(parse(event).unwrap(), Message::Event(shutdown));
    }
}

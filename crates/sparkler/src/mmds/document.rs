//! A place in the metadata document, written out.

use serde_json::Value;

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// As JSON.
    Json,
    /// As EC2's service does: an object as its keys, one a line, those of objects with a `/` behind; a string as it is.
    Imds,
}

/// Why a place is not written out, in Firecracker's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unavailable {
    #[error("The MMDS resource does not exist.")]
    NotFound,
    /// Only objects and strings have a text of EC2's kind.
    #[error("Cannot retrieve value. The value has an unsupported type.")]
    UnsupportedType,
}

/// Writes out the value at `path`, a JSON pointer (RFC 6901) that may end in a slash.
pub(super) fn read(document: &Value, path: &str, format: Format) -> Result<String, Unavailable> {
    let pointer = path.strip_suffix('/').unwrap_or(path);
    let value = document.pointer(pointer).ok_or(Unavailable::NotFound)?;
    match (format, value) {
        (Format::Json, value) => Ok(value.to_string()),
        (Format::Imds, Value::String(text)) => Ok(text.clone()),
        (Format::Imds, Value::Object(members)) => {
            let names: Vec<String> = members
                .iter()
                .map(|(name, value)| {
                    if value.is_object() {
                        format!("{name}/")
                    } else {
                        name.clone()
                    }
                })
                .collect();
            Ok(names.join("\n"))
        }
        (Format::Imds, _) => Err(Unavailable::UnsupportedType),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn places_are_found_and_written() {
        let document = json!({
            "name": {"first": "John", "second": "Doe"}, "age": 43, "a/b": "slash", "list": ["x", {"y": "z"}],
        });
        let imds = |path| read(&document, path, Format::Imds);
        let json = |path| read(&document, path, Format::Json);
        assert_eq!(imds("/").unwrap(), "a/b\nage\nlist\nname/");
        assert_eq!(imds("/name").unwrap(), "first\nsecond");
        assert_eq!(imds("/name/").unwrap(), "first\nsecond");
        assert_eq!(imds("/name/first").unwrap(), "John");
        assert_eq!(imds("/a~1b").unwrap(), "slash");
        assert_eq!(imds("/list/1").unwrap(), "y");
        assert_eq!(json("/name").unwrap(), r#"{"first":"John","second":"Doe"}"#);
        assert_eq!(json("/name/first/").unwrap(), r#""John""#);
        assert_eq!(json("/age").unwrap(), "43");
        assert_eq!(imds("/age"), Err(Unavailable::UnsupportedType));
        assert_eq!(imds("/list"), Err(Unavailable::UnsupportedType));
        assert_eq!(imds("/nobody"), Err(Unavailable::NotFound));
        assert_eq!(imds("/name//first"), Err(Unavailable::NotFound));
        assert_eq!(read(&Value::Null, "/", Format::Json).unwrap(), "null");
    }
}

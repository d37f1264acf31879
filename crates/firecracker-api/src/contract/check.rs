//! Compares an answer with what was expected of it.

use serde_json::Value;

use super::case::{Expect, Step};
use crate::client::RawAnswer;

/// How `answer` differs from what `step` wants, if it does.
pub(super) fn difference(step: &Step, answer: &RawAnswer) -> Option<String> {
    let body = String::from_utf8_lossy(&answer.body);
    let status = answer.status.as_u16();
    if status != step.status {
        return Some(format!("status {status} instead of {}, body {body}", step.status));
    }
    let deprecated = answer.headers.contains_key("deprecation");
    if deprecated != step.deprecated {
        return Some(format!(
            "Deprecation header: {deprecated} instead of {}",
            step.deprecated
        ));
    }
    if !answer.body.is_empty()
        && answer
            .headers
            .get("content-type")
            .is_none_or(|kind| kind != "application/json")
    {
        return Some(format!("content type {:?}", answer.headers.get("content-type")));
    }
    let differs = |wanted: &dyn std::fmt::Display| Some(format!("body {body}\n    instead of {wanted}"));
    match &step.expect {
        Expect::Nothing if answer.body.is_empty() => None,
        Expect::Nothing => differs(&"nothing"),
        Expect::Text(text) if *text == body => None,
        Expect::Text(text) => differs(text),
        expect => match serde_json::from_slice(&answer.body) {
            Ok(value) => value_difference(expect, &value),
            Err(error) => Some(format!("body {body}\n    is no JSON: {error}")),
        },
    }
}

fn value_difference(expect: &Expect, value: &Value) -> Option<String> {
    let words = value.get("fault_message").and_then(Value::as_str);
    let (is_met, wanted) = match expect {
        Expect::Nothing | Expect::Text(_) => return None,
        Expect::Json(wanted) => (value == wanted, wanted.to_string()),
        Expect::Members(members) => {
            let missing = members
                .iter()
                .find(|(pointer, wanted)| value.pointer(pointer) != Some(wanted));
            let (pointer, wanted) = missing?;
            (false, format!("{pointer} = {wanted}"))
        }
        Expect::Fault(wanted) => (words == Some(wanted), format!("fault {wanted}")),
        Expect::FaultBeginning(wanted) => (
            words.is_some_and(|words| words.starts_with(wanted)),
            format!("fault {wanted}…"),
        ),
    };
    (!is_met).then(|| format!("body {value}\n    instead of {wanted}"))
}

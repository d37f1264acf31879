//! The JSON of every command has one style: see `docs/json.md`.

use rustix::process::Signal;
use serde_json::Value;

use crate::world::World;

/// Keys of which the values are moments.
const MOMENTS: [&str; 6] = ["time", "created", "started", "used", "imported", "timestamp"];

/// Endings of keys of which the values are numbers, and in what.
const UNITS: [&str; 5] = ["_ns", "_us", "_ms", "_kib", "_mib"];

/// Objects whose keys are not ours: what users and images call things, and a spec as the library writes it.
const FOREIGN: [&str; 4] = ["labels", "env", "spec", "annotations"];

#[track_caller]
fn check(of: &str, value: &Value) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| check(of, value)),
        Value::Object(fields) => {
            for (key, value) in fields {
                let snake = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
                assert!(key.bytes().all(snake), "{of}: {key}");
                if MOMENTS.contains(&key.as_str()) && !value.is_null() && !value.is_number() {
                    let text = value.as_str().unwrap_or_else(|| panic!("{of}: {key} is {value}"));
                    assert!(text.ends_with('Z') && text.contains('T'), "{of}: {key} is {text}");
                }
                let is_moment = ["created", "started", "imported", "time"].contains(&key.as_str());
                assert!(!(is_moment && value.is_number()), "{of}: {key} is {value}");
                if UNITS.iter().any(|unit| key.ends_with(unit)) {
                    assert!(value.is_number() || value.is_null(), "{of}: {key} is {value}");
                }
                if !FOREIGN.contains(&key.as_str()) {
                    check(of, value);
                }
            }
        }
        _ => {}
    }
}

#[test]
fn all_json_has_one_style() {
    let world = World::new();
    let json = |words: &[&str]| -> Value {
        let ran = world.run(&[words, &["-o", "json"]].concat());
        let value =
            serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{words:?}: {error}: {ran}"));
        check(&words.join(" "), &value);
        value
    };
    let mut events = world.spawn(&["events", "-o", "json"]);
    let started = json(&[
        "start",
        "web",
        "-d",
        "-m",
        "128M",
        "--network",
        "none",
        "--label",
        "tier=front",
        "--timings",
    ]);
    assert_eq!(started["labels"]["tier"], "front");
    world.import_base();
    let _ = world.ok(&["volume", "create", "data", "--size", "32M"]);
    let taken = json(&["snapshot", "create", "web", "--name", "kept"]);
    assert_eq!(taken["labels"]["tier"], "front");
    let listed = json(&["ls"]);
    assert_eq!(listed[0]["labels"]["tier"], "front");
    // What there is not is null.
    assert_eq!(
        (&listed[0]["health"], listed[0].get("details")),
        (&Value::Null, None)
    );
    let inspected = json(&["inspect", "web", "--stats"]);
    assert_eq!(inspected["labels"]["tier"], "front");
    assert!(world.ok(&["inspect", "web"]).contains("tier=front"));
    let stats = json(&["stats", "--no-stream"]);
    assert!(
        stats[0]["time"].is_string() && stats[0]["time_ns"].is_u64(),
        "{stats}"
    );
    assert!(json(&["template", "ls"])[0]["used"].is_string());
    assert!(json(&["snapshot", "inspect", "kept"])["created"].is_string());
    let about = json(&["system", "info"]);
    for what in ["limits", "direct"] {
        let possible = about[what]["possible"].as_bool().unwrap();
        assert_eq!(possible, about[what]["reason"].is_null(), "{about}");
    }
    for words in [
        &["ps", "web"][..],
        &["snapshot", "ls"],
        &["image", "ls"],
        &["kernel", "ls"],
        &["volume", "ls"],
        &["system", "df"],
        &["doctor"],
        &["version"],
        &["pause", "web"],
        &["resume", "web"],
        &["update", "web", "--label", "a=b"],
        &["image", "tag", "base", "other"],
        &["image", "prune", "--all", "--dry-run"],
        &["template", "prune"],
        &["volume", "create", "more", "--size", "32M"],
        &["restart", "web"],
        &["stop", "web"],
        &["rm", "web", "nothing"],
        &["snapshot", "rm", "kept"],
        &["volume", "rm", "data"],
        &["prune"],
        &["system", "prune", "--force"],
    ] {
        json(words);
    }
    let line = events.line("\"removed\"");
    let event: Value = serde_json::from_str(&line).unwrap();
    check("events", &event);
    assert!(event["time"].is_string() && event["time_ns"].is_u64(), "{line}");
    events.signal(Signal::INT);
    assert_eq!(events.end().0, 130);
    world.sandbox.assert_clean();
}

//! Which of the things that a list has are meant.

use clap::Args;
use clap::builder::{TypedValueParser as _, ValueParser};
use knaller::{Filter, Filtered};

/// What can be said of machines.
pub(crate) const MACHINES: &str =
    "Those that meet this: label=NAME[=VALUE], name=PART, state=STATE, image=IMAGE, vmm=VMM";

/// What filters of machines look at, and the states that there are, also of one whose record cannot be read.
const OF_MACHINES: &[&str] = &["label", "name", "state", "image", "vmm"];
const MACHINE_STATES: &[&str] = &[
    "starting",
    "running",
    "paused",
    "unresponsive",
    "stopped",
    "damaged",
];

/// The states of what machines may have or not.
pub(crate) const USES: &[&str] = &["used", "unused"];

/// Conditions on machines.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct FilterArgs {
    #[arg(short, long = "filter", value_name = "FILTER", help = MACHINES, value_parser = on_machines())]
    pub(crate) filters: Vec<Filter>,
}

impl FilterArgs {
    /// Whether a thing is meant.
    pub(crate) fn take(&self, thing: &impl Filtered) -> bool {
        Filter::all_match(&self.filters, thing)
    }
}

pub(crate) fn on_machines() -> ValueParser {
    on(OF_MACHINES, MACHINE_STATES)
}

/// Takes filters that look at these alone, and know only these states: nothing would ever be found by another.
pub(crate) fn on(keys: &'static [&'static str], states: &'static [&'static str]) -> ValueParser {
    let parser = clap::builder::StringValueParser::new();
    ValueParser::new(parser.try_map(move |text| parse(&text, keys, states)))
}

fn parse(text: &str, keys: &[&str], states: &[&str]) -> Result<Filter, String> {
    let forms = || {
        let forms: Vec<_> = keys.iter().map(|key| form(key, states)).collect();
        forms.join(", ")
    };
    let no_filter = |_| format!("{text:?} is no filter: write {}", forms());
    let filter: Filter = text.parse().map_err(no_filter)?;
    let key = filter.key();
    if !keys.contains(&key) {
        return Err(format!("these have no {key}: write {}", forms()));
    }
    if key == "state" && !states.contains(&filter.value()) {
        let state = filter.value();
        return Err(format!(
            "there is no state {state:?}: it is one of {}",
            states.join(", ")
        ));
    }
    Ok(filter)
}

/// How a filter on this is written.
fn form(key: &str, states: &[&str]) -> String {
    match key {
        "label" => "label=NAME[=VALUE]".to_owned(),
        "state" => format!("state={}", states.join("|")),
        "name" => "name=PART".to_owned(),
        "reference" => "reference=PATTERN".to_owned(),
        key => format!("{key}={}", key.to_uppercase()),
    }
}

/// What a person reads in place of an empty list: `otherwise`, unless there may be some that the filters left out.
pub(crate) fn nothing(filters: &[Filter], otherwise: &str) -> String {
    if filters.is_empty() {
        return otherwise.to_owned();
    }
    let filters: Vec<_> = filters.iter().map(Filter::to_string).collect();
    format!("None meets --filter {}.", filters.join(" --filter "))
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use knaller::State;

    use super::*;

    #[derive(Debug, Parser)]
    struct Words {
        #[arg(long, value_parser = on(&["name", "state"], USES))]
        filter: Vec<Filter>,
    }

    #[test]
    fn only_what_a_thing_has_can_be_asked_for() {
        let parsed = Words::try_parse_from(["x", "--filter", "name=a", "--filter", "status=used"]).unwrap();
        assert_eq!(parsed.filter.len(), 2);
        for (text, told) in [
            (
                "label=x",
                "these have no label: write name=PART, state=used|unused",
            ),
            ("x", "\"x\" is no filter: write name=PART, state=used|unused"),
            ("colour=red", "is no filter"),
            ("state=", "is no filter"),
            (
                "state=running",
                "there is no state \"running\": it is one of used, unused",
            ),
        ] {
            let error = Words::try_parse_from(["x", "--filter", text])
                .unwrap_err()
                .to_string();
            assert!(error.contains(told), "{error}");
        }
    }

    #[test]
    fn every_state_of_a_machine_can_be_asked_for() {
        for state in State::ALL.map(State::as_str) {
            assert!(
                parse(&format!("state={state}"), OF_MACHINES, MACHINE_STATES).is_ok(),
                "{state}"
            );
        }
        assert!(parse("status=foo", OF_MACHINES, MACHINE_STATES).is_err());
    }

    #[test]
    fn an_empty_list_says_what_left_it_empty() {
        let filters = ["name=a", "state=paused"].map(|text| text.parse().unwrap());
        assert_eq!(
            nothing(&filters, "x"),
            "None meets --filter name=a --filter state=paused."
        );
        assert_eq!(nothing(&[], "There is none yet."), "There is none yet.");
    }
}

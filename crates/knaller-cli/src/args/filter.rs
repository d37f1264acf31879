//! Which of the things that a list has are meant.

use clap::Args;
use clap::builder::{TypedValueParser as _, ValueParser};
use knaller::{Filter, Filtered};

/// What can be said of machines.
pub(crate) const MACHINES: &str =
    "Those that meet this: label=NAME[=VALUE], name=PART, state=STATE, image=IMAGE, vmm=VMM";

/// Conditions on machines.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct FilterArgs {
    #[arg(short, long = "filter", value_name = "FILTER", help = MACHINES)]
    pub(crate) filters: Vec<Filter>,
}

impl FilterArgs {
    /// Whether a thing is meant.
    pub(crate) fn take(&self, thing: &impl Filtered) -> bool {
        Filter::all_match(&self.filters, thing)
    }
}

/// Takes filters that look at these alone: a thing that has no labels would never be found by one.
pub(crate) fn on(keys: &'static [&'static str]) -> ValueParser {
    let parser = clap::builder::StringValueParser::new();
    ValueParser::new(parser.try_map(move |text| {
        let filter: Filter = text
            .parse()
            .map_err(|error: knaller::InvalidFilter| error.to_string())?;
        match keys.contains(&filter.key()) {
            true => Ok(filter),
            false => Err(format!(
                "these have no {}: they are told by {}",
                filter.key(),
                keys.join(", ")
            )),
        }
    }))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Words {
        #[arg(long, value_parser = on(&["name", "state"]))]
        filter: Vec<Filter>,
    }

    #[test]
    fn only_what_a_thing_has_can_be_asked_for() {
        let parsed = Words::try_parse_from(["x", "--filter", "name=a", "--filter", "status=used"]).unwrap();
        assert_eq!(parsed.filter.len(), 2);
        for (text, told) in [
            ("label=x", "these have no label: they are told by name, state"),
            ("x", "is no filter"),
        ] {
            let error = Words::try_parse_from(["x", "--filter", text])
                .unwrap_err()
                .to_string();
            assert!(error.contains(told), "{error}");
        }
    }
}

//! The same to several machines at once.

use futures_util::future::join_all;
use knaller::Name;
use serde::Serialize;

use crate::context::Context;
use crate::error::CommandError;
use crate::ui::table::{Cell, Column, Tone};
use crate::ui::{Format, Listed, Progress, plain};

/// What was done to a machine.
#[derive(Debug, Serialize)]
pub(crate) struct Done<T = ()> {
    /// A word for programs, as `stopped`.
    done: &'static str,
    /// The same for people.
    #[serde(skip)]
    sentence: String,
    /// What else programs are to know.
    #[serde(flatten)]
    more: T,
}

impl Done {
    pub(crate) fn new(done: &'static str, sentence: String) -> Self {
        Self::with(done, sentence, ())
    }
}

impl<T> Done<T> {
    pub(crate) fn with(done: &'static str, sentence: String, more: T) -> Self {
        Self { done, sentence, more }
    }
}

/// Does `act` to all of them at the same time, and tells what came of each as soon as it is known; or, if it is to be
/// written as something, all of it at the end. One that fails holds up no other, and is told at once; the exit code is
/// the first failure's, in the order of the names.
pub(crate) async fn each<T: Serialize>(
    context: &Context,
    names: Vec<Name>,
    doing: &str,
    output: Option<Format>,
    act: impl AsyncFn(&Name) -> Result<Option<Done<T>>, CommandError>,
) -> Result<u8, CommandError> {
    let all = names.iter().map(Name::as_str).collect::<Vec<_>>().join(", ");
    let progress = Progress::start(context.ui, &format!("{doing} {all}"));
    let outcomes = join_all(names.into_iter().map(async |name| {
        let came = match act(&name).await {
            Ok(None) => return None,
            Ok(Some(done)) => {
                if output.is_none() {
                    progress.line(&done.sentence);
                }
                Came::Done(done)
            }
            Err(error) => {
                let error = error.about(name.as_str());
                Came::Failed {
                    exit_code: progress.error(&error),
                    error: error.sentence(),
                }
            }
        };
        Some(Outcome { name, came })
    }));
    let mut outcomes: Vec<_> = outcomes.await.into_iter().flatten().collect();
    drop(progress);
    let code = outcomes.iter().find_map(Outcome::failure).unwrap_or(0);
    if let Some(format) = output {
        if format == Format::Name {
            outcomes.retain(|outcome| outcome.failure().is_none());
        }
        context.ui.list(&outcomes, format, "No machine is meant.")?;
    }
    Ok(code)
}

/// What came of it for one machine. Programs rely on its field names.
#[derive(Debug, Serialize)]
struct Outcome<T> {
    name: Name,
    #[serde(flatten)]
    came: Came<T>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Came<T> {
    Done(Done<T>),
    Failed { error: String, exit_code: u8 },
}

impl<T> Outcome<T> {
    /// The exit code for it, if it failed.
    fn failure(&self) -> Option<u8> {
        match &self.came {
            Came::Done(_) => None,
            Came::Failed { exit_code, .. } => Some(*exit_code),
        }
    }
}

impl<T: Serialize> Listed for Outcome<T> {
    const COLUMNS: &'static [Column] = &[Column::new("NAME", 0), Column::wrapping("OUTCOME", 0)];

    fn name(&self) -> &str {
        self.name.as_str()
    }

    fn cells(&self) -> Vec<Cell> {
        let outcome = match &self.came {
            Came::Done(done) => plain(&done.sentence),
            Came::Failed { error, .. } => format!("error: {error}"),
        };
        vec![Cell::new(self.name.as_str(), Tone::Strong), outcome.into()]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ui::list;

    fn outcomes() -> Vec<Outcome<serde_json::Value>> {
        let sentence = "web has stopped".to_owned();
        let done = Done::with("stopped", sentence, json!({ "how": "orderly" }));
        let (error, exit_code) = ("there is no machine db".to_owned(), 3);
        vec![
            Outcome {
                name: "web".parse().unwrap(),
                came: Came::Done(done),
            },
            Outcome {
                name: "db".parse().unwrap(),
                came: Came::Failed { error, exit_code },
            },
        ]
    }

    #[test]
    fn every_format_tells_of_those_that_failed() {
        let json: serde_json::Value =
            serde_json::from_str(&list(&outcomes(), Format::Json, None).unwrap()).unwrap();
        let expected = json!([
            { "name": "web", "done": "stopped", "how": "orderly" },
            { "name": "db", "error": "there is no machine db", "exit_code": 3 },
        ]);
        assert_eq!(json, expected);
        for format in [Format::Table, Format::Yaml] {
            let text = list(&outcomes(), format, None).unwrap();
            assert!(text.contains("there is no machine db"), "{text}");
        }
    }

    #[test]
    fn what_has_nothing_more_to_say_has_no_more_fields() {
        let outcome = Outcome {
            name: "web".parse().unwrap(),
            came: Came::Done(Done::new("paused", "web is paused".to_owned())),
        };
        let expected = json!({ "name": "web", "done": "paused" });
        assert_eq!(serde_json::to_value(outcome).unwrap(), expected);
    }
}

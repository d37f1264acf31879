//! The same to several machines at once, or to several things in turn.

use futures_util::future::join_all;
use knaller::Name;
use serde::Serialize;

use crate::context::Context;
use crate::error::CommandError;
use crate::ui::table::{Cell, Column, Tone};
use crate::ui::{Format, Listed, Progress, plain};

/// What was done to a machine, or another thing.
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
    let outcomes = join_all(names.iter().map(async |name| {
        let came = act(name).await;
        Outcome::tell(name.as_str(), came, &progress, output)
    }));
    let outcomes = outcomes.await.into_iter().flatten().collect();
    drop(progress);
    if names.is_empty() && output.is_none() {
        context.ui.note("No machine is meant.");
    }
    write(context, outcomes, output, "No machine is meant.")
}

/// As [`each`] to things that are no machines, one after the other: one may need another to have gone before. A signal ends
/// it at once.
pub(crate) async fn in_turn<N: ToString, T: Serialize>(
    context: &Context,
    names: Vec<N>,
    output: Option<Format>,
    mut act: impl AsyncFnMut(&N) -> Result<Option<Done<T>>, CommandError>,
) -> Result<u8, CommandError> {
    let progress = Progress::plain(context.ui);
    let mut outcomes = Vec::new();
    for name in names {
        let came = act(&name).await;
        if let Err(error @ (CommandError::Ended(_) | CommandError::BrokenPipe)) = came {
            return Err(error);
        }
        outcomes.extend(Outcome::tell(&name.to_string(), came, &progress, output));
    }
    write(context, outcomes, output, "")
}

/// As [`in_turn`] to what is done already.
pub(crate) fn one<T: Serialize>(
    context: &Context,
    name: &str,
    output: Option<Format>,
    done: Done<T>,
) -> Result<u8, CommandError> {
    let progress = Progress::plain(context.ui);
    let outcome = Outcome::tell(name, Ok(Some(done)), &progress, output);
    write(context, outcome.into_iter().collect(), output, "")
}

/// Writes what came of all of them where that is asked for, and gives the exit code.
fn write<T: Serialize>(
    context: &Context,
    mut outcomes: Vec<Outcome<T>>,
    output: Option<Format>,
    nothing: &str,
) -> Result<u8, CommandError> {
    let code = outcomes.iter().find_map(Outcome::failure).unwrap_or(0);
    if let Some(format) = output {
        if format == Format::Name {
            outcomes.retain(|outcome| outcome.failure().is_none());
        }
        context.ui.list(&outcomes, format, nothing)?;
    }
    Ok(code)
}

/// What came of it for one thing. Programs rely on its field names.
#[derive(Debug, Serialize)]
struct Outcome<T> {
    name: String,
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
    /// Tells people what came of it: at once where it failed, or where nothing is written at the end.
    fn tell(
        name: &str,
        came: Result<Option<Done<T>>, CommandError>,
        progress: &Progress,
        output: Option<Format>,
    ) -> Option<Self> {
        let came = match came {
            Ok(None) => return None,
            Ok(Some(done)) => {
                if output.is_none() {
                    progress.line(&done.sentence);
                }
                Came::Done(done)
            }
            Err(error) => {
                let error = error.about(name);
                Came::Failed {
                    exit_code: progress.error(&error),
                    error: error.sentence(),
                }
            }
        };
        let name = name.to_owned();
        Some(Self { name, came })
    }

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
        &self.name
    }

    fn cells(&self) -> Vec<Cell> {
        let outcome = match &self.came {
            Came::Done(done) => plain(&done.sentence),
            Came::Failed { error, .. } => format!("error: {error}"),
        };
        vec![Cell::new(&self.name, Tone::Strong), outcome.into()]
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
                name: "web".to_owned(),
                came: Came::Done(done),
            },
            Outcome {
                name: "db".to_owned(),
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
            name: "web".to_owned(),
            came: Came::Done(Done::new("paused", "web is paused".to_owned())),
        };
        let expected = json!({ "name": "web", "done": "paused" });
        assert_eq!(serde_json::to_value(outcome).unwrap(), expected);
    }
}

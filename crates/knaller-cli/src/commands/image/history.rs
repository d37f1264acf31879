//! `knaller image history`.

use clap::Args;
use images::store::Step;
use jiff::Timestamp;
use serde::Serialize;

use super::view::age;
use super::{ImageArg, with_store};
use crate::context::Context;
use crate::error::CommandError;
use crate::ui::table::{Cell, Column};
use crate::ui::{Listed, OutputArgs, human, plain};

/// Show how an image was built, the first step first
#[derive(Args, Debug)]
pub(crate) struct HistoryArgs {
    #[command(flatten)]
    image: ImageArg,

    #[command(flatten)]
    output: OutputArgs,
}

/// The one view of a step. Programs rely on its field names.
#[derive(Debug, Serialize)]
pub(super) struct StepView {
    created: Option<Timestamp>,
    created_by: String,
    comment: String,
    author: String,
    /// The layer that it made.
    layer: Option<String>,
    /// Of that layer as it is stored, bytes.
    size: Option<u64>,
    #[serde(skip)]
    short_layer: String,
}

impl HistoryArgs {
    pub(crate) async fn run(self, context: Context) -> Result<(), CommandError> {
        let what = self.image.image;
        let image = with_store(&context, move |store| store.resolve(&what)).await?;
        let steps: Vec<_> = image.history().into_iter().map(StepView::new).collect();
        context.ui.list(
            &steps,
            self.output.output,
            "The image says nothing of its history.",
        )
    }
}

impl StepView {
    pub(super) fn new(step: Step) -> Self {
        let layer = step.layer.as_ref();
        Self {
            created: step.history.created,
            layer: layer.map(|layer| layer.digest.to_string()),
            size: layer.map(|layer| layer.size),
            short_layer: layer.map_or_else(String::new, |layer| layer.digest.short().to_owned()),
            created_by: step.history.created_by,
            comment: step.history.comment,
            author: step.history.author,
        }
    }

    /// What was done, in one line of foreign words made harmless.
    fn by(&self) -> String {
        let by = self.created_by.trim_start_matches("/bin/sh -c #(nop) ");
        let by = if by.is_empty() { &self.comment } else { by };
        plain(by).split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

impl Listed for StepView {
    const COLUMNS: &'static [Column] = &[
        Column::new("AGE", 2),
        Column::new("LAYER", 1),
        Column::new("SIZE", 0),
        Column::wrapping("BY", 0),
    ];

    fn name(&self) -> &str {
        self.layer.as_deref().unwrap_or_default()
    }

    fn cells(&self) -> Vec<Cell> {
        vec![
            self.created.map_or_else(String::new, age).into(),
            self.short_layer.as_str().into(),
            self.size.map_or_else(String::new, human::bytes).into(),
            self.by().into(),
        ]
    }
}

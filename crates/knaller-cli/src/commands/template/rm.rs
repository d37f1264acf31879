//! `knaller template rm`.

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use crate::context::Context;
use crate::error::CommandError;

/// Remove templates; machines made of them live on
#[derive(Args, Debug)]
pub(crate) struct RmArgs {
    /// The key, or how it begins
    #[arg(value_name = "KEY", required = true, value_parser = NonEmptyStringValueParser::new())]
    keys: Vec<String>,
}

impl RmArgs {
    pub(crate) async fn run(self, context: Context) -> Result<(), CommandError> {
        for key in self.keys {
            let key = context.knaller.remove_template(&key).await?;
            context.ui.note(format_args!("template {key} is removed"));
        }
        Ok(())
    }
}

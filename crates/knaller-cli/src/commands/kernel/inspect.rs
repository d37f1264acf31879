//! `knaller kernel inspect`.

use clap::Args;

use super::view::KernelView;
use super::{KernelArg, with_store};
use crate::context::Context;
use crate::error::CommandError;
use crate::ui::OutputArgs;

/// Show all there is to know about a kernel
#[derive(Args, Debug)]
pub(crate) struct InspectArgs {
    #[command(flatten)]
    kernel: KernelArg,

    #[command(flatten)]
    output: OutputArgs,
}

impl InspectArgs {
    pub(crate) async fn run(self, context: Context) -> Result<(), CommandError> {
        let kernel = self.kernel.kernel;
        let machines = context.knaller.list().await?;
        let view = with_store(&context, move |store| {
            let default = store.default_bundle().ok();
            let bundle = store.get(&kernel)?;
            Ok(KernelView::new(
                &bundle,
                &store.names()?,
                default.as_ref().map(|bundle| bundle.id()),
                &machines,
            ))
        });
        context.ui.inspect(&[view.await?], self.output.output)
    }
}

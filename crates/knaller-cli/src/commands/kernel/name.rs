//! `knaller kernel name`.

use clap::Args;

use super::{KernelArg, with_store};
use crate::context::Context;
use crate::error::CommandError;

/// Give a kernel a name; the one named `default` is what `start` takes
#[derive(Args, Debug)]
pub(crate) struct NameArgs {
    #[command(flatten)]
    kernel: KernelArg,

    /// The name; no other kernel keeps it
    name: String,
}

impl NameArgs {
    pub(crate) async fn run(self, context: Context) -> Result<(), CommandError> {
        let Self { kernel, name } = self;
        let given = name.clone();
        let version = with_store(&context, move |store| {
            let bundle = store.get(&kernel.kernel)?;
            store.set_name(&bundle, &given)?;
            Ok(bundle.manifest().version.clone())
        });
        context.ui.note(format_args!("{name} is {} now", version.await?));
        Ok(())
    }
}

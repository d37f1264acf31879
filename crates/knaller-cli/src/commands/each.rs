//! The same to several machines at once.

use futures_util::future::join_all;
use knaller::Name;

use crate::context::Context;
use crate::error::CommandError;
use crate::ui::Progress;

/// Does `act` to all of them at the same time, and tells what came of each as soon as it is known. One that fails holds
/// up no other; the exit code is the first failure's, in the order of the names.
pub(crate) async fn each(
    context: &Context,
    names: Vec<Name>,
    doing: &str,
    act: impl AsyncFn(&Name) -> Result<Option<String>, CommandError>,
) -> Result<u8, CommandError> {
    let all = names.iter().map(Name::as_str).collect::<Vec<_>>().join(", ");
    let progress = Progress::start(context.ui, &format!("{doing} {all}"));
    let codes = join_all(names.iter().map(async |name| match act(name).await {
        Ok(None) => 0,
        Ok(Some(outcome)) => {
            progress.line(&outcome);
            0
        }
        Err(error) => progress.error(&error.about(name.as_str())),
    }));
    Ok(codes.await.into_iter().find(|&code| code != 0).unwrap_or(0))
}

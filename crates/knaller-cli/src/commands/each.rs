//! The same to several machines at once.

use futures_util::future::join_all;
use knaller::Name;

use crate::context::Context;
use crate::error::CommandError;

/// Does `act` to all of them at the same time. One that fails is told of and holds up no other; the exit code is the
/// first failure's.
pub(crate) async fn each(
    context: &Context,
    names: Vec<Name>,
    act: impl AsyncFn(&Name) -> Result<(), CommandError>,
) -> Result<u8, CommandError> {
    let results = join_all(names.iter().map(|name| act(name))).await;
    let mut code = 0;
    for error in results.into_iter().filter_map(Result::err) {
        let failed = context.ui.error(&error);
        code = if code == 0 { failed } else { code };
    }
    Ok(code)
}

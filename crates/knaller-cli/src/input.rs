//! What a person types, or a pipe gives, on standard input: read so that a signal is heard meanwhile.

use std::io::{self, BufRead as _, Read as _};

use crate::error::CommandError;
use crate::signals::Signals;

/// Of what is typed or piped in as a name or a password; tokens are longer than passwords. Bytes.
const MAX: u64 = 64 * 1024;

/// One line, with what ended it.
pub(crate) async fn line(signals: &mut Signals) -> Result<String, CommandError> {
    waited(signals, || {
        let mut line = String::new();
        io::stdin().lock().take(MAX).read_line(&mut line)?;
        Ok(line)
    })
    .await
}

/// Everything there is.
pub(crate) async fn whole(signals: &mut Signals) -> Result<String, CommandError> {
    waited(signals, || {
        let mut text = String::new();
        io::stdin().lock().take(MAX).read_to_string(&mut text)?;
        Ok(text)
    })
    .await
}

/// Reads on a thread, which is left to itself if a signal comes first.
async fn waited(
    signals: &mut Signals,
    read: impl FnOnce() -> io::Result<String> + Send + 'static,
) -> Result<String, CommandError> {
    tokio::select! {
        read = tokio::task::spawn_blocking(read) => {
            let read = read.map_err(|error| CommandError::host("cannot read standard input", &error))?;
            read.map_err(|error| CommandError::host("cannot read standard input", &error))
        }
        signal = signals.next() => Err(CommandError::Ended(signal)),
    }
}

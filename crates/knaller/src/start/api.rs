//! Waiting for a VMM's API to answer.

use std::ffi::OsStr;
use std::io;
use std::time::Duration;

use firecracker_api::Client;

use crate::layout::Files;
use crate::watch::Watch;

/// How long one request may take: the VMM has one thread for them, and on a busy host it is a slow one.
const TIMEOUT: Duration = Duration::from_secs(60);

/// How often and with what pauses a socket that is bound but not yet listened on is tried.
const PAUSE: Duration = Duration::from_millis(1);

/// Waits until the VMM's socket takes connections. `watch` was put on its folder before the VMM was started.
pub(super) async fn answers(files: &Files, watch: &Watch) -> io::Result<Client> {
    let socket = files.api_socket();
    let name = socket.file_name().unwrap_or(OsStr::new(""));
    loop {
        match tokio::net::UnixStream::connect(&socket).await {
            Ok(_) => return Ok(Client::new(&socket).with_timeout(TIMEOUT)),
            // Bound, and about to be listened on.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => tokio::time::sleep(PAUSE).await,
            Err(error) if error.kind() == io::ErrorKind::NotFound => loop {
                let changes = watch.changes().await?;
                if changes
                    .names
                    .iter()
                    .any(|changed| changed == name.as_encoded_bytes())
                {
                    break;
                }
                if changes.over {
                    return Err(io::Error::other(
                        "the folder of the machine's sockets was removed",
                    ));
                }
            },
            Err(error) => return Err(error),
        }
    }
}

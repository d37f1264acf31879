//! Streams to a guest's vsock ports, through the VMM's Unix socket (Firecracker: docs/vsock.md, "host-initiated connections").

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

/// How long the VMM and the guest may take to make a connection.
const PATIENCE: Duration = Duration::from_secs(20);

/// The longest answer: `OK `, a port, a line feed.
const MAX_ANSWER: usize = 32;

/// Connects to `port` of the guest behind `socket`.
pub(crate) async fn connect(socket: &Path, port: u32) -> io::Result<UnixStream> {
    tokio::time::timeout(PATIENCE, try_connect(socket, port))
        .await
        .unwrap_or_else(|late| Err(late.into()))
}

async fn try_connect(socket: &Path, port: u32) -> io::Result<UnixStream> {
    let mut stream = UnixStream::connect(socket).await?;
    stream.write_all(format!("CONNECT {port}\n").as_bytes()).await?;
    let mut answer = Vec::new();
    // Byte by byte: what follows the line feed is the guest's.
    while answer.last() != Some(&b'\n') {
        if answer.len() == MAX_ANSWER {
            return Err(io::Error::other(
                "the VMM does not speak the hybrid vsock protocol",
            ));
        }
        match stream.read_u8().await {
            Ok(byte) => answer.push(byte),
            // How the VMM says that nobody listens there.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                let text = format!("nothing in the guest listens on vsock port {port}");
                return Err(io::Error::new(io::ErrorKind::ConnectionRefused, text));
            }
            Err(error) => return Err(error),
        }
    }
    if answer.starts_with(b"OK ") {
        return Ok(stream);
    }
    Err(io::Error::other(format!(
        "the VMM answered {:?}",
        String::from_utf8_lossy(&answer)
    )))
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;

    use super::*;

    async fn with_answer(answer: &'static [u8]) -> io::Result<UnixStream> {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("vsock.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let vmm = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = [0; 11];
            stream.read_exact(&mut asked).await.unwrap();
            assert_eq!(&asked, b"CONNECT 22\n");
            stream.write_all(answer).await.unwrap();
        });
        let result = connect(&path, 22).await;
        vmm.await.unwrap();
        result
    }

    #[tokio::test]
    async fn what_follows_the_answer_is_not_swallowed() {
        let mut stream = with_answer(b"OK 1073741824\nSSH-2.0-x").await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "SSH-2.0-x");
    }

    #[tokio::test]
    async fn refusals_and_nonsense_are_errors() {
        assert_eq!(
            with_answer(b"").await.unwrap_err().kind(),
            io::ErrorKind::ConnectionRefused
        );
        assert!(with_answer(b"NO\n").await.is_err());
        assert!(with_answer(&[b'x'; 40]).await.is_err());
    }
}

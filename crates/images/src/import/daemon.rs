//! Images that Docker or Podman have on this machine.
//!
//! Asked over their Unix sockets as `docker save` does: `GET /images/NAME/get` (Docker's Engine API; Podman answers the same).
//! What comes is an archive like any other.

use std::io::{self, Read};
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;
use tokio::time::timeout;

use super::ImportError;
use crate::oci::Reference;
use crate::task::Task;

/// Between two looks whether the task is called off while the daemon is silent: it packs before it sends.
const LOOK: Duration = Duration::from_millis(100);
/// Of an answer that says what is wrong.
const MAX_ANSWER: usize = 64 << 10;

/// A program that has images, and where it may listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Daemon {
    program: &'static str,
    /// The first that is there is asked.
    sockets: Vec<PathBuf>,
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl Daemon {
    /// Docker, where `DOCKER_HOST` says (its value, where it is set), else where it listens for a user with this runtime folder
    /// (`XDG_RUNTIME_DIR`), or for all.
    ///
    /// # Errors
    /// `DOCKER_HOST` is no Unix socket.
    pub fn docker(docker_host: Option<&str>, runtime: Option<PathBuf>) -> Result<Self, ImportError> {
        let sockets = match docker_host.filter(|host| !host.is_empty()) {
            None => {
                let own = runtime.map(|runtime| runtime.join("docker.sock"));
                own.into_iter()
                    .chain([PathBuf::from("/var/run/docker.sock")])
                    .collect()
            }
            Some(host) => match host.strip_prefix("unix://") {
                Some(path) => vec![PathBuf::from(path)],
                None => return Err(ImportError::DockerHost(host.to_owned())),
            },
        };
        Ok(Self {
            program: "Docker",
            sockets,
        })
    }

    /// Podman, where it listens for a user with this runtime folder (`XDG_RUNTIME_DIR`), or for all.
    #[must_use]
    pub fn podman(runtime: Option<PathBuf>) -> Self {
        let own = runtime.map(|runtime| runtime.join("podman/podman.sock"));
        Self {
            program: "Podman",
            sockets: own
                .into_iter()
                .chain([PathBuf::from("/run/podman/podman.sock")])
                .collect(),
        }
    }

    /// Asks for the archive of one image, by its name or id; gives its bytes as they come, and the name, if it is one.
    pub(super) fn save(&self, name: &str, task: &Task) -> Result<(Saved, Option<Reference>), ImportError> {
        let socket = self.sockets.iter().find(|socket| socket.exists());
        let socket = socket.ok_or_else(|| ImportError::NoDaemon {
            program: self.program,
            tried: self.sockets.clone(),
        })?;
        let broken = |source: BoxError| ImportError::Daemon {
            program: self.program,
            socket: socket.clone(),
            source,
        };
        let fit = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/:@".contains(&byte);
        if name.is_empty() || name.len() > 1024 || !name.bytes().all(fit) {
            return Err(ImportError::NotThere {
                program: self.program,
                name: name.chars().take(100).collect(),
                answer: "no image can be called so".to_owned(),
            });
        }
        let reference: Option<Reference> = name.parse().ok().filter(|_| !is_id(name));
        // With its tag: a name without one is all of its tags to Docker.
        let asked = reference
            .as_ref()
            .map_or_else(|| name.to_owned(), Reference::familiar);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| broken(error.into()))?;
        let stream = runtime.block_on(async { UnixStream::connect(socket).await });
        let stream = stream.map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => ImportError::DaemonForbids {
                program: self.program,
                socket: socket.clone(),
            },
            io::ErrorKind::ConnectionRefused => ImportError::DaemonGone {
                program: self.program,
                socket: socket.clone(),
            },
            _ => broken(error.into()),
        })?;
        let answer = runtime.block_on(watched(task, async {
            let stream = TokioIo::new(stream);
            let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
            // It moves whenever somebody waits for an answer, and ends with the runtime.
            tokio::spawn(connection);
            let request = Request::get(format!("/images/{asked}/get"))
                .header("host", "localhost")
                .body(Empty::<Bytes>::new())?;
            let answer = sender.send_request(request).await?;
            let status = answer.status();
            if status == StatusCode::OK {
                return Ok::<_, BoxError>(Ok(answer.into_body()));
            }
            let text = Limited::new(answer.into_body(), MAX_ANSWER)
                .collect()
                .await?
                .to_bytes();
            Ok(Err((status, message(&text))))
        }));
        match answer.map_err(broken)? {
            Ok(body) => {
                let saved = Saved {
                    runtime,
                    body,
                    rest: Bytes::new(),
                    task: task.clone(),
                };
                Ok((saved, reference))
            }
            // Podman calls an image that it does not know an error of its own.
            Err((status, answer)) if status == StatusCode::NOT_FOUND || answer.contains("not known") => {
                Err(ImportError::NotThere {
                    program: self.program,
                    name: name.to_owned(),
                    answer,
                })
            }
            Err((status, answer)) => Err(broken(format!("{status}: {answer}").into())),
        }
    }
}

/// What Docker shows of an id, or more: a name may look so, but nobody calls an image that.
fn is_id(text: &str) -> bool {
    text.len() >= 12 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The daemon's words: `{"message": "…"}`.
fn message(answer: &[u8]) -> String {
    let value: Option<serde_json::Value> = serde_json::from_slice(answer).ok();
    let message = value.as_ref().and_then(|value| value.get("message")?.as_str());
    message.map_or_else(
        || String::from_utf8_lossy(answer).trim().to_owned(),
        str::to_owned,
    )
}

/// Waits for `work` until the task is called off.
async fn watched<T, E>(task: &Task, work: impl Future<Output = Result<T, E>>) -> Result<T, E>
where
    E: From<crate::task::Cancelled>,
{
    let mut work = std::pin::pin!(work);
    loop {
        task.check()?;
        if let Ok(done) = timeout(LOOK, work.as_mut()).await {
            return done;
        }
    }
}

/// An archive as it comes.
pub(super) struct Saved {
    runtime: Runtime,
    body: Incoming,
    rest: Bytes,
    task: Task,
}

impl Read for Saved {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            let frame = async { self.body.frame().await.transpose().map_err(BoxError::from) };
            let frame = self
                .runtime
                .block_on(watched(&self.task, frame))
                .map_err(io::Error::other)?;
            match frame {
                None => return Ok(0),
                Some(frame) => self.rest = frame.into_data().unwrap_or_default(),
            }
        }
        let count = self.rest.len().min(buffer.len());
        let bytes = self.rest.split_to(count);
        buffer
            .iter_mut()
            .zip(bytes)
            .for_each(|(place, byte)| *place = byte);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets() {
        let docker = Daemon::docker(Some("unix:///run/user/1/docker.sock"), None).unwrap();
        assert_eq!(docker.sockets, [PathBuf::from("/run/user/1/docker.sock")]);
        assert!(matches!(
            Daemon::docker(Some("tcp://x:1"), None),
            Err(ImportError::DockerHost(_))
        ));
        assert_eq!(
            Daemon::docker(None, Some("/run/user/1".into())).unwrap().sockets,
            ["/run/user/1/docker.sock", "/var/run/docker.sock"].map(PathBuf::from)
        );
        let podman = Daemon::podman(Some("/run/user/1".into()));
        assert_eq!(podman.sockets[0], PathBuf::from("/run/user/1/podman/podman.sock"));
    }

    #[test]
    fn where_nobody_answers() {
        let save = |host: &str| {
            let docker = Daemon::docker(Some(host), None).unwrap();
            docker.save("x", &Task::new()).err().unwrap().to_string()
        };
        assert_eq!(
            save("unix:///nowhere"),
            "no Docker answers: there is no socket at /nowhere. An archive will do as well: docker save NAME | knaller image import -"
        );
        // One that was left by who listened there.
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("docker.sock");
        drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
        assert_eq!(
            save(&format!("unix://{}", socket.display())),
            format!(
                "no Docker answers: nobody listens at {}. An archive will do as well: docker save NAME | knaller image import -",
                socket.display()
            )
        );
    }

    #[test]
    fn words_of_a_daemon() {
        assert_eq!(message(br#"{"message": "No such image: x"}"#), "No such image: x");
        assert_eq!(message(b" plain \n"), "plain");
    }
}

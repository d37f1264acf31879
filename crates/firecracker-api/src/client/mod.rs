//! The asking side: one async method per operation of the API.
//!
//! The invariant: a request is sent at most once. Dropping a method's future at any await leaves nothing half-read
//! behind; whether the server had acted by then is not known.
//!
//! ```no_run
//! # async fn start() -> Result<(), firecracker_api::Error> {
//! use firecracker_api::Client;
//! use firecracker_api::models::{ActionType, BootSource, Drive, MachineConfiguration};
//!
//! let vm = Client::new("/run/user/1000/vm.sock");
//! vm.put_machine_config(&MachineConfiguration { vcpu_count: 2, mem_size_mib: 256, ..Default::default() }).await?;
//! vm.put_boot_source(&BootSource { kernel_image_path: "/vmlinux".into(), ..Default::default() }).await?;
//! vm.put_drive(&Drive {
//!     drive_id: "root".into(),
//!     path_on_host: Some("/rootfs.ext4".into()),
//!     is_root_device: true,
//!     is_read_only: Some(false),
//!     ..Default::default()
//! })
//! .await?;
//! vm.put_action(ActionType::InstanceStart).await?;
//! println!("{}", vm.get_instance().await?.state);
//! # Ok(())
//! # }
//! ```

mod connection;
mod error;
mod operations;
mod tolerant;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::{Method, Uri};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use connection::RawAnswer;
pub use error::{ConnectFailure, Error, Operation};

use connection::Pool;

/// A client of one server. Clones share its connection, and each may have its own options.
///
/// One connection is kept between requests. Requests made at the same time have one each, and the server takes them one
/// after the other.
#[derive(Clone, Debug)]
pub struct Client {
    pool: Arc<Pool>,
    options: ClientOptions,
}

/// The limits a client keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientOptions {
    /// How long a request may take, connecting included. 30 s unless set; loading a large snapshot may need more.
    pub timeout: Duration,
    /// The largest answer in bytes. 4 MiB unless set.
    pub max_answer: usize,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            max_answer: 4 << 20,
        }
    }
}

impl Client {
    /// A client of the server behind `socket`. Nothing is connected yet.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self {
            pool: Arc::new(Pool::new(socket.into())),
            options: ClientOptions::default(),
        }
    }

    /// The same client, connection included, with other limits.
    #[must_use]
    pub fn with_options(mut self, options: ClientOptions) -> Self {
        self.options = options;
        self
    }

    /// The same client, connection included, with another time limit per request.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.options.timeout = timeout;
        self
    }

    /// The server's socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        self.pool.socket()
    }

    /// Sends any request and gives its answer whatever the status: for what the methods do not cover.
    ///
    /// # Errors
    /// As for every request, but for [`Error::Fault`] and [`Error::UnexpectedBody`].
    pub async fn send_raw(&self, method: Method, path: Uri, body: Option<Bytes>) -> Result<RawAnswer, Error> {
        self.send(&Operation::new(method, path), body).await
    }

    async fn send(&self, operation: &Operation, body: Option<Bytes>) -> Result<RawAnswer, Error> {
        let ClientOptions { timeout, max_answer } = self.options;
        tokio::time::timeout(timeout, self.pool.exchange(operation, body, max_answer))
            .await
            .unwrap_or_else(|_| {
                Err(Error::Timeout {
                    operation: operation.clone(),
                    after: timeout,
                })
            })
    }

    /// Sends a request and refuses answers that are faults.
    async fn ask(&self, operation: &Operation, body: Option<Bytes>) -> Result<RawAnswer, Error> {
        let answer = self.send(operation, body).await?;
        if answer.headers.contains_key("deprecation") {
            tracing::warn!(%operation, "the server calls this request deprecated");
        }
        if answer.status.is_success() {
            return Ok(answer);
        }
        Err(Error::Fault {
            operation: operation.clone(),
            status: answer.status.as_u16(),
            message: fault_message(&answer.body),
        })
    }

    async fn get<T: DeserializeOwned>(&self, path: &'static str) -> Result<T, Error> {
        let operation = Operation::new(Method::GET, Uri::from_static(path));
        let answer = self.ask(&operation, None).await?;
        tolerant::from_slice(&answer.body).map_err(|source| Error::UnexpectedBody { operation, source })
    }

    async fn change<T: Serialize + ?Sized>(&self, method: Method, path: Uri, body: &T) -> Result<(), Error> {
        let operation = Operation::new(method, path);
        match serde_json::to_vec(body) {
            Ok(json) => self.ask(&operation, Some(json.into())).await.map(drop),
            Err(source) => Err(Error::Unwritable { operation, source }),
        }
    }

    async fn order(&self, method: Method, path: Uri) -> Result<(), Error> {
        self.ask(&Operation::new(method, path), None).await.map(drop)
    }
}

/// The path of one device. Firecracker allows letters of any script; a path of HTTP does not, so ASCII it is.
fn device_path(collection: &str, id: &str) -> Result<Uri, Error> {
    if id.is_empty()
        || !id
            .bytes()
            .all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
    {
        return Err(Error::InvalidId(id.to_owned()));
    }
    format!("/{collection}/{id}")
        .parse()
        .map_err(|_| Error::InvalidId(id.to_owned()))
}

/// The words of a fault. Errors of Firecracker's HTTP layer are no valid JSON and are given as they are.
fn fault_message(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Fault {
        fault_message: String,
    }
    match serde_json::from_slice::<Fault>(body) {
        Ok(fault) => fault.fault_message,
        Err(_) => String::from_utf8_lossy(body).trim().to_owned(),
    }
}

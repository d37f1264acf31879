//! One kept connection to the server, and how a request travels on it.
//!
//! The invariant: a connection is kept for the next request only after the last byte of a good answer was read. A request
//! whose future is dropped takes its connection, and the task that drives it, with it.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::task::JoinHandle;

use super::error::{Error, Operation};

/// A status, headers and the whole body.
#[derive(Clone, Debug)]
pub struct RawAnswer {
    /// The HTTP status.
    pub status: StatusCode,
    /// The headers, their names in lower case.
    pub headers: HeaderMap,
    /// The body; empty with status 204.
    pub body: Bytes,
}

/// The socket and, between two requests, the connection to it.
#[derive(Debug)]
pub(super) struct Pool {
    socket: PathBuf,
    idle: Mutex<Option<Connection>>,
}

#[derive(Debug)]
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Closes the stream at once, whatever was under way on it.
        self.driver.abort();
    }
}

impl Pool {
    pub(super) fn new(socket: PathBuf) -> Self {
        Self {
            socket,
            idle: Mutex::new(None),
        }
    }

    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Sends one request and reads the whole answer.
    ///
    /// A kept connection that the server has closed in the meantime is replaced by a new one, unless the server may
    /// have got the request and it is not a GET: then the caller has to decide.
    pub(super) async fn exchange(
        &self,
        operation: &Operation,
        body: Option<Bytes>,
        max_answer: usize,
    ) -> Result<RawAnswer, Error> {
        if let Some(mut kept) = self.take_idle()
            && kept.sender.ready().await.is_ok()
        {
            match kept
                .sender
                .try_send_request(request(operation, body.clone()))
                .await
            {
                Ok(response) => return self.finish(kept, operation, response, max_answer).await,
                Err(mut refused) => {
                    let unsent = refused.take_message().is_some();
                    if !unsent && operation.method() != Method::GET {
                        return Err(interrupted(operation, refused.into_error()));
                    }
                }
            }
        }
        let mut fresh = self.connect().await?;
        let response = fresh
            .sender
            .send_request(request(operation, body))
            .await
            .map_err(|err| interrupted(operation, err))?;
        self.finish(fresh, operation, response, max_answer).await
    }

    async fn finish(
        &self,
        connection: Connection,
        operation: &Operation,
        response: Response<hyper::body::Incoming>,
        max_answer: usize,
    ) -> Result<RawAnswer, Error> {
        let (head, body) = response.into_parts();
        let body = match Limited::new(body, max_answer).collect().await {
            Ok(collected) => collected.to_bytes(),
            Err(err) => {
                return Err(match err.downcast::<hyper::Error>() {
                    Ok(source) => interrupted(operation, *source),
                    Err(other) => {
                        debug_assert!(other.is::<LengthLimitError>(), "{other}");
                        Error::TooLarge {
                            operation: operation.clone(),
                            limit: max_answer,
                        }
                    }
                });
            }
        };
        // After a fault that the HTTP layer found the server may take the rest of the request for the next one.
        if head.status.is_success() {
            *self.idle.lock().unwrap_or_else(PoisonError::into_inner) = Some(connection);
        }
        Ok(RawAnswer {
            status: head.status,
            headers: head.headers,
            body,
        })
    }

    fn take_idle(&self) -> Option<Connection> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    async fn connect(&self) -> Result<Connection, Error> {
        let failed = |source: std::io::Error| Error::Connect {
            socket: self.socket.clone(),
            kind: (&source).into(),
            source,
        };
        let stream = UnixStream::connect(&self.socket).await.map_err(failed)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|err| failed(std::io::Error::other(err)))?;
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "API connection ended");
            }
        });
        Ok(Connection { sender, driver })
    }
}

fn interrupted(operation: &Operation, source: hyper::Error) -> Error {
    Error::Interrupted {
        operation: operation.clone(),
        source,
    }
}

fn request(operation: &Operation, body: Option<Bytes>) -> Request<Full<Bytes>> {
    let has_body = body.is_some();
    let mut request = Request::new(Full::new(body.unwrap_or_default()));
    *request.method_mut() = operation.method().clone();
    *request.uri_mut() = operation.path().clone();
    let headers = request.headers_mut();
    headers.insert(HOST, HeaderValue::from_static("localhost"));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    if has_body {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    request
}

//! The socket: connections, and the one handler behind them.
//!
//! The invariant: requests reach the handler one at a time, whole, in the order in which they were read, and each is
//! carried out to its end even if its client has gone.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, Version};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinSet};

use super::http::{self, Unreadable};
use super::{Answer, ApiRequest, Fault, route};

/// Who carries requests out.
pub trait Handler: Send + 'static {
    /// Carries one request out. The next one waits for the answer.
    fn handle(&mut self, request: ApiRequest) -> impl Future<Output = Answer> + Send;
}

impl<F, Work> Handler for F
where
    F: FnMut(ApiRequest) -> Work + Send + 'static,
    Work: Future<Output = Answer> + Send,
{
    fn handle(&mut self, request: ApiRequest) -> impl Future<Output = Answer> + Send {
        self(request)
    }
}

/// What a server puts up with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest body of a request in bytes (`--http-api-max-payload-size`). 51,200 unless set.
    pub max_payload: usize,
    /// Connections at the same time; later ones are turned away with status 503. 10 unless set.
    pub max_connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_payload: 51_200,
            max_connections: 10,
        }
    }
}

/// How long answers may take to be written after `stop`.
const FLUSH: Duration = Duration::from_secs(1);

/// What is sent over a connection that is one too many.
const TOO_MANY: &[u8] =
    b"HTTP/1.1 503\r\nServer: Firecracker API\r\nConnection: close\r\nContent-Length: 40\r\n\r\n\
    { \"error\": \"Too many open connections\" }";

struct Job {
    request: ApiRequest,
    reply: oneshot::Sender<Answer>,
}

/// Serves `listener` until `stop` is ready, then lets what was begun be answered, for a second at the most.
///
/// Dropping the future stops at once, in the middle of whatever the handler does.
///
/// # Errors
/// If the handler panicked. The request it had, and those that waited, are answered with status 500.
pub async fn serve<H: Handler>(
    listener: UnixListener,
    limits: Limits,
    mut handler: H,
    stop: impl Future<Output = ()>,
) -> Result<(), JoinError> {
    let (jobs, mut inbox) = mpsc::channel::<Job>(limits.max_connections.max(1));
    let (stopping, is_stopping) = watch::channel(false);
    let places = Arc::new(Semaphore::new(limits.max_connections));
    let mut connections = JoinSet::new();
    let mut worker = JoinSet::new();
    worker.spawn(async move {
        while let Some(Job { request, reply }) = inbox.recv().await {
            if reply.send(handler.handle(request).await).is_err() {
                tracing::debug!("nobody waits for the answer any more");
            }
        }
    });

    let mut stop = pin!(stop);
    let result = loop {
        let stream = tokio::select! {
            () = &mut stop => break Ok(()),
            Some(ended) = worker.join_next() => break ended,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // No more descriptors or memory: it passes, and until then accept(2) would fail at once again.
                    tracing::error!(%error, "API Server error on retrieving incoming request");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            connections.spawn(turn_away(stream));
            continue;
        };
        let connection = converse(stream, limits, jobs.clone(), is_stopping.clone());
        connections.spawn(async move {
            connection.await;
            drop(place);
        });
    };

    drop(listener);
    drop(jobs);
    let flush = async {
        // The receivers go with their connections, so that an error here means there is nobody left to tell.
        let _ = stopping.send(true);
        while connections.join_next().await.is_some() {}
        while worker.join_next().await.is_some() {}
    };
    if tokio::time::timeout(FLUSH, flush).await.is_err() {
        tracing::warn!("the API server stops with requests unanswered");
    }
    result
}

async fn turn_away(mut stream: UnixStream) {
    if let Err(error) = stream.write_all(TOO_MANY).await {
        tracing::debug!(%error, "a client that is one too many did not wait for the word");
    }
}

async fn converse(
    stream: UnixStream,
    limits: Limits,
    jobs: mpsc::Sender<Job>,
    mut is_stopping: watch::Receiver<bool>,
) {
    let mut stream = TokioIo::new(stream);
    loop {
        // To hyper a connection is over after a request of HTTP/1.0. Firecracker makes no difference, and there are clients
        // that send all their requests as such: for them a new conversation begins on the same socket.
        let goes_on = AtomicBool::new(false);
        let service = service_fn(|request: Request<Incoming>| {
            let old = request.version() == Version::HTTP_10;
            goes_on.store(old && http::keeps_connection(&request), Ordering::Relaxed);
            let answer = answer(request, limits, jobs.clone());
            Box::pin(async { Ok::<_, Infallible>(answer.await) })
        });
        let mut connection = http1::Builder::new()
            .auto_date_header(false)
            .title_case_headers(true)
            .serve_connection(stream, service);
        let stopped = async {
            // An error is a server that has gone: it stops as well.
            let _ = is_stopping.wait_for(|stopping| *stopping).await;
        };
        let ended = tokio::select! {
            ended = poll_fn(|context| connection.poll_without_shutdown(context)) => ended,
            () = stopped => {
                Pin::new(&mut connection).graceful_shutdown();
                poll_fn(|context| connection.poll_without_shutdown(context)).await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "API connection ended");
            return;
        }
        let parts = connection.into_parts();
        // What is there already was sent without waiting for the answer, which HTTP/1.0 does not know.
        if !goes_on.load(Ordering::Relaxed) || !parts.read_buf.is_empty() {
            return;
        }
        stream = parts.io;
    }
}

async fn answer(
    request: Request<Incoming>,
    limits: Limits,
    jobs: mpsc::Sender<Job>,
) -> Response<Full<Bytes>> {
    let keeps = http::keeps_connection(&request);
    let mut response = judge(request, limits, jobs).await;
    if keeps {
        http::keep_connection(&mut response);
    }
    response
}

async fn judge(request: Request<Incoming>, limits: Limits, jobs: mpsc::Sender<Job>) -> Response<Full<Bytes>> {
    let Some(method) = http::method(&request) else {
        return http::refuse("Invalid HTTP Method: Unsupported HTTP method.");
    };
    let path = http::path(&request).to_owned();
    let body = match http::read(request.into_body(), limits.max_payload).await {
        Ok(body) => body,
        Err(Unreadable::TooLarge { size, limit }) => {
            return http::refuse(&format!(
                "Request payload with size {size} is larger than the limit of {limit} allowed by server."
            ));
        }
        Err(Unreadable::Broken) => return http::refuse("Invalid request."),
    };
    tracing::info!(
        "The API server received a {}.",
        http::describe(method, &path, &body)
    );

    let routed = match route(method, &path, &body) {
        Ok(routed) => routed,
        Err(fault) => {
            tracing::error!("{fault}");
            return http::respond(&Answer::Fault(fault), false);
        }
    };
    let (reply, replied) = oneshot::channel();
    let gone = || {
        Answer::Fault(Fault {
            status: 500,
            message: "The VMM has stopped.".to_owned(),
        })
    };
    let answer = match jobs
        .send(Job {
            request: routed.request,
            reply,
        })
        .await
    {
        Ok(()) => replied.await.unwrap_or_else(|_| gone()),
        Err(_) => gone(),
    };
    match &answer {
        Answer::Done => {
            tracing::info!("The request was executed successfully. Status code: 204 No Content.");
        }
        Answer::Fault(Fault { status, message }) => {
            let reason = if *status == 413 {
                "Payload too large"
            } else {
                "Bad Request"
            };
            tracing::error!("Received Error. Status code: {status} {reason}. Message: {message}");
        }
        _ => tracing::info!("The request was executed successfully. Status code: 200 OK."),
    }
    if let Some(deprecation) = routed.deprecation {
        tracing::warn!("{deprecation}");
    }
    http::respond(&answer, routed.deprecation.is_some())
}

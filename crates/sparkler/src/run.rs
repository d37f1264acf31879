//! The process: the API's server, the machine, signals and the clock of the metrics, joined.
//!
//! Invariant: the machine is owned by one task and nothing is done to it by two at once; whatever ends first (the
//! guest, QEMU, a signal) ends the process, with everything else taken apart in order.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use firecracker_api::server::{Answer, ApiRequest, Fault, Limits, serve};
use tokio::sync::{mpsc, oneshot};

use crate::cli::Args;
use crate::config_file::{self, ConfigError};
use crate::exit::Exit;
use crate::metrics::PERIOD_S;
use crate::signals::Signals;
use crate::vm::Vm;

/// Why the process ended otherwise than by its guest.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Somebody else's socket, or one left by a killed process.
    #[error("Failed to open the API socket at: {}. Check that it is not already used.", .0.display())]
    SocketInUse(PathBuf),
    /// The socket cannot be made.
    #[error("Failed to bind and run the HTTP server: {}: {source}", path.display())]
    Bind {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The configuration file is wrong, or its machine does not start.
    #[error("Failed to build MicroVM from Json: {0}")]
    Config(#[from] ConfigError),
    /// The runtime cannot be had.
    #[error("No event loop: {0}")]
    Runtime(#[source] io::Error),
}

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// With this code.
    Exit(Exit),
    /// By this signal, as a process without a handler ends.
    Signal(i32),
}

/// A request on its way to the machine.
struct Job {
    request: ApiRequest,
    reply: oneshot::Sender<Answer>,
}

/// Serves one machine from its configuration to its end. Must be called on the main thread, since QEMU lives as long as
/// the thread that starts it.
pub fn run(args: &Args, vm: Vm) -> Result<Ending, RunError> {
    let socket = if args.no_api {
        None
    } else {
        Some(ApiSocket::bind(&args.api_sock)?)
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(RunError::Runtime)?;
    runtime.block_on(live(args, vm, socket.as_ref()))
}

async fn live(args: &Args, mut vm: Vm, socket: Option<&ApiSocket>) -> Result<Ending, RunError> {
    let (requests, inbox) = mpsc::channel(1);
    let (stop, stopped) = oneshot::channel();
    let server = match socket {
        Some(socket) => {
            let limits = Limits {
                max_payload: args.http_api_max_payload_size,
                ..Limits::default()
            };
            let stopped = async { drop(stopped.await) };
            let listener = socket.listener()?;
            Some(tokio::spawn(serve(listener, limits, forward(requests), stopped)))
        }
        None => None,
    };
    let mut signals = Signals::listen().map_err(RunError::Runtime)?;
    let ending: Result<Ending, RunError> = tokio::select! {
        signal = signals.next() => Ok(Ending::Signal(signal)),
        ended = async {
            if let Some(file) = &args.config_file {
                config_file::apply(file, &mut vm).await?;
            }
            work(&mut vm, inbox).await;
            Ok(Ending::Exit(Exit::Ok))
        } => ended,
    };
    let ending = conclude(&mut vm, ending?).await;
    // The server ends by itself once told; what fails in that has nobody left to be told to.
    let _ = stop.send(());
    if let Some(server) = server {
        let _ = server.await;
    }
    Ok(ending)
}

/// Hands each request to the machine's task and waits for its answer.
fn forward(
    requests: mpsc::Sender<Job>,
) -> impl FnMut(ApiRequest) -> std::pin::Pin<Box<dyn Future<Output = Answer> + Send>> + Send + 'static {
    move |request| {
        let requests = requests.clone();
        Box::pin(async move {
            let gone = || {
                Answer::Fault(Fault {
                    status: 500,
                    message: "The VMM has stopped.".to_owned(),
                })
            };
            let (reply, answer) = oneshot::channel();
            match requests.send(Job { request, reply }).await {
                Ok(()) => answer.await.unwrap_or_else(|_| gone()),
                Err(_) => gone(),
            }
        })
    }
}

/// Carries out requests until the machine ends, and writes its metrics now and then.
async fn work(vm: &mut Vm, mut inbox: mpsc::Receiver<Job>) {
    let period = Duration::from_secs(PERIOD_S);
    let mut metrics = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
    metrics.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = vm.ended() => return,
            Some(Job { request, reply }) = inbox.recv() => {
                let answer = Answer::from(vm.handle(request).await);
                // A client that has gone has no use for its answer.
                let _ = reply.send(answer);
            }
            _ = metrics.tick() => {
                if let Err(error) = vm.flush_metrics_of_running().await {
                    tracing::error!("Failed to write metrics: {error}");
                }
            }
        }
    }
}

/// Takes the machine apart, whatever ended the work, and says how the process ends.
async fn conclude(vm: &mut Vm, ending: Ending) -> Ending {
    if let Ending::Signal(signal) = ending {
        tracing::error!("Shutting down VM after intercepting signal {signal}.");
        vm.count_signal(signal);
        vm.finish().await;
        return match Exit::from_signal(signal) {
            Exit::GenericError => ending,
            exit => Ending::Exit(exit),
        };
    }
    let Some(end) = vm.finish().await else {
        return ending;
    };
    let exit = end.exit();
    if exit == Exit::Ok {
        tracing::info!("Vmm is stopping: {end}.");
    } else {
        tracing::error!("Vmm is stopping: {end}.");
    }
    Ending::Exit(exit)
}

/// The API's socket; its file goes with it, unless somebody has put another there.
#[derive(Debug)]
struct ApiSocket {
    listener: UnixListener,
    path: PathBuf,
    inode: Option<(u64, u64)>,
}

impl ApiSocket {
    fn bind(path: &Path) -> Result<Self, RunError> {
        let listener = UnixListener::bind(path).map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => RunError::SocketInUse(path.to_owned()),
            _ => RunError::Bind {
                path: path.to_owned(),
                source,
            },
        })?;
        tracing::info!("Listening on API socket ({path:?}).");
        Ok(Self {
            listener,
            path: path.to_owned(),
            inode: inode(path),
        })
    }

    fn listener(&self) -> Result<tokio::net::UnixListener, RunError> {
        let bind = |source| RunError::Bind {
            path: self.path.clone(),
            source,
        };
        let copy = self.listener.try_clone().map_err(bind)?;
        copy.set_nonblocking(true).map_err(bind)?;
        tokio::net::UnixListener::from_std(copy).map_err(bind)
    }
}

impl Drop for ApiSocket {
    fn drop(&mut self) {
        if self.inode.is_some() && inode(&self.path) == self.inode {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn inode(path: &Path) -> Option<(u64, u64)> {
    let data = fs::symlink_metadata(path).ok()?;
    Some((data.dev(), data.ino()))
}

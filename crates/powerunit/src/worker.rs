//! The worker process: the SSH server's runtime, and its view of the machine kept up to date over the [`link`](crate::link).
//!
//! The invariant: it starts in the initramfs and stays there until PID 1 says that the root is up; then its root becomes
//! PID 1's, before any session is let through.

use std::fs::File;
use std::io::{Error, ErrorKind, Read as _, Result, Seek as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use guest_protocol::control::{Reply, Request};
use guest_protocol::frame::MAX_BODY;
use guest_protocol::{Config, Exit, Init, Renewal};
use rustix::fs::{Mode, OFlags};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, mpsc, watch};

use crate::clock;
use crate::console::{chain, say};
use crate::freeze::{Order, Service};
use crate::health::Health;
use crate::link::{Notice, Word};
use crate::listen::Listener;
use crate::machine::{Call, Handle, Root};
use crate::{figures, interrupt, ps, ssh, sys};

/// How long sessions whose programs have just been ended have to tell their clients so, before the machine goes off.
const LINGER: Duration = Duration::from_millis(50);

/// What PID 1 leaves a worker, in memory.
#[derive(Debug)]
pub(crate) struct Inheritance {
    pub(crate) link: StdStream,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) config: Source,
    /// When PID 1 began, microseconds since the kernel's start.
    pub(crate) init_us: u64,
    /// The folder of the first root: a way to what is mounted there alone.
    pub(crate) initramfs: OwnedFd,
}

/// Where a worker has the config from.
#[derive(Debug)]
pub(crate) enum Source {
    Known(Arc<Config>),
    /// It is not there yet. Once [`Notice::Config`] has come it is in this file, as JSON.
    Awaited(File),
}

/// The worker's whole life, in a process that was forked a moment ago. Nothing of PID 1's may run in it, not even by unwinding.
pub(crate) fn main(inheritance: Inheritance) -> ! {
    let ended = catch_unwind(AssertUnwindSafe(|| run(inheritance)));
    let code = match ended {
        Ok(Ok(())) => 0,
        Ok(Err(e)) => {
            say(&format!("the SSH server cannot go on: {}", chain(&e)));
            1
        }
        // The panic has said itself what it was.
        Err(_) => 101,
    };
    sys::exit_now(code)
}

/// Serves until PID 1 says stop.
fn run(inheritance: Inheritance) -> Result<()> {
    sys::unblock_signals()?;
    rustix::thread::set_name(c"powerunit-ssh")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve(inheritance))
}

async fn serve(inheritance: Inheritance) -> Result<()> {
    let Inheritance {
        link,
        listeners,
        config,
        init_us,
        initramfs,
    } = inheritance;
    let (reader, writer) = UnixStream::from_std(link)?.into_split();
    let mut notices = BufReader::new(reader).lines();
    let config = match config {
        Source::Known(config) => config,
        Source::Awaited(file) => match await_config(&mut notices, file).await? {
            Some(config) => config,
            None => return Ok(()),
        },
    };
    let (root, root_seen) = watch::channel(Root::Pending);
    let (calls, asked) = mpsc::channel(8);
    let mut settings = ssh::Settings::new(&config.host_key, &config.authorized_keys).map_err(Error::other)?;
    settings.user_keys = config.user_keys;
    settings.environment = config.env.clone();
    let settings = watch::Sender::new(Arc::new(settings));
    let machine = Handle::new(root_seen, calls);
    let served = ssh::serve(listeners, settings.subscribe(), machine.clone());
    let (orders, ordered) = mpsc::channel(8);
    let (renewed, renewals) = mpsc::channel(1);
    let ending = Arc::new(Notify::new());
    let freezer = Service {
        orders: ordered,
        root: root.clone(),
        settings,
        renewed,
        ending: Arc::clone(&ending),
        initramfs: Arc::new(initramfs),
        init_us,
        network: config.network.clone(),
    };
    let view = View {
        notices,
        init: Some(writer),
        asked_to_end: false,
        asked,
        root,
        entrypoint: (false, None),
        health: Health::new(&config, machine),
        ready: false,
        orders,
        renewals,
        ending,
        init_folder: rustix::fs::open("/proc/1", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?,
    };
    drop(config);
    tokio::spawn(freezer.run());
    tokio::select! {
        () = view.keep() => Ok(()),
        served = served => served,
    }
}

/// The config, once it is there; `None` if it never comes.
async fn await_config(
    notices: &mut Lines<BufReader<OwnedReadHalf>>,
    mut file: File,
) -> Result<Option<Arc<Config>>> {
    match notices.next_line().await? {
        Some(line) if matches!(serde_json::from_str(&line), Ok(Notice::Config)) => {}
        _ => return Ok(None),
    }
    file.rewind()?;
    let mut json = Vec::new();
    file.take(MAX_BODY as u64).read_to_end(&mut json)?;
    Ok(Some(Arc::new(serde_json::from_slice(&json)?)))
}

/// The worker's end of the link, and what it has learnt there.
struct View {
    notices: Lines<BufReader<OwnedReadHalf>>,
    /// `None` once PID 1 is the image's init.
    init: Option<OwnedWriteHalf>,
    /// Whether somebody has asked for the machine's end here.
    asked_to_end: bool,
    asked: mpsc::Receiver<Call>,
    root: watch::Sender<Root>,
    /// Whether it runs, and how it ended.
    entrypoint: (bool, Option<Exit>),
    health: Health,
    /// Everything is up.
    ready: bool,
    /// To who makes the machine stand still.
    orders: mpsc::Sender<Order>,
    /// From there: the machine has become another.
    renewals: mpsc::Receiver<Renewal>,
    /// Tells there that the machine is to end.
    ending: Arc<Notify>,
    /// PID 1's folder of /proc, opened while /proc could be reached: it moves into the root with everything else.
    init_folder: OwnedFd,
}

impl View {
    /// Takes notices and answers calls until PID 1 says stop.
    async fn keep(mut self) {
        loop {
            tokio::select! {
                line = self.notices.next_line(), if self.init.is_some() => match line {
                    Ok(Some(line)) => match serde_json::from_str(&line) {
                        Ok(Notice::Stop) => return tokio::time::sleep(LINGER).await,
                        Ok(notice) => self.take(notice),
                        Err(e) => say(&format!("the worker does not understand init: {e}")),
                    },
                    Ok(None) | Err(_) => self.init_is_the_images(),
                },
                seen = self.health.changed() => {
                    // An init that is gone has no next worker to tell.
                    let _ = self.tell(&Word::Health(seen)).await;
                }
                call = self.asked.recv() => match call {
                    Some(call) => self.answer(call).await,
                    None => return,
                },
                Some(renewal) = self.renewals.recv() => {
                    // An image's init has no part in it.
                    let _ = self.tell(&Word::Renewed(Box::new(renewal))).await;
                }
            }
        }
    }

    fn take(&mut self, notice: Notice) {
        match notice {
            Notice::Root(Root::Up) => {
                let root = match self.enter_root() {
                    Ok(()) => Root::Up,
                    Err(e) => Root::Failed(format!("the SSH server cannot enter the root file system: {e}")),
                };
                self.root.send_replace(root);
            }
            Notice::Root(root) => {
                self.root.send_replace(root);
            }
            Notice::Entrypoint { running, exit } => self.entrypoint = (running, exit),
            Notice::Health(seen) => self.health.resume(seen),
            Notice::Ready { since_us } => {
                self.ready = true;
                self.health.start(since_us);
            }
            Notice::Asked => self.ending.notify_one(),
            Notice::Ending => {
                self.ending.notify_one();
                self.health.stop();
            }
            // The first is waited for elsewhere, and there is no second.
            Notice::Stop | Notice::Config => {}
        }
    }

    /// Makes PID 1's root this process's own. The mounts have moved there; only a process's root and working folder do
    /// not move by themselves.
    fn enter_root(&self) -> Result<()> {
        let root = rustix::fs::openat(
            &self.init_folder,
            "root",
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        rustix::process::fchdir(root)?;
        rustix::process::chroot(".")?;
        Ok(())
    }

    async fn answer(&mut self, call: Call) {
        let Call {
            request,
            asker,
            reply,
        } = call;
        let answer = match request {
            Request::Status => {
                let mut status = figures::read();
                (status.entrypoint_running, status.entrypoint_exit) = self.entrypoint.clone();
                status.health = self.health.seen();
                Reply::Status(status)
            }
            Request::Processes { after } => Reply::Processes(ps::after(after)),
            Request::SetClock { clock_ns } => match clock::set(clock_ns) {
                Ok(()) => Reply::Done,
                Err(e) => failed(&format!("cannot set the clock: {e}")),
            },
            Request::Shutdown { grace_ms } => match self.shut_down(grace_ms).await {
                Ok(()) => Reply::Stopping,
                Err(e) => failed(&format!("cannot reach init: {}", chain(&e))),
            },
            // PID 1 would go on with the boot all the same.
            Request::Freeze { .. } if !self.ready => failed("the guest is still starting"),
            Request::Freeze { patience_ms } => {
                let init = if self.init.is_some() {
                    Init::Powerunit
                } else {
                    Init::Image
                };
                let order = Order::Freeze {
                    patience_ms,
                    init,
                    asker,
                    reply,
                };
                return self.order(order).await;
            }
            Request::Thaw => return self.order(Order::Thaw { asker, reply }).await,
        };
        // Whoever asked may have gone.
        let _ = reply.send(answer);
    }

    /// It is answered where it is carried out; one that cannot be is not answered, which its asker sees.
    async fn order(&self, order: Order) {
        let _ = self.orders.send(order).await;
    }

    /// PID 1 has become the image's init. What it was asked before and did not hear, the image's is asked.
    fn init_is_the_images(&mut self) {
        self.init = None;
        if self.asked_to_end {
            tokio::spawn(interrupt::end_machine());
        }
    }

    async fn shut_down(&mut self, grace_ms: Option<u64>) -> Result<()> {
        self.ending.notify_one();
        let asked_before = std::mem::replace(&mut self.asked_to_end, true);
        if self.init.is_none() {
            if !asked_before {
                tokio::spawn(interrupt::end_machine());
            }
            return Ok(());
        }
        match self.tell(&Word::Shutdown { grace_ms }).await {
            // It is gone; the end of its notices, which is about to be read, leads to the image's init.
            Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(()),
            told => told,
        }
    }

    async fn tell(&mut self, word: &Word) -> Result<()> {
        let Some(init) = &mut self.init else {
            return Ok(());
        };
        let mut line = serde_json::to_vec(word)?;
        line.push(b'\n');
        init.write_all(&line).await
    }
}

fn failed(message: &str) -> Reply {
    Reply::Failed {
        message: message.into(),
    }
}

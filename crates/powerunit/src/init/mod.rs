//! PID 1: small, with one thread for all its life, so that it may fork.
//!
//! The invariant: PID 1 never ends and no panic leaves this module. A step that fails is reported, and the boot goes on to
//! whatever can still be had, a login before all else.

mod boot;
mod device;
pub(crate) mod entropy;
mod entrypoint;
mod fill;
mod handover;
mod keeper;
mod life;
mod modules;
mod mounts;
pub(crate) mod names;
pub(crate) mod network;
mod power;
mod root;
mod successor;
mod supervise;
mod switch;
mod uevent;
mod volumes;

use std::fs::File;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use guest_protocol::control::Health;
use guest_protocol::{Config, Exit, Init as Who, Network, Renewal};
use rustix::fs::MemfdFlags;
use rustix::process::Pid;

use crate::clock::uptime_us;
use crate::console::{chain, say};
use crate::figures;
use crate::link::{Link, Notice};
use crate::listen::Listener;
use crate::machine::Root;
use crate::report::Report;
use crate::sys;
use crate::worker::{self, Inheritance, Source};
use keeper::Keeper;
use life::{Event, Life};
use modules::Queue;
use supervise::{Entrypoint, LONGEST_GRACE};
use switch::Below;

/// The pause after a panic of the supervision, lest a fault that repeats itself takes all the machine's time.
const AFTER_PANIC: Duration = Duration::from_secs(1);

/// All that PID 1 holds.
#[derive(Debug, Default)]
struct Init {
    report: Report,
    /// Where signals arrive; `None` only if the kernel refused to make it.
    signals: Option<OwnedFd>,
    config: Option<Arc<Config>>,
    /// When PID 1 began, microseconds since the kernel's start.
    init_us: u64,
    listeners: Vec<Listener>,
    /// What was set up of the network before there was a config.
    prepared: Option<Network>,
    /// A worker that waits for the config.
    waiting: Option<Waiting>,
    worker: Keeper,
    root: Root,
    /// The initramfs, once something else is the root.
    below: Option<Below>,
    entrypoint: Option<Entrypoint>,
    exit: Option<Exit>,
    /// What the worker has seen of the entrypoint's health.
    health: Option<Health>,
    /// When everything was up, microseconds since the kernel's start.
    ready_us: Option<u64>,
    /// Modules that nobody waits for.
    leftover: Option<Queue>,
}

/// A worker that was started before there was a config.
#[derive(Debug)]
struct Waiting {
    pid: Pid,
    link: Link,
    /// Where it looks for the config.
    config: File,
}

impl Waiting {
    fn tell(mut self, config: &Config) -> std::io::Result<(Pid, Link)> {
        serde_json::to_writer(&self.config, config)?;
        self.link.send(&Notice::Config)?;
        Ok((self.pid, self.link))
    }
}

/// Runs the machine until it goes off. To be called by PID 1, before any thread is made.
pub fn run() -> ! {
    std::panic::set_hook(Box::new(|panic| say(&format!("panic: {panic}"))));
    let mut init = Init::default();
    let first = catch_unwind(AssertUnwindSafe(|| init.boot()));
    let first = first.unwrap_or_else(|_| init.boot_panicked());
    let mut life = Life::new(init.entrypoint.is_some());
    let mut action = first.and_then(|event| life.on(event, Instant::now()));
    loop {
        let supervised = catch_unwind(AssertUnwindSafe(|| {
            if let Some(action) = action.take() {
                init.carry_out(action);
            }
            init.supervise(&mut life)
        }));
        let Err(_) = supervised;
        std::thread::sleep(AFTER_PANIC);
    }
}

/// A fault of our own, whose text is on the console.
#[derive(Debug, thiserror::Error)]
#[error("powerunit met a fault of its own; the console says which")]
struct Panicked;

impl Init {
    /// What is left after a boot that was cut short: a login that is told why, or nothing worth staying up for.
    fn boot_panicked(&mut self) -> Option<Event> {
        self.report.failed("init", &Panicked);
        if self.root == Root::Pending {
            self.settle_root(Err(&Panicked));
        }
        // Workers come and go; without a door, or keys to it, none can ever let anybody in.
        let closed = self.listeners.is_empty() || self.config.is_none();
        closed.then_some(Event::Stop {
            grace: Duration::ZERO,
        })
    }

    /// Starts a worker, and plans the next attempt if that fails.
    fn start_worker(&mut self) {
        let Some(config) = self.config.clone() else { return };
        let started = match self.waiting.take() {
            Some(waiting) => waiting.tell(&config),
            None => self.fork_worker(Source::Known(config)),
        };
        match started {
            Ok((pid, link)) => {
                let mut notices = vec![Notice::Root(self.root.clone()), self.entrypoint_notice()];
                notices.extend(self.health.clone().map(Notice::Health));
                notices.extend(self.ready_us.map(|since_us| Notice::Ready { since_us }));
                self.worker.started(pid, link, &notices);
            }
            Err(e) => {
                self.report.warning("ssh", &e);
                self.worker.not_started(Instant::now());
            }
        }
    }

    /// Starts the first worker before there is a config.
    fn prepare_worker(&mut self) -> std::io::Result<()> {
        let config = File::from(rustix::fs::memfd_create(c"config", MemfdFlags::CLOEXEC)?);
        let (pid, link) = self.fork_worker(Source::Awaited(config.try_clone()?))?;
        self.waiting = Some(Waiting { pid, link, config });
        Ok(())
    }

    fn fork_worker(&mut self, config: Source) -> std::io::Result<(Pid, Link)> {
        let (link, theirs) = Link::pair()?;
        let initramfs = self.initramfs()?;
        // SAFETY: PID 1 has one thread, as `run` demands, and makes no other.
        match unsafe { sys::fork() }? {
            Some(pid) => Ok((pid, link)),
            None => {
                // Only PID 1 speaks with the host, which must see the stream end when PID 1 closes it.
                self.report.disconnect();
                drop(link);
                let listeners = std::mem::take(&mut self.listeners);
                worker::main(Inheritance {
                    link: theirs,
                    listeners,
                    config,
                    init_us: self.init_us,
                    initramfs,
                })
            }
        }
    }

    /// The folder of the first root, wherever it is now.
    fn initramfs(&self) -> std::io::Result<OwnedFd> {
        match &self.below {
            Some(below) => below.folder(),
            None => switch::own_root(),
        }
    }

    /// The machine has become another: so do the workers to come.
    fn renewed(&mut self, renewal: Renewal) {
        let Some(config) = &mut self.config else { return };
        let config = Arc::make_mut(config);
        config.hostname = renewal.hostname;
        config.host_key = renewal.host_key;
        config.authorized_keys = renewal.authorized_keys;
        if renewal.network.is_some() {
            config.network = renewal.network;
        }
    }

    fn entrypoint_notice(&self) -> Notice {
        Notice::Entrypoint {
            running: self.entrypoint.is_some(),
            exit: self.exit.clone(),
        }
    }

    /// What the entrypoint gets between its stop signal and SIGKILL, unless who asks says otherwise.
    fn grace(&self) -> Duration {
        let ms = self.config.as_ref().map_or(0, |config| config.stop_grace_ms);
        Duration::from_millis(ms).min(LONGEST_GRACE)
    }

    /// Everything is up, under `who` as PID 1: tells the host and the worker.
    fn ready(&mut self, who: Who) {
        let since_us = uptime_us();
        self.ready_us = Some(since_us);
        self.worker.tell(&Notice::Ready { since_us });
        self.report.ready(who, figures::memory_available_kib());
    }

    /// Settles what becomes of the root file system, and tells the worker.
    fn settle_root(&mut self, result: Result<(), &dyn std::error::Error>) {
        self.root = match result {
            Ok(()) => Root::Up,
            Err(e) => Root::Failed(chain(e)),
        };
        self.worker.tell(&Notice::Root(self.root.clone()));
    }
}

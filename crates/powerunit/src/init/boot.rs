//! The order of a boot.
//!
//! 1. /dev, /proc, /sys; the console; signals.
//! 2. Kernel modules until vsock answers, and the config.
//! 3. Entropy, the clock, the SSH listeners, the worker: from here on a login is taken, and waits.
//! 4. The other modules, the network, the root file system with its mounts: logins go through.
//! 5. Names; the entrypoint, or the image's own init; ready.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use guest_protocol::{Config, Exit, Init as Who, SSH_PORT};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Resource, Rlimit};

use super::dialogue::{Dialogue, Refusal};
use super::entrypoint::{self, Found, Launch};
use super::life::Event;
use super::modules::Queue;
use super::supervise::{Entrypoint, SIGNALS};
use super::{Init, entropy, handover, mounts, names, network, root, switch};
use crate::clock::{self, uptime_us};
use crate::console::{self, chain};
use crate::listen::Listener;
use crate::users::Accounts;
use crate::{figures, sys};

/// How many files a process may have open: at first, and when it asks for more. systemd's own defaults.
const OPEN_FILES: Rlimit = Rlimit {
    current: Some(1024),
    maximum: Some(524_288),
};

/// The root file system cannot be had.
#[derive(Debug, thiserror::Error)]
enum NoRoot {
    #[error(transparent)]
    Mount(#[from] root::Error),
    #[error(transparent)]
    Switch(#[from] switch::Error),
}

impl Init {
    /// Boots as far as it goes. Gives what the machine's life is to begin with, if that is not just to be up.
    pub(super) fn boot(&mut self) -> Option<Event> {
        let init_us = uptime_us();
        self.prepare();
        let mut modules = Queue::read().unwrap_or_else(|e| {
            self.report.warning("modules", &e);
            Queue::default()
        });
        let config = match self.ask(init_us, &mut modules) {
            Ok(config) => config,
            Err(refusal) => {
                self.report.failed("config", &refusal);
                // Without keys nobody can ever log in: there is nothing to stay up for.
                return Some(Event::Stop {
                    grace: Duration::ZERO,
                });
            }
        };
        self.open(&config);
        self.load(&mut modules, usize::MAX);
        self.report.phase("kernel modules loaded");
        for e in network::set_up(config.network.as_ref()) {
            self.report.warning("network", &e);
        }
        self.report.phase("network up");
        if let Err(e) = self.enter_root(&config) {
            self.settle_root(Err(&e));
            self.report.failed("root", &e);
            return None;
        }
        self.settle_root(Ok(()));
        self.report.phase("root file system up");
        for e in names::write_files(&config.hostname, config.network.as_ref()) {
            self.report.warning("names", &e);
        }
        match config.init {
            Who::Powerunit => self.start_entrypoint(&config),
            Who::Image => self.hand_over(),
        }
    }

    fn prepare(&mut self) {
        for mount in mounts::EARLY {
            if let Err(e) = mounts::apply(&mount) {
                self.report.warning("mounts", &e);
            }
        }
        console::open();
        // Ctrl-Alt-Del shall ask PID 1 and not reset the machine.
        let prepared = rustix::system::reboot(rustix::system::RebootCommand::CadOff)
            .and_then(|()| rustix::process::setrlimit(Resource::Nofile, OPEN_FILES))
            .map_err(std::io::Error::from)
            .and_then(|()| sys::signal_fd(&SIGNALS));
        match prepared {
            Ok(signals) => self.signals = Some(signals),
            Err(e) => self.report.warning("signals", &e),
        }
    }

    /// Loads modules until the host has answered, and asks on when there are none left.
    fn ask(&mut self, init_us: u64, modules: &mut Queue) -> Result<Arc<Config>, Refusal> {
        let mut dialogue = Dialogue::new(init_us);
        loop {
            if let Some((config, host)) = dialogue.advance()? {
                self.report.connect(host);
                self.report.phase("config received");
                let config = Arc::<Config>::from(config);
                self.config = Some(Arc::clone(&config));
                return Ok(config);
            }
            if !self.load(modules, 1) {
                dialogue.wait();
            }
        }
    }

    /// Loads at most so many modules. False if there was none left to load.
    fn load(&mut self, modules: &mut Queue, most: usize) -> bool {
        let mut any = false;
        for loaded in std::iter::from_fn(|| modules.load_next()).take(most) {
            any = true;
            if let Err(e) = loaded {
                self.report.warning("modules", &e);
            }
        }
        any
    }

    /// Opens the doors: nothing that takes time may come before this.
    fn open(&mut self, config: &Config) {
        if let Err(e) = entropy::credit(&config.entropy) {
            self.report.warning("entropy", &e);
        }
        if let Err(e) = clock::set(config.clock_ns) {
            self.report.warning("clock", &e);
        }
        if let Err(e) = names::set_hostname(&config.hostname) {
            self.report.warning("names", &e);
        }
        for opened in [Listener::vsock(SSH_PORT.into()), Listener::tcp(SSH_PORT)] {
            match opened {
                Ok(listener) => self.listeners.push(listener),
                Err(e) => self.report.warning("ssh", &e),
            }
        }
        self.start_worker();
        self.report.listening();
    }

    fn enter_root(&mut self, config: &Config) -> Result<(), NoRoot> {
        if root::mount(&config.root)? {
            let below = switch::switch(root::ROOT)?;
            below.free();
            self.below = Some(below);
        } else {
            switch::stay();
        }
        let writable = rustix::fs::statvfs("/")
            .is_ok_and(|fs| !fs.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY));
        let run = image_run();
        for mount in mounts::late(writable) {
            if let Err(e) = mounts::apply(&mount) {
                self.report.warning("mounts", &e);
            }
        }
        if let (Some(run), Who::Powerunit) = (run, config.init) {
            mounts::fill_run(&run);
        }
        for e in mounts::finish() {
            self.report.warning("mounts", &e);
        }
        Ok(())
    }

    fn start_entrypoint(&mut self, config: &Config) -> Option<Event> {
        if let Some(entrypoint) = &config.entrypoint {
            let accounts = Accounts::load(Path::new("/etc"));
            let started = Launch::resolve(config, entrypoint, &accounts, Found::at)
                .and_then(|launch| Ok((launch.start()?, launch.stop_signal)));
            match started {
                Ok((pid, stop_signal)) => {
                    self.entrypoint = Some(Entrypoint { pid, stop_signal });
                    let notice = self.entrypoint_notice();
                    self.worker.tell(&notice);
                }
                Err(e) => return Some(self.no_entrypoint(&e)),
            }
        }
        self.report.ready(figures::memory_available_kib());
        None
    }

    fn no_entrypoint(&mut self, error: &entrypoint::Error) -> Event {
        self.report.failed("entrypoint", error);
        self.entrypoint_ended(Exit::NotStarted(chain(error)));
        Event::EntrypointEnded
    }

    /// Becomes the image's init, if it has one.
    fn hand_over(&mut self) -> Option<Event> {
        let init = match handover::find() {
            Ok(init) => init,
            Err(e) => {
                self.report.failed("init", &e);
                return None;
            }
        };
        if let Some(Err(e)) = self.worker.pid().map(handover::set_apart) {
            self.report.warning("init", &e);
        }
        self.report.ready(figures::memory_available_kib());
        let error = handover::become_init(init);
        self.report.failed("init", &error);
        None
    }
}

/// What the image has at /run, before something is mounted there.
fn image_run() -> Option<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open("/run", flags, Mode::empty()).ok()
}

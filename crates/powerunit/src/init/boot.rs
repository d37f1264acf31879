//! The order of a boot.
//!
//! 1. /dev, /proc, /sys; the console; signals.
//! 2. Kernel modules until vsock answers, and the config. Where that is long in coming: all modules, and whatever else
//!    needs none.
//! 3. Entropy, the clock, the SSH listeners, the worker: from here on a login is taken, and waits.
//! 4. The network and the root file system, each with the modules it needs, the mounts and volumes: logins go through.
//! 5. Names (in a root that is to be read-only before the logins); the modules that are left; the entrypoint, or the
//!    image's own init; ready. Where there is nothing to start, the modules that are left come last, one between two
//!    looks at what is asked of PID 1.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use guest_protocol::{Config, Exit, Init as Who, Interface, Network, Root, SSH_PORT};
use rustix::fs::{Mode, OFlags};
use rustix::mount::MountFlags;
use rustix::process::{Resource, Rlimit};

use super::life::Event;
use super::modules::Queue;
use super::successor::{NoInit, OwnRoot, Successor};
use super::supervise::SIGNALS;
use super::{Init, entropy, entrypoint, handover, mounts, names, network, root, switch, uevent, volumes};
use crate::clock::{self, uptime_us};
use crate::console::{self, chain};
use crate::dialogue::{self, Answer, Dialogue, Purpose};
use crate::listen::Listener;
use crate::ssh::Settings;
use crate::sys;
use crate::users::Accounts;

/// How many files a process may have open: at first, and when it asks for more. systemd's own defaults.
const OPEN_FILES: Rlimit = Rlimit {
    current: Some(1024),
    maximum: Some(524_288),
};

/// The nice value of what can wait, sched(7): about a tenth of the CPU where somebody else wants all of it, so that it still
/// comes to its end.
const LATER: i32 = 10;

/// The root file system cannot be had.
#[derive(Debug, thiserror::Error)]
enum NoRoot {
    #[error(transparent)]
    Mount(#[from] root::Error),
    #[error(transparent)]
    Switch(#[from] switch::Error),
    #[error(transparent)]
    Volume(#[from] volumes::Error),
    #[error("cannot make the root file system read-only")]
    Seal(#[source] std::io::Error),
}

impl NoRoot {
    /// What the host is told has failed.
    fn step(&self) -> &'static str {
        match self {
            Self::Volume(_) => "volumes",
            Self::Mount(_) | Self::Switch(_) | Self::Seal(_) => "root",
        }
    }
}

impl Init {
    /// Boots as far as it goes. Gives what the machine's life is to begin with, if that is not just to be up.
    pub(super) fn boot(&mut self) -> Option<Event> {
        self.init_us = uptime_us();
        self.prepare();
        let mut modules = Queue::read().unwrap_or_else(|e| {
            self.report.warning("modules", &e);
            Queue::default()
        });
        let config = match self.ask(&mut modules) {
            Ok(config) => config,
            Err(end) => return Some(end),
        };
        self.open(&config);
        if let Err(end) = self.set_up_network(&mut modules, config.network.as_ref()) {
            return Some(end);
        }
        self.report.phase("network up");
        self.load_until(&mut modules, || root::can_mount(&config.root, &config.volumes));
        if let Err(end) = self.wait_until(|| root::is_settled(&config.root, &config.volumes)) {
            return Some(end);
        }
        let successor = match self.enter_root(&config) {
            Ok(successor) => successor,
            Err(e) => {
                self.settle_root(Err(&e));
                self.report.failed(e.step(), &e);
                return None;
            }
        };
        self.settle_root(Ok(()));
        self.report.phase("root file system up");
        if !config.read_only {
            self.write_names(&config);
        }
        // A program of the image may rely on any of the modules; somebody who logs in can wait for the last of them.
        if matches!(successor, Ok(None)) && config.entrypoint.is_none() {
            self.ready(Who::Powerunit);
            self.leftover = Some(modules);
            return None;
        }
        self.load_until(&mut modules, || false);
        self.free_initramfs();
        match successor {
            Ok(Some(successor)) => self.hand_over(&config, &successor),
            Ok(None) => return self.start_entrypoint(&config, config.entrypoint.as_ref()?),
            Err(e) => self.report.failed("init", &e),
        }
        None
    }

    /// Loads one of the modules that nothing in the boot needed; behind the last one, frees the memory of the initramfs.
    pub(super) fn load_leftover(&mut self) {
        let Some(modules) = &mut self.leftover else {
            return;
        };
        let behind = Behind::everybody();
        let loaded = modules.load_next();
        drop(behind);
        match loaded {
            Some(Ok(())) => {}
            Some(Err(e)) => self.report.warning("modules", &e),
            None => {
                self.leftover = None;
                self.free_initramfs();
            }
        }
    }

    fn free_initramfs(&self) {
        match &self.below {
            Some(below) => below.free(),
            None => switch::free_modules(),
        }
    }

    /// Waits until a device is there, as long as one may take to appear; or gives what ends the machine meanwhile.
    fn wait_until(&self, there: impl FnMut() -> bool) -> Result<(), Event> {
        let mut end = None;
        let asked = || {
            end = self.signals().pop();
            end.is_some()
        };
        // Without the kernel's announcements there is no waiting: whoever needs the device says that it is missing.
        let _ = uevent::wait(there, self.signals.as_ref().map(AsFd::as_fd), asked);
        end.map_or(Ok(()), Err)
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

    /// Loads modules until the host has answered, and asks on when there are none left; or gives what ends the machine before
    /// it has begun.
    fn ask(&mut self, modules: &mut Queue) -> Result<Arc<Config>, Event> {
        let mut dialogue = Dialogue::new(self.init_us, Purpose::Config);
        loop {
            let answer = dialogue.advance().and_then(|answer| {
                let answer = answer.map(|(answer, host)| Ok((dialogue::answer(answer)?, host)));
                answer.transpose()
            });
            match answer {
                Ok(Some((Answer::Prepare(interfaces), _))) => {
                    self.prepare_network(interfaces);
                    dialogue.settle();
                    continue;
                }
                Ok(Some((Answer::Config(config), host))) => {
                    self.report.connect(host);
                    self.report.phase("config received");
                    let config = Arc::<Config>::from(config);
                    self.config = Some(Arc::clone(&config));
                    return Ok(config);
                }
                Ok(None) => {}
                Err(refusal) => {
                    self.report.failed("config", &refusal);
                    // Without keys nobody can ever log in: there is nothing to stay up for.
                    return Err(Event::Stop {
                        grace: Duration::ZERO,
                    });
                }
            }
            if self.load_next(modules) {
                continue;
            }
            if !dialogue.is_settled() {
                self.settle();
                dialogue.settle();
                continue;
            }
            dialogue.wait(self.signals.as_ref().map(AsFd::as_fd), None);
            if let Some(stop) = self.signals().pop() {
                return Err(stop);
            }
        }
    }

    /// Does what needs no config, in a guest that has nothing else to do: one that is frozen as it waits, and made many
    /// machines of, has done it for all of them.
    fn settle(&mut self) {
        switch::free_modules();
        self.listen();
        if let Err(e) = self.prepare_worker() {
            self.report.warning("ssh", &e);
        }
        for e in network::set_up(None) {
            self.report.warning("network", &e);
        }
        for mount in mounts::KERNEL {
            if let Err(e) = mounts::apply(&mount) {
                self.report.warning("mounts", &e);
            }
        }
    }

    /// Sets up what every machine will have that is made of this guest.
    fn prepare_network(&mut self, interfaces: Vec<Interface>) {
        let network = Network {
            interfaces,
            ..Network::default()
        };
        let errors = network::set_up(Some(&network));
        // What failed is tried again, and reported, where it is meant in earnest.
        if errors.is_empty() {
            self.prepared = Some(network);
        }
    }

    fn set_up_network(&mut self, modules: &mut Queue, wanted: Option<&Network>) -> Result<(), Event> {
        let prepared = self.prepared.take();
        let interfaces = |network: Option<&Network>| network.map_or(Vec::new(), |n| n.interfaces.clone());
        let errors = match (prepared, wanted) {
            (Some(prepared), wanted) if interfaces(Some(&prepared)) == interfaces(wanted) => return Ok(()),
            (Some(prepared), Some(wanted)) => network::renew(Some(&prepared), wanted),
            _ => {
                self.load_until(modules, || network::has_devices(wanted));
                self.wait_until(|| network::is_settled(wanted))?;
                network::set_up(wanted)
            }
        };
        for e in errors {
            self.report.warning("network", &e);
        }
        Ok(())
    }

    /// Opens the SSH server's sockets, if they are not open yet.
    fn listen(&mut self) {
        if !self.listeners.is_empty() {
            return;
        }
        for opened in [Listener::vsock(SSH_PORT.into()), Listener::tcp(SSH_PORT)] {
            match opened {
                Ok(listener) => self.listeners.push(listener),
                Err(e) => self.report.warning("ssh", &e),
            }
        }
    }

    /// Loads modules until `enough` says so, or there are none left. The longest part of a boot is the kernel's work on them:
    /// what nobody waits for is loaded after the others.
    fn load_until(&mut self, modules: &mut Queue, mut enough: impl FnMut() -> bool) {
        while !enough() && self.load_next(modules) {}
    }

    /// False if there was no module left to load.
    fn load_next(&mut self, modules: &mut Queue) -> bool {
        let Some(loaded) = modules.load_next() else {
            return false;
        };
        if let Err(e) = loaded {
            self.report.warning("modules", &e);
        }
        true
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
        // A worker that finds it out can tell nobody but the console, and its successors would find out again.
        if let Err(e) = Settings::new(&config.host_key, &config.authorized_keys) {
            self.report.failed("ssh", &e);
            self.listeners.clear();
            return;
        }
        self.listen();
        self.start_worker();
        self.report.listening();
    }

    /// Makes the root file system this process's own, with all that is mounted in it. Gives who is to be PID 1 in it.
    fn enter_root(&mut self, config: &Config) -> Result<Result<Option<Successor>, NoInit>, NoRoot> {
        if root::mount(&config.root)? {
            self.below = Some(switch::switch(root::ROOT)?);
        } else {
            switch::stay();
        }
        let writable = rustix::fs::statvfs("/")
            .is_ok_and(|fs| !fs.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY));
        let successor = Successor::choose(config, &Accounts::load(Path::new("/etc")), &OwnRoot);
        let run = image_run();
        for mount in mounts::late(!writable && !config.read_only) {
            if let Err(e) = mounts::apply(&mount) {
                self.report.warning("mounts", &e);
            }
        }
        // An init makes what it needs in /run itself.
        if let (Some(run), Ok(None)) = (run, &successor) {
            mounts::fill_run(&run);
        }
        for e in mounts::finish() {
            self.report.warning("mounts", &e);
        }
        if volumes::mount(&config.volumes, config.read_only)? {
            self.report.phase("volumes filled");
        }
        if config.read_only && config.root != Root::Initramfs {
            self.write_names(config);
            let read_only = MountFlags::BIND.union(MountFlags::RDONLY);
            rustix::mount::mount_remount("/", read_only, c"").map_err(|e| NoRoot::Seal(e.into()))?;
        }
        Ok(successor)
    }

    fn write_names(&mut self, config: &Config) {
        for e in names::write_files(&config.hostname, config.network.as_ref()) {
            self.report.warning("names", &e);
        }
    }

    fn start_entrypoint(&mut self, config: &Config, wanted: &guest_protocol::Entrypoint) -> Option<Event> {
        match entrypoint::start(config, wanted) {
            Ok(entrypoint) => {
                self.entrypoint = Some(entrypoint);
                let notice = self.entrypoint_notice();
                self.worker.tell(&notice);
                self.ready(Who::Powerunit);
                None
            }
            Err(e) => {
                self.report.failed("entrypoint", &e);
                self.entrypoint_ended(Exit::NotStarted(chain(&e)));
                Some(Event::EntrypointEnded)
            }
        }
    }

    /// Becomes the image's init.
    fn hand_over(&mut self, config: &Config, init: &Successor) {
        if let Some(Err(e)) = self.worker.pid().map(handover::set_apart) {
            self.report.warning("init", &e);
        }
        if let (Some(below), Root::Overlay { .. }) = (&self.below, &config.root)
            && let Err(e) = handover::show_upper(below)
        {
            self.report.warning("init", &e);
        }
        self.ready(Who::Image);
        let error = handover::become_init(init, &config.env);
        self.report.failed("init", &error);
    }
}

/// Lets everybody else have the CPU first for as long as it lives, whatever ends it: what PID 1 forks inherits its priority.
struct Behind;

impl Behind {
    fn everybody() -> Self {
        // At worst the modules take somebody's time.
        let _ = rustix::process::setpriority_process(None, LATER);
        Self
    }
}

impl Drop for Behind {
    fn drop(&mut self) {
        // Root may always go back.
        let _ = rustix::process::setpriority_process(None, 0);
    }
}

/// What the image has at /run, before something is mounted there.
fn image_run() -> Option<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open("/run", flags, Mode::empty()).ok()
}

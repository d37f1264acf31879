//! PID 1 after the boot: one loop over signals, the worker's requests and the clock.
//!
//! The invariant: every child is reaped, whoever its parent was; what happens next is decided by [`Life`] and only carried out
//! here.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use guest_protocol::Exit;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, WaitOptions, WaitStatus};

use super::life::{Action, Event, Life};
use super::{Init, power};
use crate::console::say;
use crate::link::{Notice, Word};
use crate::{freeze, processes, sys};

/// How often the processes are counted while the machine waits for them to end: nothing announces the end of other processes'
/// children.
const COUNT: Duration = Duration::from_millis(20);

/// The signals PID 1 takes: its children's, and every request to end that an init gets from the kernel or from the
/// `halt`, `poweroff` and `reboot` of busybox (SIGUSR1, SIGUSR2, SIGTERM) and of systemd (SIGRTMIN+3 to +6).
pub(super) const SIGNALS: [i32; 10] = [
    libc::SIGCHLD,
    libc::SIGINT,
    libc::SIGTERM,
    libc::SIGPWR,
    libc::SIGUSR1,
    libc::SIGUSR2,
    37,
    38,
    39,
    40,
];

/// The running entrypoint.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entrypoint {
    pub(super) pid: Pid,
    pub(super) stop_signal: i32,
}

impl Init {
    /// Keeps the machine until it goes off.
    pub(super) fn supervise(&mut self, life: &mut Life) -> ! {
        loop {
            // First a look: what happened while the machine booted has announced itself already.
            let mut events = self.signals();
            events.extend(self.requests());
            events.extend(self.reap(life));
            if life.counts_others() && self.alone() {
                events.push(Event::OthersGone);
            }
            events.push(Event::Tick);
            for event in events {
                if let Some(action) = life.on(event, Instant::now()) {
                    self.carry_out(action);
                }
            }
            if life.is_up() {
                self.replace_worker();
                self.load_leftover();
            }
            self.wait(life);
        }
    }

    fn wait(&self, life: &Life) {
        let now = Instant::now();
        let next_worker = self.worker.due().filter(|_| life.is_up());
        let count = life.counts_others().then(|| now + COUNT);
        let leftover = self.leftover.as_ref().filter(|_| life.is_up()).map(|_| now);
        let deadlines = [life.deadline(), next_worker, count, leftover];
        let next = deadlines.into_iter().flatten().min();
        let timeout = next.map(|next| {
            let left = next.saturating_duration_since(now);
            Timespec {
                tv_sec: left.as_secs().cast_signed(),
                tv_nsec: left.subsec_nanos().into(),
            }
        });
        let signals = self.signals.as_ref().map(|fd| PollFd::new(fd, PollFlags::IN));
        let worker = self
            .worker
            .fd()
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        let mut fds: Vec<PollFd<'_>> = signals.into_iter().chain(worker).collect();
        // A wait that fails ends early: the loop looks at everything anyway.
        let _ = rustix::event::poll(&mut fds, timeout.as_ref());
    }

    /// The requests to end that have come as signals.
    pub(super) fn signals(&self) -> Vec<Event> {
        let Some(fd) = &self.signals else {
            return Vec::new();
        };
        let received = std::iter::from_fn(|| sys::next_signal(fd).ok().flatten());
        let ending = received.filter(|signal| *signal != libc::SIGCHLD);
        ending.map(|_| Event::Stop { grace: self.grace() }).collect()
    }

    fn requests(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        for word in self.worker.heard() {
            match word {
                Word::Shutdown { grace_ms } => {
                    let grace = grace_ms.map_or(self.grace(), Duration::from_millis);
                    events.push(Event::Stop {
                        grace: grace.min(LONGEST_GRACE),
                    });
                }
                Word::Health(health) => self.health = Some(health),
                Word::Renewed(renewal) => self.renewed(*renewal),
            }
        }
        events
    }

    fn reap(&mut self, life: &Life) -> Vec<Event> {
        let mut events = Vec::new();
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            if self.worker.pid() == Some(pid) {
                // Its last words.
                events.extend(self.requests());
            }
            if self.worker.ended(pid, Instant::now()) {
                if life.is_up() {
                    say(&format!(
                        "the SSH server ended ({}) and is started again",
                        describe(status)
                    ));
                }
                // It may have left the machine standing still.
                if let Ok(initramfs) = self.initramfs() {
                    freeze::undo(initramfs.as_fd());
                }
                events.push(Event::WorkerGone);
            } else if self
                .entrypoint
                .take_if(|entrypoint| entrypoint.pid == pid)
                .is_some()
            {
                self.entrypoint_ended(exit(status));
                events.push(Event::EntrypointEnded);
            }
        }
        events
    }

    /// Records and reports how the entrypoint ended.
    pub(super) fn entrypoint_ended(&mut self, exit: Exit) {
        self.report.exited(&exit);
        self.exit = Some(exit);
        let notice = self.entrypoint_notice();
        self.worker.tell(&notice);
    }

    /// Whether nobody is left who might still want to write something. The worker counts only when it is to be gone too.
    fn alone(&self) -> bool {
        let worker = self.worker.pid().map(|pid| pid.as_raw_nonzero().get());
        processes::others(worker).is_empty()
    }

    pub(super) fn carry_out(&mut self, action: Action) {
        match action {
            Action::StopEntrypoint => {
                self.worker.tell(&Notice::Asked);
                self.signal_entrypoint(None);
            }
            Action::KillEntrypoint => self.signal_entrypoint(Some(libc::SIGKILL)),
            Action::TerminateOthers => {
                self.worker.tell(&Notice::Ending);
                let worker = self.worker.pid().map(|pid| pid.as_raw_nonzero().get());
                for process in processes::others(worker) {
                    // A process that has just ended needs no signal.
                    let _ = sys::kill(process.pid, libc::SIGTERM);
                    let _ = sys::kill(process.pid, libc::SIGCONT);
                    if process.terminal {
                        let _ = sys::kill(process.pid, libc::SIGHUP);
                    }
                }
            }
            Action::StopWorker => self.worker.tell(&Notice::Stop),
            Action::KillAll => {
                let _ = sys::kill(-1, libc::SIGKILL);
            }
            Action::PowerOff => power::off(self.below.as_ref()),
        }
    }

    fn signal_entrypoint(&self, signal: Option<i32>) {
        if let Some(Entrypoint { pid, stop_signal }) = self.entrypoint {
            let _ = sys::kill(pid.as_raw_nonzero().get(), signal.unwrap_or(stop_signal));
        }
    }

    fn replace_worker(&mut self) {
        if self.worker.due().is_some_and(|due| Instant::now() >= due) {
            self.start_worker();
        }
    }
}

/// A grace longer than a day is a mistake, and would overflow the clock before it ends.
pub(super) const LONGEST_GRACE: Duration = Duration::from_secs(24 * 60 * 60);

fn exit(status: WaitStatus) -> Exit {
    let number = |number: i32| u8::try_from(number).unwrap_or(u8::MAX);
    match (status.exit_status(), status.terminating_signal()) {
        (_, Some(signal)) => Exit::Signal(number(signal)),
        (code, None) => Exit::Code(number(code.unwrap_or_default())),
    }
}

fn describe(status: WaitStatus) -> String {
    match exit(status) {
        Exit::Code(code) => format!("exit code {code}"),
        Exit::Signal(signal) => format!("signal {signal}"),
        Exit::NotStarted(why) => why,
    }
}

//! The image's health check: run now and then beside everything else, by the worker, so that it goes on whoever is PID 1.
//!
//! The invariant: one check at a time. Each is over, with its whole process group, before the pause to the next begins;
//! when the watch is dropped, so is the check that runs. A worker that takes a dead one's place goes on where that one
//! was. None begins while the machine stands still.

mod check;
mod monitor;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use guest_protocol::control::{self, CheckResult, HealthState};
use guest_protocol::{Config, Exit, HealthTest};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::clock::uptime_us;
use crate::console::chain;
use crate::launch::{Error, Found, Launch, Wanted};
use crate::machine::Handle;
use crate::users::Accounts;
use monitor::Monitor;

/// The check, if the config has one, and what it has shown.
#[derive(Debug)]
pub(crate) struct Health {
    plan: Option<Plan>,
    seen: watch::Sender<control::Health>,
    changes: watch::Receiver<control::Health>,
    machine: Handle,
    /// Aborted with this value, and the check that runs with it.
    running: JoinSet<()>,
}

impl Health {
    pub(crate) fn new(config: &Config, machine: Handle) -> Self {
        let unchecked = control::Health {
            state: HealthState::Starting,
            failing_streak: 0,
            last: None,
        };
        let (seen, changes) = watch::channel(unchecked);
        Self {
            plan: Plan::new(config),
            seen,
            changes,
            machine,
            running: JoinSet::new(),
        }
    }

    /// Takes what another has seen for its own. To be called before the start.
    pub(crate) fn resume(&mut self, seen: control::Health) {
        self.seen.send_replace(seen);
        self.changes.mark_unchanged();
    }

    /// Waits for the end of a check; gives what has been seen since.
    pub(crate) async fn changed(&mut self) -> control::Health {
        // It cannot fail: the sender lives as long.
        let _ = self.changes.changed().await;
        self.changes.borrow_and_update().clone()
    }

    /// Checks from now on what has been running since `started_us` on the guest's monotonic clock.
    pub(crate) fn start(&mut self, started_us: u64) {
        if let Some(plan) = self.plan.clone() {
            let machine = self.machine.clone();
            self.running
                .spawn(plan.watch(started_us, self.seen.clone(), machine));
        }
    }

    pub(crate) fn stop(&mut self) {
        self.running.abort_all();
    }

    /// `None`: nothing is checked.
    pub(crate) fn seen(&self) -> Option<control::Health> {
        self.plan.as_ref().map(|_| self.seen.borrow().clone())
    }
}

/// What is checked, and as whom.
#[derive(Clone, Debug)]
struct Plan {
    health: guest_protocol::Health,
    argv: Vec<String>,
    env: BTreeMap<String, String>,
}

impl Plan {
    /// What the config has to say of it.
    fn new(config: &Config) -> Option<Self> {
        let mut health = config.health.clone()?;
        let argv = match &health.test {
            HealthTest::Exec(argv) => argv.clone(),
            HealthTest::Shell(line) => ["/bin/sh", "-c", line].map(Into::into).into(),
        };
        if let Some(entrypoint) = &config.entrypoint {
            for (own, entrypoints) in [
                (&mut health.user, &entrypoint.user),
                (&mut health.workdir, &entrypoint.workdir),
            ] {
                if own.is_empty() {
                    own.clone_from(entrypoints);
                }
            }
        }
        Some(Self {
            health,
            argv,
            env: config.env.clone(),
        })
    }

    async fn watch(self, started_us: u64, seen: watch::Sender<control::Health>, machine: Handle) {
        let before = seen.borrow().clone();
        let mut monitor = Monitor::new(&self.health, Duration::from_micros(started_us));
        monitor.resume(before.state, before.failing_streak);
        let mut since = before
            .last
            .map_or_else(now, |last| Duration::from_micros(last.ended_us));
        loop {
            let due = since.saturating_add(monitor.pause(since));
            tokio::time::sleep(due.saturating_sub(now())).await;
            machine.moving().await;
            let began = now();
            let (result, output) = self.check(monitor.timeout()).await;
            let state = monitor.take(began, result == CheckResult::Exit(Exit::Code(0)));
            since = now();
            let last = control::Check {
                result,
                ended_us: uptime_us(),
                took_ms: u64::try_from(since.saturating_sub(began).as_millis()).unwrap_or(u64::MAX),
                output,
            };
            seen.send_replace(control::Health {
                state,
                failing_streak: monitor.streak(),
                last: Some(last),
            });
        }
    }

    async fn check(&self, timeout: Duration) -> (CheckResult, String) {
        let run = async {
            let launch = self.resolve()?;
            let checked = check::run(launch.command()?, timeout).await;
            checked.map_err(|source| launch.failed(source))
        };
        let not_started = |error: Error| (CheckResult::Exit(Exit::NotStarted(chain(&error))), String::new());
        run.await.unwrap_or_else(not_started)
    }

    /// Anew for each check: the image's accounts and programs may have changed.
    fn resolve(&self) -> Result<Launch, Error> {
        let uname = rustix::system::uname();
        let wanted = Wanted {
            argv: &self.argv,
            user: &self.health.user,
            workdir: &self.health.workdir,
            hostname: &uname.nodename().to_string_lossy(),
            env: &[&self.env],
        };
        Launch::resolve(&wanted, &Accounts::load(Path::new("/etc")), Found::at)
    }
}

fn now() -> Duration {
    Duration::from_micros(uptime_us())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(config: &serde_json::Value) -> Option<Plan> {
        let mut all = serde_json::json!({
            "version": 1, "hostname": "box", "host_key": "", "authorized_keys": [], "clock_ns": 0,
            "root": { "kind": "initramfs" },
        });
        let fields = all.as_object_mut().unwrap();
        fields.extend(config.as_object().unwrap().clone());
        Plan::new(&serde_json::from_value(all).unwrap())
    }

    #[test]
    fn it_runs_as_the_entrypoint_unless_it_says_otherwise() {
        let entrypoint = serde_json::json!({ "argv": ["/app"], "user": "web", "workdir": "/srv" });
        let health = serde_json::json!({ "test": { "shell": "exit 0" } });
        let inherited = plan(&serde_json::json!({ "entrypoint": entrypoint, "health": health })).unwrap();
        assert_eq!(
            (inherited.health.user.as_str(), inherited.health.workdir.as_str()),
            ("web", "/srv")
        );
        assert_eq!(inherited.argv, ["/bin/sh", "-c", "exit 0"]);
        let health = serde_json::json!({ "test": { "exec": ["/check"] }, "user": "0", "workdir": "/" });
        let own = plan(&serde_json::json!({ "entrypoint": entrypoint, "health": health })).unwrap();
        assert_eq!(
            (own.health.user.as_str(), own.health.workdir.as_str()),
            ("0", "/")
        );
        assert_eq!(own.argv, ["/check"]);
        assert!(plan(&serde_json::json!({ "entrypoint": entrypoint })).is_none());
    }
}

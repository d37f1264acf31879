//! One machine in a supervisor's keeping, until there is no more to be done for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::pace::Pace;
use super::{Supervised, SupervisedKind};
use crate::error::with_causes;
use crate::knaller::Inner;
use crate::record::Record;
use crate::{Adopted, Error, Exit, Name, Restart, Result, StartEvent, StartOptions, life, list, start, stop};

pub(super) struct Keeper {
    pub(super) inner: Arc<Inner>,
    pub(super) name: Name,
    pub(super) tell: mpsc::Sender<Supervised>,
}

/// How the machine was found.
enum Found {
    Running(Box<Adopted>),
    /// It lies stopped, and this is how it ended.
    Stopped(Exit),
    /// Somebody else works on it, or what is there makes no sense just now.
    Unclear,
    Gone,
}

impl Keeper {
    pub(super) async fn keep(self) {
        let mut pace = Pace::default();
        // Of a start that failed before the record was written.
        let mut tried = 0;
        loop {
            let since = Instant::now();
            let exit = match self.find().await {
                Found::Running(adopted) => {
                    tried = 0;
                    match self.attend(&adopted).await {
                        Ok(exit) => exit,
                        Err(error) => {
                            self.failed(&error).await;
                            tokio::time::sleep(pace.after(Duration::ZERO)).await;
                            continue;
                        }
                    }
                }
                Found::Stopped(exit) => exit,
                Found::Unclear => {
                    tokio::time::sleep(pace.after(Duration::ZERO)).await;
                    continue;
                }
                Found::Gone => return,
            };
            let Ok((files, record)) = list::load(&self.inner, &self.name) else {
                return;
            };
            let restarts = record.restarts.max(tried);
            if let Some(reason) = rests(&record, stop::is_halted(&files, &record), &exit, restarts) {
                return self.say(SupervisedKind::Resting { reason }).await;
            }
            let delay = pace.after(since.elapsed());
            let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
            self.say(SupervisedKind::Waiting { delay_ms }).await;
            tokio::time::sleep(delay).await;
            if self.is_settled_otherwise(&record) {
                continue;
            }
            let restarts = restarts.saturating_add(1);
            tried = restarts;
            match self.start(restarts).await {
                Ok(()) => self.say(SupervisedKind::Restarted { restarts }).await,
                // Somebody else was quicker, or wants it to stay stopped.
                Err(Error::Running(_) | Error::Busy(_) | Error::NotRunning(_)) => {}
                Err(Error::NotFound(_)) => return,
                Err(error) => self.failed(&error).await,
            }
        }
    }

    async fn find(&self) -> Found {
        match life::adopt(&self.inner, &self.name).await {
            Ok(adopted) => Found::Running(Box::new(adopted)),
            Err(Error::NotRunning(_)) => Found::Stopped(stop::ended_how(&self.inner, &self.name)),
            Err(Error::NotFound(_)) => Found::Gone,
            Err(Error::Busy(_)) => Found::Unclear,
            Err(error) => {
                self.failed(&error).await;
                Found::Unclear
            }
        }
    }

    /// Until it has ended.
    async fn attend(&self, adopted: &Adopted) -> Result<Exit> {
        let instance = adopted.instance().to_owned();
        let adopting = SupervisedKind::Adopted {
            instance: instance.clone(),
            pid: adopted.pid(),
        };
        self.say(adopting).await;
        let exit = adopted.ended().await?;
        let ended = SupervisedKind::Ended {
            instance,
            exit: exit.clone(),
        };
        self.say(ended).await;
        Ok(exit)
    }

    /// Whether somebody has started, stopped or removed the machine while it waited for its start.
    fn is_settled_otherwise(&self, was: &Record) -> bool {
        list::load(&self.inner, &self.name).map_or(true, |(files, now)| {
            now.instance != was.instance
                || now.spec.restart != was.spec.restart
                || stop::is_halted(&files, &now)
        })
    }

    async fn start(&self, restarts: u32) -> Result<()> {
        let options = StartOptions::default();
        // Nobody listens to this start but the log.
        let mut observer = |event: StartEvent| {
            if let Some(warning) = event.warning() {
                tracing::warn!(name = %self.name, "{warning}");
            }
        };
        let started = start::again(&self.inner, &self.name, restarts, options, &mut observer).await;
        started.map(drop)
    }

    async fn failed(&self, error: &Error) {
        let message = with_causes(error);
        self.say(SupervisedKind::Failed { message }).await;
    }

    /// A supervisor that is gone hears nothing more; this ends with it.
    async fn say(&self, kind: SupervisedKind) {
        let told = Supervised {
            time_ns: start::clock_ns(),
            name: self.name.clone(),
            kind,
        };
        let _ = self.tell.send(told).await;
    }
}

/// Why a machine that has ended is not started again.
fn rests(record: &Record, halted: bool, exit: &Exit, restarts: u32) -> Option<String> {
    let policy = record.spec.restart;
    if halted {
        return Some("it was stopped on purpose".to_owned());
    }
    if policy.wants(exit, restarts) {
        return None;
    }
    Some(match policy {
        Restart::OnFailure { at_most: Some(most) } if exit.code() != 0 => {
            format!("it was restarted {most} times, which is what its policy, {policy}, allows")
        }
        _ => format!("it ended as its policy, {policy}, lets it"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MachineSpec;

    #[test]
    fn why_a_machine_rests() {
        let reason = |policy: &str, halted, exit: &Exit, restarts| {
            let spec = MachineSpec::new().restart(policy.parse().unwrap());
            let record = Record::new("web".parse().unwrap(), "/r".into(), spec);
            rests(&record, halted, exit, restarts)
        };
        let said = |policy, halted, exit: &Exit, restarts| reason(policy, halted, exit, restarts).unwrap();
        assert_eq!(reason("always", false, &Exit::Off, 7), None);
        assert_eq!(reason("on-failure:2", false, &Exit::Lost, 1), None);
        assert!(said("always", true, &Exit::Off, 0).contains("on purpose"));
        assert!(said("on-failure:2", false, &Exit::Lost, 2).contains("restarted 2 times"));
        assert!(said("on-failure:2", false, &Exit::Off, 0).contains("lets it"));
        assert!(said("no", false, &Exit::Lost, 0).contains("lets it"));
    }
}

//! How all machines are at one moment, as far as that is news.
//!
//! The invariant: what a command does with a machine for its own ends is no state of the machine. One that stands still while a
//! snapshot is taken runs, one whose guest is kept on its way up is starting, and one whose files somebody works on is what it
//! was. A boot is over when its last process is.

use std::collections::{BTreeMap, BTreeSet};

use super::Events;
use crate::layout::Files;
use crate::life::pause;
use crate::{Error, MachineInfo, Name, Result, State, heal, list};

/// One machine. Its state is never [`State::Unresponsive`]: that is `silent`, beside what it was last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) state: State,
    pub(super) silent: bool,
    pub(super) instance: String,
    pub(super) created: u64,
}

pub(super) type Look = BTreeMap<Name, Seen>;

impl Events {
    /// How things are.
    pub(super) async fn look(&mut self) -> Result<Look> {
        heal::all(&self.inner).await?;
        let mut look = Look::new();
        self.busy = false;
        let mut silent = BTreeSet::new();
        for (folder, info) in list::each(&self.inner).await? {
            let seen = match info {
                Ok(info) => {
                    self.watch(&folder, &info).await;
                    let seen = self.seen(&folder, &info, &mut silent).await;
                    seen.map(|seen| (info.name, seen))
                }
                // It went meanwhile.
                Err(Error::NotFound(_)) => None,
                Err(error) => {
                    tracing::debug!(name = %folder, %error, "nothing is known of it just now");
                    self.last.get(&folder).map(|last| (folder, last.clone()))
                }
            };
            look.extend(seen);
        }
        self.doubted = silent;
        Ok(look)
    }

    /// Who does not answer goes into `silent`.
    async fn seen(
        &mut self,
        folder: &Name,
        info: &MachineInfo,
        silent: &mut BTreeSet<String>,
    ) -> Option<Seen> {
        let seen = |state, is_silent| {
            Some(Seen {
                state,
                silent: is_silent,
                instance: info.instance.clone(),
                created: info.created,
            })
        };
        // By its boot, whatever it is called by now.
        let same = self.last.values().find(|last| last.instance == info.instance);
        let was = same.map(|last| last.state);
        let up = was.filter(|state| matches!(state, State::Running | State::Paused));
        match info.state {
            State::Stopped if self.boots_still(&info.instance) => {
                // What it has to say may be on its way.
                self.busy = true;
                return seen(was.unwrap_or(State::Starting), false);
            }
            State::Stopped => return seen(State::Stopped, false),
            State::Running if up == Some(State::Running) => return seen(State::Running, false),
            State::Unresponsive => {
                // One that is just ending is silent too, but not for long.
                let doubted = self.doubted.contains(&info.instance);
                self.busy |= !doubted;
                silent.insert(info.instance.clone());
                return seen(was.unwrap_or(State::Starting), doubted);
            }
            State::Starting | State::Running | State::Paused => {}
        }
        let Ok((files, record)) = list::load(&self.inner, folder) else {
            return None;
        };
        if record.instance != info.instance {
            // Another boot has begun meanwhile.
            self.busy = true;
            return self.last.get(&info.name).cloned();
        }
        if files.pausing().exists() {
            return seen(up.unwrap_or(State::Running), false);
        }
        if is_starting(&files) {
            self.busy = true;
            return seen(State::Starting, false);
        }
        match info.state {
            // Somebody has the machine in hand, who has not begun to start it, and may not be about to.
            State::Starting => {
                self.busy = true;
                match self.last.get(&info.name) {
                    Some(last) => Some(last.clone()),
                    None => seen(State::Stopped, false),
                }
            }
            State::Paused if pause::is_paused(&files).await => seen(State::Paused, false),
            State::Paused => seen(up.unwrap_or(State::Running), false),
            state => seen(state, false),
        }
    }
}

/// Whether a start has begun, and is not done.
fn is_starting(files: &Files) -> bool {
    files.creating().exists() || files.config_socket().exists()
}

//! What a start has made and would have to unmake. The invariant: a step's undo is registered before the step is taken, so
//! that an error, or a future dropped at any await, leaves nothing. What a killed process leaves is healed by the next
//! command (`crate::heal`), from the same marks.

use std::time::Duration;

use crate::cgroup::Group;
use crate::claim::Claim;
use crate::network::direct::{self, Direct};
use crate::process::Boot;
use crate::{process, runtime_folder};

/// How long killed processes may take to be gone: the kernel frees a guest's memory first.
const PATIENCE: Duration = Duration::from_secs(10);

/// Takes back what was done so far when it is dropped, unless the start succeeded.
#[derive(Debug)]
pub(super) struct Undo {
    claim: Option<Claim>,
    /// Whether the machine is new and is to go as a whole.
    new: bool,
    /// The boot whose processes are to end.
    boot: Option<Boot>,
    group: Option<Group>,
    /// Whose way to the world is to go.
    network: Option<(Direct, String)>,
}

impl Undo {
    pub(super) fn new(claim: Claim) -> Self {
        Self {
            new: claim.is_creating(),
            claim: Some(claim),
            boot: None,
            group: None,
            network: None,
        }
    }

    /// From now on there may be processes of this boot.
    pub(super) fn processes_of(&mut self, boot: Boot) {
        self.boot = Some(boot);
    }

    /// From now on there may be this group of theirs.
    pub(super) fn group(&mut self, group: &Group) {
        self.group = Some(group.clone());
    }

    /// From now on this boot may have a way to the world.
    pub(super) fn network(&mut self, direct: &Direct, instance: &str) {
        self.network = Some((direct.clone(), instance.to_owned()));
    }

    /// Ends the processes of the boot, so that there may be another; whether they are gone.
    pub(super) fn end_processes(&mut self) -> std::io::Result<bool> {
        let ended = match self.boot.take() {
            Some(boot) => process::end(&boot, PATIENCE)?,
            None => true,
        };
        if ended && let Some(group) = self.group.take() {
            group.remove();
        }
        if ended {
            self.disconnect();
        }
        Ok(ended)
    }

    fn disconnect(&mut self) {
        if let Some((direct, instance)) = self.network.take() {
            direct::forget(direct.nft(), &instance);
        }
    }

    /// The start succeeded: the machine is nobody's now.
    pub(super) fn nothing(mut self) {
        self.claim = None;
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        let Some(claim) = self.claim.take() else { return };
        if let Some(boot) = &self.boot {
            match process::end(boot, PATIENCE) {
                Ok(true) => {}
                // Without the processes gone their files have to stay, for the next command to heal.
                Ok(false) => return tracing::warn!(boot.instance, "processes of a failed start do not end"),
                Err(error) => return tracing::warn!(boot.instance, %error, "cannot end a failed start"),
            }
        }
        if let Some(group) = &self.group {
            group.remove();
        }
        self.disconnect();
        runtime_folder::remove(claim.files());
        if self.new
            && let Err(error) = claim.remove()
        {
            tracing::warn!(%error, "cannot remove a machine that did not start");
        }
    }
}

//! A guest that stands still while its disks are looked at.
//!
//! The invariant: its programs do nothing and its file systems are in order, and whatever ends the look, an error, a dropped
//! future or a kill, they go on: told to, or by themselves after [`PATIENCE`]. Where the machine's user had paused it, that is when
//! he lets it go on.

use std::time::Duration;

use firecracker_api::Client;
use firecracker_api::models::{InstanceState, VmState};
use tokio::net::UnixListener;
use tokio::runtime::Handle;

use super::pause::Mark;
use crate::layout::Files;
use crate::record::Record;
use crate::ssh::control::Control;
use crate::{Error, Result, runtime_folder, start};

/// How long a guest whose host has gone waits before it goes on by itself.
const PATIENCE: Duration = Duration::from_secs(10);

/// How soon a guest has noticed that its asker is gone, and asks.
const ASKING: Duration = Duration::from_secs(1);

/// A guest whose programs are frozen. Its VMM runs.
pub(crate) struct Frozen {
    control: Control,
    client: Client,
    record: Record,
    /// Where a guest asks whose connections the VMM has broken meanwhile.
    listener: UnixListener,
    mark: Mark,
    /// What of it could not be made to stand still: a sentence each.
    pub(crate) warnings: Vec<String>,
    /// Whether its kernel has a VM Generation ID.
    pub(super) generation_id: bool,
}

impl Frozen {
    /// Freezes the guest of a machine that runs, or that its user has paused: its init has to put that into order first.
    pub(crate) async fn begin(client: Client, files: &Files, record: &Record) -> Result<Self> {
        let refused = |error| Error::refused(&record.vmm, &error);
        let was_paused = client.get_instance().await.map_err(refused)?.state == InstanceState::Paused;
        let mark = Mark::make(files, was_paused)?;
        if was_paused {
            client.patch_vm(VmState::Resumed).await.map_err(refused)?;
        }
        let mut control = Control::open(files, record).await?;
        let frozen = control.freeze(PATIENCE).await?;
        let socket = files.config_socket();
        let _ = std::fs::remove_file(&socket);
        let listener = runtime_folder::listen(files, &socket)?;
        Ok(Self {
            control,
            client,
            record: record.clone(),
            listener,
            mark,
            warnings: frozen.warnings,
            generation_id: frozen.generation_id,
        })
    }

    /// What is to be told if it cannot be let go on.
    pub(super) fn mark(&mut self) -> &mut Mark {
        &mut self.mark
    }

    /// Lets it go on, or leaves it paused as it was.
    pub(crate) async fn end(self) -> Result<()> {
        start::thaw(self.control, &self.listener, &self.record.name).await?;
        if self.mark.was_paused() {
            let paused = self.client.patch_vm(VmState::Paused).await;
            paused.map_err(|error| Error::refused(&self.record.vmm, &error))?;
        }
        Ok(())
    }
}

/// Tells a guest whose asker was killed while it stood still, and that runs again, that it is who it was: by itself it would wait
/// for as long as it was told to. Blocks, on a thread of a runtime for such.
pub(crate) fn answer_forsaken(files: &Files) -> Result<()> {
    let socket = files.config_socket();
    Handle::current().block_on(async {
        let listener = runtime_folder::listen(files, &socket)?;
        // One that had not been frozen yet, or was let go on in time, asks nothing.
        let _ = tokio::time::timeout(ASKING, start::unchanged(&listener)).await;
        crate::folder::remove_file(&socket)
    })
}

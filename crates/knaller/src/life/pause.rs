//! Standing still and going on.

use std::sync::Arc;
use std::time::Duration;

use firecracker_api::Client;
use firecracker_api::models::VmState;

use crate::knaller::Inner;
use crate::{Error, Name, Result, State, heal, list};

/// How long the VMM may take.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) async fn pause(inner: &Arc<Inner>, name: &Name) -> Result<()> {
    turn(inner, name, State::Running, VmState::Paused).await
}

pub(crate) async fn resume(inner: &Arc<Inner>, name: &Name) -> Result<()> {
    turn(inner, name, State::Paused, VmState::Resumed).await
}

async fn turn(inner: &Arc<Inner>, name: &Name, from: State, to: VmState) -> Result<()> {
    heal::one(inner, name).await?;
    let info = list::one(inner, name).await?;
    if info.state != from {
        return Err(match info.state {
            State::Running => Error::NotPaused(name.clone()),
            State::Paused => Error::Paused(name.clone()),
            _ => Error::NotRunning(name.clone()),
        });
    }
    let (files, record) = list::load(inner, name)?;
    let client = Client::new(files.api_socket()).with_timeout(PATIENCE);
    client
        .patch_vm(to)
        .await
        .map_err(|error| Error::refused(&record.vmm, &error))
}

//! A machine described in one file (`--config-file`), with the metadata beside it (`--metadata`).
//!
//! Invariant: the file is carried out as the requests it stands for, in Firecracker's order
//! (`VmResources::from_json`), so a machine from a file and one from requests cannot differ.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use firecracker_api::models::FullVmConfiguration;
use firecracker_api::server::{ApiRequest, Fault};

use crate::vm::Vm;

/// Why a machine cannot be made from a file.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("Unable to open or read from the configuration file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not what it should be.
    #[error("Configuration for VMM from one single json failed: Invalid JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// One of its parts is refused.
    #[error("Configuration for VMM from one single json failed: {0}")]
    Part(#[source] Fault),
    /// The machine does not start.
    #[error("Could not Start MicroVM from one single json: {0}")]
    Start(#[source] Fault),
}

/// Configures and starts a machine.
pub async fn apply(path: &Path, vm: &mut Vm) -> Result<(), ConfigError> {
    let text = fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })?;
    for request in requests(serde_json::from_str(&text)?) {
        vm.handle(request).await.map_err(ConfigError::Part)?;
    }
    vm.handle(ApiRequest::InstanceStart)
        .await
        .map_err(ConfigError::Start)?;
    tracing::info!("Successfully started microvm that was configured from one single json");
    Ok(())
}

fn requests(config: FullVmConfiguration) -> Vec<ApiRequest> {
    let mut list = Vec::new();
    list.extend(config.logger.map(ApiRequest::PutLogger));
    list.extend(config.metrics.map(ApiRequest::PutMetrics));
    list.extend(
        config
            .machine_config
            .map(|machine| ApiRequest::UpdateMachineConfig(machine.into())),
    );
    list.push(ApiRequest::PutBootSource(config.boot_source));
    list.extend(config.drives.into_iter().map(ApiRequest::PutDrive));
    list.extend(
        config
            .network_interfaces
            .into_iter()
            .map(ApiRequest::PutNetworkInterface),
    );
    list.extend(config.vsock.map(ApiRequest::PutVsock));
    list.extend(config.balloon.map(ApiRequest::PutBalloon));
    list.extend(config.mmds_config.map(ApiRequest::PutMmdsConfig));
    list.extend(config.entropy.map(ApiRequest::PutEntropy));
    list.extend(config.pmem.into_iter().map(ApiRequest::PutPmem));
    list.extend(config.memory_hotplug.map(ApiRequest::PutMemoryHotplug));
    list
}

//! The machine from Firecracker's point of view: configured, started, changed, paused, ended.
//!
//! Invariant: one owner, one request at a time. Whether a request may be made in a state is decided first
//! ([`ApiRequest::admit`]); what it does is in `resources` before the start and in `runtime` after it.

mod balloon;
mod drives;
pub mod faults;
mod limits;
mod observe;
pub mod resources;
mod restore;
mod running;
mod runtime;
mod save;
pub mod start;

use firecracker_api::models::{InstanceInfo, InstanceState};
use firecracker_api::server::{Answer, ApiRequest, Fault};

use self::faults::{internal, not_supported, within};
use self::resources::Resources;
use self::running::Running;
use self::start::Host;
use crate::logger::Logger;
use crate::metrics::Metrics;
use crate::mmds::Mmds;
use crate::qemu::end::End;

/// The version of Firecracker whose API this is; what follows the `+` is build metadata to semantic versioning, and
/// tells a client that wants to know what it talks to.
pub const VERSION: &str = concat!("1.17.0+sparkler.", env!("CARGO_PKG_VERSION"));
/// What Firecracker calls itself: clients look for it.
pub const APP_NAME: &str = "Firecracker";

/// A microVM.
#[derive(Debug)]
pub struct Vm {
    id: String,
    host: Host,
    logger: Logger,
    metrics: Metrics,
    mmds: Mmds,
    resources: Resources,
    /// Something was configured that a snapshot would bring along.
    configured: bool,
    paused: bool,
    running: Option<Running>,
}

impl Vm {
    /// A machine that is not configured yet.
    #[must_use]
    pub fn new(id: String, host: Host, logger: Logger, metrics: Metrics, mmds: Mmds) -> Self {
        Self {
            id,
            host,
            logger,
            metrics,
            mmds,
            resources: Resources::default(),
            configured: false,
            paused: false,
            running: None,
        }
    }

    /// Where the machine is in its life.
    #[must_use]
    pub fn state(&self) -> InstanceState {
        match (&self.running, self.paused) {
            (None, _) => InstanceState::NotStarted,
            (Some(_), true) => InstanceState::Paused,
            (Some(_), false) => InstanceState::Running,
        }
    }

    /// Carries out one request.
    pub async fn handle(&mut self, request: ApiRequest) -> Result<Answer, Fault> {
        self.metrics.counters.count(&request);
        request.admit(self.state())?;
        if self.running.is_some() {
            self.handle_running(request).await
        } else {
            self.handle_configuring(request).await
        }
    }

    /// Waits until the machine has ended; for ever if it was not started. May be dropped while it waits.
    pub async fn ended(&mut self) {
        match &mut self.running {
            Some(running) => running.ended().await,
            None => std::future::pending().await,
        }
    }

    /// Ends the machine if it still runs, and says how it ended; none if it was not started.
    pub async fn finish(&mut self) -> Option<End> {
        self.read_last_counts().await;
        let end = self.running.take()?.finish().await;
        self.write_last_metrics();
        Some(end)
    }

    async fn handle_configuring(&mut self, request: ApiRequest) -> Result<Answer, Fault> {
        self.configured |= comes_with_a_snapshot(&request);
        let resources = &mut self.resources;
        match request {
            ApiRequest::PutBootSource(source) => resources.put_boot_source(source),
            ApiRequest::UpdateMachineConfig(change) => resources.update_machine(&change),
            ApiRequest::PutDrive(drive) => resources.put_drive(drive),
            ApiRequest::PutNetworkInterface(net) => resources.put_net(net),
            ApiRequest::PutVsock(vsock) => resources.put_vsock(vsock),
            ApiRequest::PutBalloon(balloon) => resources.put_balloon(balloon),
            ApiRequest::PutEntropy(entropy) => {
                resources.put_entropy(&entropy);
                Ok(())
            }
            ApiRequest::PutMmdsConfig(config) => resources
                .put_mmds_config(config.clone())
                .map(|()| self.mmds.configure(&config)),
            ApiRequest::PutSerial(serial) => {
                resources.serial = serial;
                Ok(())
            }
            ApiRequest::PutLogger(config) => self
                .logger
                .update(&config)
                .map_err(|error| within("Logger error", error)),
            ApiRequest::PutMetrics(config) => self.metrics.open(config).map_err(|error| {
                let what = "Cannot initialize the metrics system due to bad user input";
                within("Metrics error", format!("{what}: {error}"))
            }),
            ApiRequest::InstanceStart => {
                self.running = Some(start::start(resources, &self.host, &self.mmds).await?);
                self.start_counting();
                // The first line tells how long the process took to start.
                self.flush_metrics().await.map_err(internal)
            }
            ApiRequest::PutCpuConfig(_) => Err(not_supported("QEMU has no CPU templates")),
            ApiRequest::PutPmem(_) => Err(not_supported("QEMU's microvm has no pmem device")),
            ApiRequest::PutMemoryHotplug(_) => Err(not_supported("QEMU's microvm has no memory hot-plug")),
            ApiRequest::LoadSnapshot(load) => self.load_snapshot(load).await,
            ApiRequest::GetBalloon => {
                let none = || within("Balloon config error", "No balloon device found.");
                return resources.balloon.map(Answer::Balloon).ok_or_else(none);
            }
            other => return self.answer(other),
        }
        .map(|()| Answer::Done)
    }

    /// What is answered alike in every state.
    fn answer(&mut self, request: ApiRequest) -> Result<Answer, Fault> {
        Ok(match request {
            ApiRequest::GetInstance => Answer::Instance(InstanceInfo {
                id: self.id.clone(),
                state: self.state(),
                vmm_version: VERSION.to_owned(),
                app_name: APP_NAME.to_owned(),
            }),
            ApiRequest::GetVersion => Answer::Version(VERSION.to_owned()),
            ApiRequest::GetVmConfig => Answer::VmConfig(Box::new(self.resources.full_config())),
            ApiRequest::GetMachineConfig => Answer::MachineConfig(self.resources.machine),
            ApiRequest::GetMmds => Answer::Mmds(self.mmds.get()),
            ApiRequest::PutMmds(contents) => {
                self.mmds.put(contents)?;
                Answer::Done
            }
            ApiRequest::PatchMmds(patch) => {
                self.mmds.patch(&patch)?;
                Answer::Done
            }
            _ => return Err(not_supported("sparkler does not know this request")),
        })
    }
}

/// Whether a request configures what a snapshot brings along, so that none can be loaded after it (`boot_path` in
/// Firecracker's `rpc_interface.rs`).
fn comes_with_a_snapshot(request: &ApiRequest) -> bool {
    matches!(
        request,
        ApiRequest::PutBootSource(_)
            | ApiRequest::UpdateMachineConfig(_)
            | ApiRequest::PutDrive(_)
            | ApiRequest::PutNetworkInterface(_)
            | ApiRequest::PutVsock(_)
            | ApiRequest::PutBalloon(_)
            | ApiRequest::PutEntropy(_)
            | ApiRequest::PutMmdsConfig(_)
            | ApiRequest::PutPmem(_)
            | ApiRequest::PutMemoryHotplug(_)
    )
}

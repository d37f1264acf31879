//! What may be asked of a machine that runs.
//!
//! Invariant: what was changed is kept in [`Resources`](super::resources::Resources) only once QEMU has done it, so
//! `GET /vm/config` always tells what is in force.

use std::time::Instant;

use firecracker_api::models::{PartialDrive, PartialNetworkInterface, VmState};
use firecracker_api::server::{Answer, ApiRequest, Fault, rules};

use super::Vm;
use super::faults::{NO_DEVICE, drive_update, internal, net_update, unknown_drive, within};
use super::limits::Direction;
use super::running::Running;
use crate::arch;
use crate::net::Limits;

impl Vm {
    /// Carries out a request on the running machine.
    pub(super) async fn handle_running(&mut self, request: ApiRequest) -> Result<Answer, Fault> {
        let Some(running) = &mut self.running else {
            return Err(internal("the machine is gone"));
        };
        let memory_mib = self.resources.machine.mem_size_mib;
        let no_balloon = || within("Balloon update error", NO_DEVICE);
        match request {
            ApiRequest::PatchVm(state) => {
                let pause = state == VmState::Paused;
                let begun = Instant::now();
                running.set_paused(pause).await.map_err(internal)?;
                self.paused = pause;
                self.tell_latency(pause, begun.elapsed());
            }
            ApiRequest::FlushMetrics => self.flush_metrics().await.map_err(internal)?,
            ApiRequest::SendCtrlAltDel if arch::HAS_KEYBOARD => {
                running.send_ctrl_alt_del().await.map_err(internal)?;
            }
            ApiRequest::PatchDrive(change) => return self.patch_drive(change).await,
            ApiRequest::PatchNetworkInterface(change) => return self.patch_net(&change).await,
            ApiRequest::GetBalloon => {
                let balloon = self.resources.balloon.ok_or_else(|| internal(NO_DEVICE))?;
                return Ok(Answer::Balloon(balloon));
            }
            ApiRequest::PatchBalloon(change) => {
                let balloon = self.resources.balloon.as_mut().ok_or_else(no_balloon)?;
                rules::balloon_size(change.amount_mib, memory_mib)?;
                let done = running.set_balloon(change.amount_mib, memory_mib).await;
                done.map_err(|error| within("Balloon update error", error))?;
                balloon.amount_mib = change.amount_mib;
            }
            ApiRequest::GetBalloonStatistics => {
                let balloon = self.resources.balloon.ok_or_else(|| internal(NO_DEVICE))?;
                if balloon.stats_polling_interval_s == 0 {
                    return Err(internal("Balloon: Received stats query when stats are disabled."));
                }
                let stats = running.balloon_statistics(balloon.amount_mib, memory_mib).await;
                return Ok(Answer::BalloonStatistics(Box::new(stats.map_err(internal)?)));
            }
            ApiRequest::PatchBalloonStatistics(change) => {
                let balloon = self.resources.balloon.as_mut().ok_or_else(no_balloon)?;
                rules::balloon_interval(balloon.stats_polling_interval_s, change.stats_polling_interval_s)?;
                let done = running
                    .set_balloon_interval(change.stats_polling_interval_s)
                    .await;
                done.map_err(|error| within("Balloon update error", error))?;
                balloon.stats_polling_interval_s = change.stats_polling_interval_s;
            }
            ApiRequest::StartBalloonHinting(_)
            | ApiRequest::StopBalloonHinting
            | ApiRequest::GetBalloonHintingStatus => {
                self.resources.balloon.ok_or_else(no_balloon)?;
                let why = "Attempting to use hinting when not enabled";
                return Err(within("Balloon update error: Balloon", why));
            }
            ApiRequest::PutDrive(_)
            | ApiRequest::PutNetworkInterface(_)
            | ApiRequest::PutPmem(_)
            | ApiRequest::UnplugDevice { .. } => return Err(Fault::bad_request("PCI is not enabled")),
            ApiRequest::PatchPmem(change) if change.rate_limiter.is_some() => {
                let text = format!(
                    "Unable to patch the pmem device: {NO_DEVICE} Please verify the request arguments."
                );
                return Err(within("Pmem config error", text));
            }
            ApiRequest::PatchPmem(_) => {}
            ApiRequest::GetMemoryHotplug => return Err(internal(NO_DEVICE)),
            ApiRequest::PatchMemoryHotplug(_) => {
                return Err(within("Memory hotplug update error", NO_DEVICE));
            }
            ApiRequest::CreateSnapshot(create) => self.create_snapshot(&create).await?,
            ApiRequest::GetMmds | ApiRequest::PutMmds(_) | ApiRequest::PatchMmds(_)
                if self.resources.mmds.is_none() =>
            {
                return Err(rules::mmds_not_initialized());
            }
            other => return self.answer(other),
        }
        Ok(Answer::Done)
    }

    async fn patch_drive(&mut self, change: PartialDrive) -> Result<Answer, Fault> {
        let Some(running) = &mut self.running else {
            return Err(internal("the machine is gone"));
        };
        let place = self
            .resources
            .drives
            .iter()
            .position(|drive| drive.drive_id == change.drive_id);
        let index = place.ok_or_else(unknown_drive)?;
        let drive = &mut self.resources.drives[index];
        if change.path_on_host.is_none() && change.rate_limiter.is_none() {
            return Err(drive_update("Block: Running method expected different backend."));
        }
        if let Some(path) = change.path_on_host {
            running
                .replace_image(index, drive, &path)
                .await
                .map_err(drive_update)?;
            drive.path_on_host = Some(path);
            self.metrics.counters.block.of(&drive.drive_id).update_count.up();
        }
        if let Some(update) = change.rate_limiter {
            let limiter = drive.rate_limiter.unwrap_or_default().updated(&update).in_force();
            running
                .limit_drive(index, limiter.as_ref())
                .await
                .map_err(drive_update)?;
            drive.rate_limiter = limiter;
        }
        Ok(Answer::Done)
    }

    async fn patch_net(&mut self, change: &PartialNetworkInterface) -> Result<Answer, Fault> {
        let Some(running) = &mut self.running else {
            return Err(internal("the machine is gone"));
        };
        let place = self
            .resources
            .nets
            .iter()
            .position(|net| net.iface_id == change.iface_id);
        let index = place.ok_or_else(|| net_update(NO_DEVICE))?;
        let net = &mut self.resources.nets[index];
        let (rx, tx) = (change.rx_rate_limiter, change.tx_rate_limiter);
        if let Some(pump) = running.pumps.get(&net.iface_id) {
            pump.update(Limits { rx, tx });
        } else {
            for (direction, limiter) in [(Direction::Rx, rx), (Direction::Tx, tx)] {
                if let Some(limiter) = limiter {
                    running
                        .limit_net(index, direction, &limiter)
                        .await
                        .map_err(net_update)?;
                }
            }
        }
        for (limiter, update) in [(&mut net.rx_rate_limiter, rx), (&mut net.tx_rate_limiter, tx)] {
            if let Some(update) = update {
                *limiter = limiter.unwrap_or_default().updated(&update).in_force();
            }
        }
        Ok(Answer::Done)
    }
}

impl Running {
    async fn send_ctrl_alt_del(&mut self) -> Result<(), crate::qemu::qmp::QmpError> {
        use crate::qemu::qmp::command::{KeyValue, SendKey};
        let keys = ["ctrl", "alt", "delete"].map(KeyValue::Qcode).into();
        self.qmp.execute(&SendKey { keys }).await.map(drop)
    }

    pub(super) async fn set_paused(&mut self, paused: bool) -> Result<(), crate::qemu::qmp::QmpError> {
        use crate::qemu::qmp::command::{Cont, Stop};
        if paused {
            self.qmp.execute(&Stop {}).await.map(drop)
        } else {
            self.qmp.execute(&Cont {}).await.map(drop)
        }
    }
}

//! A machine without a guest: it keeps what it is told, by the rules, and starts in a moment.

use std::fmt::Display;
use std::fs::{File, OpenOptions};
use std::os::unix::net::UnixListener;
use std::path::Path;

use firecracker_api::models::{
    Balloon, BalloonStats, BootSource, CpuTemplate, Drive, EntropyDevice, FullVmConfiguration, InstanceInfo,
    InstanceState, Logger, MachineConfiguration, Metrics, MmdsConfig, NetworkInterface, PartialDrive,
    PartialMachineConfiguration, PartialNetworkInterface, RateLimiter, VmState, Vsock,
};
use firecracker_api::server::{Answer, ApiRequest, Fault, Handler, rules};
use serde_json::Value;

const NO_DEVICE: &str = "Failed perform action on device: Device not found";
const MMDS_LIMIT: usize = 51_200;

#[derive(Default)]
pub(crate) struct Machine {
    state: InstanceState,
    config: FullVmConfiguration,
    machine: MachineConfiguration,
    mmds: Option<Value>,
    has_metrics: bool,
    vsock: Option<UnixListener>,
}

impl Handler for Machine {
    async fn handle(&mut self, request: ApiRequest) -> Answer {
        request
            .admit(self.state)
            .and_then(|()| self.answer(request))
            .into()
    }
}

fn refuse<T>(part: &str, why: impl Display) -> Result<T, Fault> {
    Err(Fault::bad_request(why.to_string()).within(part))
}

fn create(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

fn in_force(limiter: Option<RateLimiter>) -> Option<RateLimiter> {
    limiter.and_then(|limiter| limiter.in_force())
}

fn updated(old: Option<RateLimiter>, update: Option<RateLimiter>) -> Option<RateLimiter> {
    in_force(Some(old.unwrap_or_default().updated(&update.unwrap_or_default())))
}

/// A drive's file, and Firecracker's words where it cannot be opened.
fn backing_file(path: &str) -> Result<File, Fault> {
    let part = "Virtio backend error: Error manipulating the backing file";
    File::open(path).or_else(|error| refuse(part, format!("{error} {path}")))
}

impl Machine {
    fn is_started(&self) -> bool {
        self.state != InstanceState::NotStarted
    }

    /// Questions; everything else changes something.
    fn answer(&mut self, request: ApiRequest) -> Result<Answer, Fault> {
        let version = "1.17.0".to_owned();
        match request {
            ApiRequest::GetInstance => Ok(Answer::Instance(InstanceInfo {
                id: "machine".into(),
                state: self.state,
                vmm_version: version,
                app_name: "Firecracker".into(),
            })),
            ApiRequest::GetVersion => Ok(Answer::Version(version)),
            ApiRequest::GetMachineConfig => Ok(Answer::MachineConfig(self.machine)),
            ApiRequest::GetVmConfig => Ok(Answer::VmConfig(Box::new(FullVmConfiguration {
                machine_config: Some(self.machine),
                ..self.config.clone()
            }))),
            ApiRequest::GetMmds => {
                self.metadata_are_kept()?;
                Ok(Answer::Mmds(self.mmds.clone().unwrap_or_default()))
            }
            ApiRequest::GetBalloon => self.balloon().map(Answer::Balloon),
            ApiRequest::GetBalloonStatistics => self.balloon_statistics(),
            ApiRequest::GetMemoryHotplug => refuse("Internal VMM error", NO_DEVICE),
            change => self.change(change).map(|()| Answer::Done),
        }
    }

    fn change(&mut self, request: ApiRequest) -> Result<(), Fault> {
        use ApiRequest as R;
        match request {
            R::FlushMetrics | R::SendCtrlAltDel | R::PutSerial(_) => Ok(()),
            R::InstanceStart => self.start(),
            R::PatchVm(VmState::Resumed) => self.go(InstanceState::Running),
            R::PatchVm(VmState::Paused) => self.go(InstanceState::Paused),
            R::PutBootSource(source) => self.put_boot_source(source),
            R::UpdateMachineConfig(change) => self.update_machine(&change),
            R::PutLogger(logger) => put_logger(&logger),
            R::PutMetrics(metrics) => self.put_metrics(&metrics),
            R::PutVsock(vsock) => self.put_vsock(vsock),
            R::PutEntropy(entropy) => {
                let rate_limiter = in_force(entropy.rate_limiter);
                self.config.entropy = Some(EntropyDevice { rate_limiter });
                Ok(())
            }
            R::PutDrive(_) | R::PutPmem(_) | R::PutNetworkInterface(_) | R::UnplugDevice { .. }
                if self.is_started() =>
            {
                Err(Fault::bad_request("PCI is not enabled"))
            }
            R::PutDrive(drive) => self.put_drive(drive),
            R::PatchDrive(change) => self.patch_drive(change).map_err(|fault| {
                let fault = fault.within("Drive config error: Unable to patch the block device");
                Fault::bad_request(format!("{} Please verify the request arguments.", fault.message))
            }),
            R::PutNetworkInterface(interface) => self.put_interface(interface),
            R::PatchNetworkInterface(change) => self.patch_interface(&change),
            R::PutMmdsConfig(config) => self.put_mmds_config(config),
            R::PutMmds(contents) => {
                self.metadata_are_kept()?;
                self.mmds = Some(rules::put_mmds(contents, MMDS_LIMIT)?);
                Ok(())
            }
            R::PatchMmds(patch) => {
                self.metadata_are_kept()?;
                self.mmds = Some(rules::patch_mmds(self.mmds.as_ref(), &patch, MMDS_LIMIT)?);
                Ok(())
            }
            R::PutBalloon(balloon) => self.put_balloon(balloon),
            R::PatchMemoryHotplug(_) => refuse("Memory hotplug update error", NO_DEVICE),
            R::PatchBalloonStatistics(change) => self.change_interval(change.stats_polling_interval_s),
            // The rest concerns a balloon's size or hints, and what this machine has not.
            _ if self.config.balloon.is_none() => refuse("Balloon update error", NO_DEVICE),
            _ => refuse(
                "Balloon update error: Balloon",
                "Attempting to use hinting when not enabled",
            ),
        }
    }

    fn start(&mut self) -> Result<(), Fault> {
        if self.config.boot_source.kernel_image_path.is_empty() {
            return refuse(
                "Start microvm error",
                "Cannot start microvm without kernel configuration.",
            );
        }
        self.go(InstanceState::Running)
    }

    fn go(&mut self, state: InstanceState) -> Result<(), Fault> {
        self.state = state;
        Ok(())
    }

    fn put_boot_source(&mut self, source: BootSource) -> Result<(), Fault> {
        let part = "Boot source error";
        let opened = |path: &str, words: &str| {
            File::open(path)
                .map(drop)
                .or_else(|error| refuse(part, format!("{words} {error}")))
        };
        opened(&source.kernel_image_path, "The kernel file cannot be opened:")?;
        if let Some(initrd) = &source.initrd_path {
            opened(
                initrd,
                "The initrd file cannot be opened due to invalid path or invalid permissions.",
            )?;
        }
        if source.boot_args.as_ref().is_some_and(|args| args.len() >= 2048) {
            return refuse(part, "The kernel command line is invalid: it is too long");
        }
        self.config.boot_source = source;
        Ok(())
    }

    fn update_machine(&mut self, change: &PartialMachineConfiguration) -> Result<(), Fault> {
        if change
            .cpu_template
            .is_some_and(|template| template != CpuTemplate::None)
        {
            return refuse("Machine config error", "There are no templates here.");
        }
        let balloon = self.config.balloon.map(|balloon| balloon.amount_mib);
        self.machine = rules::machine_config(&self.machine, change, balloon)?;
        Ok(())
    }

    fn put_metrics(&mut self, metrics: &Metrics) -> Result<(), Fault> {
        let part = "Metrics error: Cannot initialize the metrics system due to bad user input";
        create(&metrics.metrics_path).or_else(|error| refuse(part, error))?;
        if std::mem::replace(&mut self.has_metrics, true) {
            return refuse(part, "Reinitialization of metrics not allowed.");
        }
        Ok(())
    }

    fn put_vsock(&mut self, vsock: Vsock) -> Result<(), Fault> {
        rules::vsock(&vsock)?;
        let part = "Vsock config error: Cannot create backend for vsock device: Error binding to the host-side Unix socket";
        if let Some(old) = self.config.vsock.take() {
            self.vsock = None;
            std::fs::remove_file(old.uds_path).or_else(|error| refuse(part, error))?;
        }
        self.vsock = Some(UnixListener::bind(&vsock.uds_path).or_else(|error| refuse(part, error))?);
        self.config.vsock = Some(Vsock {
            vsock_id: None,
            ..vsock
        });
        Ok(())
    }

    fn put_drive(&mut self, drive: Drive) -> Result<(), Fault> {
        rules::drive(&drive, &self.config.drives, &self.config.pmem)?;
        backing_file(drive.path_on_host.as_deref().unwrap_or_default())
            .map_err(|fault| fault.within("Drive config error: Unable to create the virtio block device"))?;
        let shown = Drive {
            rate_limiter: in_force(drive.rate_limiter),
            io_engine: Some(drive.io_engine.unwrap_or_default()),
            is_read_only: Some(drive.is_read_only.unwrap_or(false)),
            ..drive
        };
        rules::place_drive(&mut self.config.drives, shown);
        Ok(())
    }

    fn patch_drive(&mut self, change: PartialDrive) -> Result<(), Fault> {
        let Some(drive) = self
            .config
            .drives
            .iter_mut()
            .find(|drive| drive.drive_id == change.drive_id)
        else {
            return Err(Fault::bad_request(NO_DEVICE));
        };
        if change.path_on_host.is_none() && change.rate_limiter.is_none() {
            return refuse("Block", "Running method expected different backend.");
        }
        if let Some(path) = change.path_on_host {
            backing_file(&path).map_err(|fault| fault.within("Block"))?;
            drive.path_on_host = Some(path);
        }
        drive.rate_limiter = updated(drive.rate_limiter, change.rate_limiter);
        Ok(())
    }

    fn put_interface(&mut self, interface: NetworkInterface) -> Result<(), Fault> {
        let interfaces = &mut self.config.network_interfaces;
        rules::network_interface(&interface, interfaces)?;
        rules::mtu(interface.mtu)?;
        interfaces.retain(|known| known.iface_id != interface.iface_id);
        interfaces.push(NetworkInterface {
            rx_rate_limiter: in_force(interface.rx_rate_limiter),
            tx_rate_limiter: in_force(interface.tx_rate_limiter),
            ..interface
        });
        Ok(())
    }

    fn patch_interface(&mut self, change: &PartialNetworkInterface) -> Result<(), Fault> {
        let mut interfaces = self.config.network_interfaces.iter_mut();
        let Some(interface) = interfaces.find(|known| known.iface_id == change.iface_id) else {
            return refuse("Network config error: Unable to update the net device", NO_DEVICE);
        };
        interface.rx_rate_limiter = updated(interface.rx_rate_limiter, change.rx_rate_limiter);
        interface.tx_rate_limiter = updated(interface.tx_rate_limiter, change.tx_rate_limiter);
        Ok(())
    }

    fn put_mmds_config(&mut self, mut config: MmdsConfig) -> Result<(), Fault> {
        let known: Vec<_> = self
            .config
            .network_interfaces
            .iter()
            .map(|net| net.iface_id.as_str())
            .collect();
        config.ipv4_address = Some(rules::mmds_config(&config, &known)?);
        self.config.mmds_config = Some(config);
        Ok(())
    }

    fn metadata_are_kept(&self) -> Result<(), Fault> {
        if self.is_started() && self.config.mmds_config.is_none() {
            return Err(rules::mmds_not_initialized());
        }
        Ok(())
    }

    fn balloon(&self) -> Result<Balloon, Fault> {
        match self.config.balloon {
            Some(balloon) => Ok(balloon),
            None if self.is_started() => refuse("Internal VMM error", NO_DEVICE),
            None => refuse("Balloon config error", "No balloon device found."),
        }
    }

    fn balloon_statistics(&self) -> Result<Answer, Fault> {
        let balloon = self.balloon()?;
        if balloon.stats_polling_interval_s == 0 {
            return refuse(
                "Internal VMM error: Balloon",
                "Received stats query when stats are disabled.",
            );
        }
        Ok(Answer::BalloonStatistics(Box::new(BalloonStats {
            target_mib: balloon.amount_mib,
            target_pages: balloon.amount_mib * 256,
            ..Default::default()
        })))
    }

    fn put_balloon(&mut self, balloon: Balloon) -> Result<(), Fault> {
        if balloon.free_page_hinting || balloon.free_page_reporting {
            return refuse("Balloon config error", "There is no hinting here.");
        }
        rules::balloon(&balloon, self.machine.mem_size_mib)?;
        self.config.balloon = Some(balloon);
        Ok(())
    }

    fn change_interval(&mut self, interval_s: u16) -> Result<(), Fault> {
        let Some(balloon) = &mut self.config.balloon else {
            return refuse("Balloon update error", NO_DEVICE);
        };
        rules::balloon_interval(balloon.stats_polling_interval_s, interval_s)?;
        balloon.stats_polling_interval_s = interval_s;
        Ok(())
    }
}

fn put_logger(logger: &Logger) -> Result<(), Fault> {
    if let Some(path) = &logger.log_path {
        create(path).or_else(|error| refuse("Logger error: Failed to open target file", error))?;
    }
    Ok(())
}

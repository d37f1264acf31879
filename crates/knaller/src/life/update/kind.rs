//! The parts of a spec that an update changes, each in one go.

use firecracker_api::Client;

use crate::record::Record;
use crate::start::limits;
use crate::{Error, Limits, MachineSpec, Result, task};

/// What is changed in one go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Processes,
    Disks,
    Network,
    Balloon,
    Labels,
    Exposed,
    Cpus,
    Memory,
    Restart,
    Environment,
    Hostname,
    Egress,
    BootTimeout,
}

/// Why something is not changed.
#[derive(Debug)]
pub(super) enum Failure {
    Vmm(firecracker_api::Error),
    Other(Error),
}

impl Kind {
    /// What can be refused first, so that little is done by then.
    pub(super) const ALL: [Self; 13] = [
        Self::Processes,
        Self::Balloon,
        Self::Disks,
        Self::Network,
        Self::Labels,
        Self::Exposed,
        Self::Cpus,
        Self::Memory,
        Self::Restart,
        Self::Environment,
        Self::Hostname,
        Self::Egress,
        Self::BootTimeout,
    ];

    /// Those that something keeps while the machine runs.
    pub(super) const KEPT: [Self; 4] = [Self::Processes, Self::Balloon, Self::Disks, Self::Network];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Processes => "limits of the processes",
            Self::Disks => "disk limits",
            Self::Network => "network limits",
            Self::Balloon => "memory target",
            Self::Labels => "labels",
            Self::Exposed => "publishing of the image's ports",
            Self::Cpus => "CPUs",
            Self::Memory => "memory",
            Self::Restart => "restart policy",
            Self::Environment => "environment",
            Self::Hostname => "host name",
            Self::Egress => "egress rules",
            Self::BootTimeout => "boot timeout",
        }
    }

    pub(super) fn differs(self, old: &MachineSpec, new: &MachineSpec) -> bool {
        let (was, is) = (&old.limits, &new.limits);
        match self {
            Self::Processes => of_processes(was) != of_processes(is),
            Self::Disks => (was.disk_bandwidth, was.disk_ops) != (is.disk_bandwidth, is.disk_ops),
            Self::Network => (was.receive, was.send) != (is.receive, is.send),
            Self::Balloon => was.memory_target_mib != is.memory_target_mib,
            Self::Labels => old.labels != new.labels,
            Self::Exposed => old.publish_all != new.publish_all,
            Self::Cpus => old.cpus != new.cpus,
            Self::Memory => old.memory_mib != new.memory_mib,
            Self::Restart => old.restart != new.restart,
            Self::Environment => old.env != new.env,
            Self::Hostname => old.hostname != new.hostname,
            Self::Egress => old.egress != new.egress,
            Self::BootTimeout => old.boot_timeout_ms != new.boot_timeout_ms,
        }
    }

    /// Has another spec say the same of it.
    pub(super) fn copy(self, from: &MachineSpec, to: &mut MachineSpec) {
        let limits = &mut to.limits;
        match self {
            Self::Processes => {
                let others = limits.clone();
                *limits = Limits {
                    disk_bandwidth: others.disk_bandwidth,
                    disk_ops: others.disk_ops,
                    receive: others.receive,
                    send: others.send,
                    memory_target_mib: others.memory_target_mib,
                    ..from.limits.clone()
                };
            }
            Self::Disks => {
                (limits.disk_bandwidth, limits.disk_ops) = (from.limits.disk_bandwidth, from.limits.disk_ops);
            }
            Self::Network => (limits.receive, limits.send) = (from.limits.receive, from.limits.send),
            Self::Balloon => limits.memory_target_mib = from.limits.memory_target_mib,
            Self::Labels => to.labels.clone_from(&from.labels),
            Self::Exposed => to.publish_all = from.publish_all,
            Self::Cpus => to.cpus = from.cpus,
            Self::Memory => to.memory_mib = from.memory_mib,
            Self::Restart => to.restart = from.restart,
            Self::Environment => to.env.clone_from(&from.env),
            Self::Hostname => to.hostname.clone_from(&from.hostname),
            Self::Egress => to.egress.clone_from(&from.egress),
            Self::BootTimeout => to.boot_timeout_ms = from.boot_timeout_ms,
        }
    }

    /// Changes it in a machine that runs; false if that cannot be done.
    pub(super) async fn change(self, client: &Client, record: &Record, spec: &MachineSpec) -> Result<bool> {
        let changed = self.try_change(client, record, spec).await;
        changed.map_err(|failure| match failure {
            Failure::Vmm(error) => Error::refused(&record.vmm, &error),
            Failure::Other(error) => error,
        })
    }

    /// As [`Self::change`], telling a VMM that refuses from one that cannot be asked.
    pub(super) async fn try_change(
        self,
        client: &Client,
        record: &Record,
        spec: &MachineSpec,
    ) -> std::result::Result<bool, Failure> {
        match self {
            Self::Processes => {
                // Processes that were started without a group stay without.
                let Some(group) = record.cgroup.clone() else {
                    return Ok(false);
                };
                let limits = spec.limits.clone();
                let limited = task::blocking(move |_| group.limit(&limits)).await;
                limited.map_err(Failure::Other)?;
            }
            Self::Disks => limits::disks_of(client, spec).await.map_err(Failure::Vmm)?,
            Self::Network => limits::network(client, &spec.limits)
                .await
                .map_err(Failure::Vmm)?,
            Self::Balloon => {
                // The guest's memory is that of its start, which an update of the spec does not change.
                let machine = client.get_machine_config().await.map_err(Failure::Vmm)?;
                let memory_mib = u32::try_from(machine.mem_size_mib).unwrap_or(u32::MAX);
                limits::balloon(client, spec.limits.balloon_mib(memory_mib))
                    .await
                    .map_err(Failure::Vmm)?;
            }
            // Whoever keeps the machine up reads its policy when it ends.
            Self::Labels | Self::Restart => {}
            // They went with the other forwards. Which they would be, only a start finds out.
            Self::Exposed => return Ok(!spec.publish_all),
            Self::Cpus
            | Self::Memory
            | Self::Environment
            | Self::Hostname
            | Self::Egress
            | Self::BootTimeout => return Ok(false),
        }
        Ok(true)
    }
}

/// What a control group keeps.
pub(super) fn of_processes(limits: &Limits) -> Limits {
    Limits {
        disk_bandwidth: None,
        disk_ops: None,
        receive: None,
        send: None,
        memory_target_mib: None,
        ..limits.clone()
    }
}

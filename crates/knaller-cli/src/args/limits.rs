//! Limits, for a machine that is started and for one that there is.

use std::str::FromStr;

use clap::Args;
use knaller::{Change, CpuQuota, CpuSet, MachineSpec, Rate, Slice, Update};

use super::{rate, size};
use crate::ui::Ui;

/// What takes a limit away.
const NONE: &str = "none";

/// Warns of a quota that is more than all of the host's CPUs. It is right for a larger host, so it is no error.
pub(crate) fn warn_of_quota(ui: Ui, quota: Option<CpuQuota>) {
    let limits_nothing = quota.zip(online()).and_then(|(quota, cpus)| idle(quota, cpus));
    if let Some(warning) = limits_nothing {
        ui.warning(warning);
    }
}

/// The host's CPUs that are online, whichever of them this process may use (Documentation/admin-guide/cputopology.rst).
fn online() -> Option<usize> {
    let cpus = std::fs::read_to_string("/sys/devices/system/cpu/online").ok()?;
    let ranges = cpus.trim().split(',').map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        Some(last.checked_sub(first)? + 1)
    });
    ranges.sum()
}

/// Why a quota limits nothing, if it does not.
fn idle(quota: CpuQuota, cpus: usize) -> Option<String> {
    let whole = u32::try_from(cpus).map_or(u32::MAX, |cpus| cpus.saturating_mul(1_000));
    let (s, are) = if cpus == 1 { ("", "is") } else { ("s", "are") };
    (quota.thousandths() > whole)
        .then(|| format!("a CPU quota of {quota} limits nothing here, where there {are} {cpus} CPU{s}"))
}

/// What a new machine may take of its host.
#[derive(Args, Debug)]
pub(crate) struct LimitOptions {
    /// CPU time of so many of the host's CPUs: 0.5 (needs cgroup v2, as do the next four)
    #[arg(long, value_name = "CPUS")]
    cpu_quota: Option<CpuQuota>,

    /// Share of the CPUs where there are too few for all: 1 to 10000; others have 100
    #[arg(long, value_name = "WEIGHT")]
    cpu_weight: Option<u16>,

    /// The CPUs of the host to run on: 0-3,5
    #[arg(long, value_name = "CPUS")]
    cpuset: Option<CpuSet>,

    /// The most memory of the host for the guest and its VMM together; above it the machine is ended
    #[arg(long, value_name = "SIZE", value_parser = size::mebibytes)]
    memory_max: Option<u32>,

    /// The most processes and threads on the host
    #[arg(long, value_name = "N")]
    pids: Option<u32>,

    /// What the guest's balloon leaves to it of its memory
    #[arg(long, value_name = "SIZE", value_parser = size::mebibytes)]
    memory_target: Option<u32>,

    /// MB a second of each disk, and how many may pass at once
    #[arg(long, value_name = "MB/S[:MB]", value_parser = rate::megabytes)]
    disk_bandwidth: Option<Rate>,

    /// Requests a second of each disk, and how many may pass at once
    #[arg(long, value_name = "N/S[:N]", value_parser = rate::operations)]
    disk_iops: Option<Rate>,

    /// Mbit a second that the guest receives, and how many may pass at once
    #[arg(long, value_name = "MBIT/S[:MBIT]", value_parser = rate::megabits)]
    net_receive: Option<Rate>,

    /// Mbit a second that the guest sends, and how many may pass at once
    #[arg(long, value_name = "MBIT/S[:MBIT]", value_parser = rate::megabits)]
    net_send: Option<Rate>,

    /// Where in the host's control groups to run: stopping the service that started it leaves the machine alone
    #[arg(long, value_name = "SLICE")]
    slice: Option<Slice>,
}

impl LimitOptions {
    pub(crate) fn apply(&self, spec: &mut MachineSpec) {
        let limits = &mut spec.limits;
        limits.cpu_quota = self.cpu_quota;
        limits.cpu_weight = self.cpu_weight;
        limits.cpu_set.clone_from(&self.cpuset);
        limits.memory_max_mib = self.memory_max;
        limits.pids = self.pids;
        limits.memory_target_mib = self.memory_target;
        limits.disk_bandwidth = self.disk_bandwidth;
        limits.disk_ops = self.disk_iops;
        limits.receive = self.net_receive;
        limits.send = self.net_send;
        spec.slice.clone_from(&self.slice);
    }
}

/// Other limits for a machine that there is.
#[derive(Args, Debug)]
pub(crate) struct LimitChanges {
    /// CPU time of so many of the host's CPUs: 0.5
    #[arg(long, value_name = "CPUS|none", value_parser = change::<CpuQuota>)]
    cpu_quota: Option<Change<CpuQuota>>,

    /// Share of the CPUs where there are too few for all
    #[arg(long, value_name = "WEIGHT|none", value_parser = change::<u16>)]
    cpu_weight: Option<Change<u16>>,

    /// The CPUs of the host to run on: 0-3,5
    #[arg(long, value_name = "CPUS|none", value_parser = change::<CpuSet>)]
    cpuset: Option<Change<CpuSet>>,

    /// The most memory of the host for the guest and its VMM together
    #[arg(long, value_name = "SIZE|none", value_parser = size_change)]
    memory_max: Option<Change<u32>>,

    /// The most processes and threads on the host
    #[arg(long, value_name = "N|none", value_parser = change::<u32>)]
    pids: Option<Change<u32>>,

    /// What the guest's balloon leaves to it of its memory
    #[arg(long, value_name = "SIZE|none", value_parser = size_change)]
    memory_target: Option<Change<u32>>,

    /// MB a second of each disk, and how many may pass at once
    #[arg(long, value_name = "MB/S[:MB]|none", value_parser = megabytes_change)]
    disk_bandwidth: Option<Change<Rate>>,

    /// Requests a second of each disk, and how many may pass at once
    #[arg(long, value_name = "N/S[:N]|none", value_parser = operations_change)]
    disk_iops: Option<Change<Rate>>,

    /// Mbit a second that the guest receives, and how many may pass at once
    #[arg(long, value_name = "MBIT/S[:MBIT]|none", value_parser = megabits_change)]
    net_receive: Option<Change<Rate>>,

    /// Mbit a second that the guest sends, and how many may pass at once
    #[arg(long, value_name = "MBIT/S[:MBIT]|none", value_parser = megabits_change)]
    net_send: Option<Change<Rate>>,
}

impl LimitChanges {
    pub(crate) fn apply(self, update: &mut Update) {
        update.cpu_quota = self.cpu_quota.unwrap_or_default();
        update.cpu_weight = self.cpu_weight.unwrap_or_default();
        update.cpu_set = self.cpuset.unwrap_or_default();
        update.memory_max_mib = self.memory_max.unwrap_or_default();
        update.pids = self.pids.unwrap_or_default();
        update.memory_target_mib = self.memory_target.unwrap_or_default();
        update.disk_bandwidth = self.disk_bandwidth.unwrap_or_default();
        update.disk_ops = self.disk_iops.unwrap_or_default();
        update.receive = self.net_receive.unwrap_or_default();
        update.send = self.net_send.unwrap_or_default();
    }
}

fn change<T: FromStr>(text: &str) -> Result<Change<T>, String>
where
    T::Err: ToString,
{
    change_by(text, |text| {
        text.parse().map_err(|error: T::Err| error.to_string())
    })
}

fn change_by<T>(text: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<Change<T>, String> {
    match text {
        NONE => Ok(Change::Remove),
        text => parse(text).map(Change::Set),
    }
}

fn size_change(text: &str) -> Result<Change<u32>, String> {
    change_by(text, size::mebibytes)
}

fn megabytes_change(text: &str) -> Result<Change<Rate>, String> {
    change_by(text, rate::megabytes)
}

fn megabits_change(text: &str) -> Result<Change<Rate>, String> {
    change_by(text, rate::megabits)
}

fn operations_change(text: &str) -> Result<Change<Rate>, String> {
    change_by(text, rate::operations)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_above_all_cpus_limits_nothing() {
        let told = |quota: &str, cpus| idle(quota.parse().unwrap(), cpus);
        assert_eq!((told("2", 2), told("0.5", 1)), (None, None));
        assert_eq!(
            told("2.5", 2).unwrap(),
            "a CPU quota of 2.5 limits nothing here, where there are 2 CPUs"
        );
        assert!(told("9", 1).unwrap().ends_with("where there is 1 CPU"));
    }
}

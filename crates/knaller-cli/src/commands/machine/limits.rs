//! A machine's limits in one line.

use knaller::{Limits, MachineSpec, Rate};

use crate::ui::human;

/// Bytes of a megabyte, and of a megabit.
const MEGABYTE: u64 = 1_000_000;
const MEGABIT: u64 = MEGABYTE / 8;

/// `0.5 CPUs, disks 50 MB/s (200 MB at once)`; empty without any.
pub(super) fn text(limits: &Limits) -> String {
    let mib = |mib: u32| human::mebibytes(mib.into());
    let parts = [
        limits.cpu_quota.map(|quota| format!("CPU time of {quota}")),
        limits.cpu_weight.map(|weight| format!("CPU weight {weight}")),
        limits.cpu_set.as_ref().map(|set| format!("on CPUs {set}")),
        limits
            .memory_max_mib
            .map(|max| format!("{} of the host", mib(max))),
        limits.pids.map(|pids| format!("{pids} processes")),
        limits
            .memory_target_mib
            .map(|target| format!("{} left to the guest", mib(target))),
        limits
            .disk_bandwidth
            .map(|rate| told("disks", rate, MEGABYTE, "MB")),
        limits.disk_ops.map(|rate| told("disks", rate, 1, "requests")),
        limits.receive.map(|rate| told("receives", rate, MEGABIT, "Mbit")),
        limits.send.map(|rate| told("sends", rate, MEGABIT, "Mbit")),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    parts.join(", ")
}

/// The same, and the slice that it is in.
pub(super) fn with_slice(spec: &MachineSpec) -> String {
    let parts = [
        Some(text(&spec.limits)).filter(|text| !text.is_empty()),
        spec.slice.as_ref().map(|slice| format!("in {slice}")),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    parts.join(", ")
}

fn told(what: &str, rate: Rate, unit: u64, name: &str) -> String {
    let amount = |amount: u64| decimal(u128::from(amount) * 1_000 / u128::from(unit));
    let rest = rate
        .at_once()
        .map(|burst| format!(" ({} {name} at once)", amount(burst)));
    format!(
        "{what} {} {name}/s{}",
        amount(rate.per_second()),
        rest.unwrap_or_default()
    )
}

/// A number of thousandths, with no more digits than it has.
fn decimal(thousandths: u128) -> String {
    let text = format!("{}.{:03}", thousandths / 1_000, thousandths % 1_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_limited_is_told_in_the_units_it_was_said_in() {
        let mut spec = MachineSpec::new();
        assert_eq!(with_slice(&spec), "");
        spec.limits.cpu_quota = Some("0.5".parse().unwrap());
        spec.limits.memory_max_mib = Some(1_536);
        spec.limits.disk_bandwidth = Some(Rate::new(50_000_000).burst(200_000_000));
        spec.limits.disk_ops = Some(Rate::new(100));
        spec.limits.send = Some(Rate::new(187_500));
        spec.slice = Some("vms".parse().unwrap());
        assert_eq!(
            with_slice(&spec),
            "CPU time of 0.5, 1.5 GiB of the host, disks 50 MB/s (200 MB at once), disks 100 requests/s, sends 1.5 Mbit/s, in \
             vms.slice"
        );
    }
}

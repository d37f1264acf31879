//! Limits as the files of a group say them.

use std::collections::BTreeSet;

use crate::Limits;

/// The period of a quota, in microseconds: the kernel's own.
const PERIOD_US: u64 = 100_000;

/// One file of a group, and what is to stand in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) controller: &'static str,
    pub(super) file: &'static str,
    pub(super) value: String,
}

fn setting(controller: &'static str, file: &'static str, value: String) -> Setting {
    Setting {
        controller,
        file,
        value,
    }
}

/// The limits that a group keeps.
pub(super) fn of(limits: &Limits) -> Vec<Setting> {
    let mut settings = Vec::new();
    if let Some(quota) = limits.cpu_quota {
        let quota_us = u64::from(quota.thousandths()) * PERIOD_US / 1_000;
        settings.push(setting("cpu", "cpu.max", format!("{quota_us} {PERIOD_US}")));
    }
    if let Some(weight) = limits.cpu_weight {
        settings.push(setting("cpu", "cpu.weight", weight.to_string()));
    }
    if let Some(set) = &limits.cpu_set {
        settings.push(setting("cpuset", "cpuset.cpus", set.to_string()));
    }
    if let Some(mib) = limits.memory_max_mib {
        settings.push(setting(
            "memory",
            "memory.max",
            (u64::from(mib) << 20).to_string(),
        ));
        // Half a machine is of use to nobody.
        settings.push(setting("memory", "memory.oom.group", "1".to_owned()));
    }
    if let Some(pids) = limits.pids {
        settings.push(setting("pids", "pids.max", pids.to_string()));
    }
    settings
}

/// What takes each limit away.
pub(super) fn none() -> Vec<Setting> {
    vec![
        setting("cpu", "cpu.max", format!("max {PERIOD_US}")),
        setting("cpu", "cpu.weight", "100".to_owned()),
        setting("cpuset", "cpuset.cpus", all_cpus()),
        setting("memory", "memory.max", "max".to_owned()),
        setting("memory", "memory.oom.group", "0".to_owned()),
        setting("pids", "pids.max", "max".to_owned()),
    ]
}

/// Every CPU that the host could have, of which a group uses what the one above it has. An empty list, which a new group has,
/// the kernel takes from none that has processes: where all CPUs are not known, the limit stays and that is said.
fn all_cpus() -> String {
    let possible = std::fs::read_to_string("/sys/devices/system/cpu/possible");
    possible.unwrap_or_else(|_| "\n".to_owned())
}

/// The controllers that these need.
pub(super) fn controllers(settings: &[Setting]) -> BTreeSet<&'static str> {
    settings.iter().map(|setting| setting.controller).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_the_kernels() {
        let mut limits = Limits::default();
        assert_eq!(of(&limits), []);
        limits.cpu_quota = Some("0.5".parse().unwrap());
        limits.cpu_weight = Some(50);
        limits.cpu_set = Some("3,0-1".parse().unwrap());
        limits.memory_max_mib = Some(512);
        limits.pids = Some(64);
        let settings = of(&limits);
        let lines: Vec<_> = settings
            .iter()
            .map(|setting| format!("{}={}", setting.file, setting.value))
            .collect();
        assert_eq!(
            lines,
            [
                "cpu.max=50000 100000",
                "cpu.weight=50",
                "cpuset.cpus=0-1,3",
                "memory.max=536870912",
                "memory.oom.group=1",
                "pids.max=64",
            ]
        );
        assert_eq!(
            controllers(&settings).into_iter().collect::<Vec<_>>(),
            ["cpu", "cpuset", "memory", "pids"]
        );
        // Each can be taken away again.
        let files = |settings: &[Setting]| settings.iter().map(|setting| setting.file).collect::<Vec<_>>();
        assert_eq!(files(&settings), files(&none()));
    }

    #[test]
    fn the_smallest_quota_is_one_that_the_kernel_takes() {
        let limits = Limits {
            cpu_quota: Some("0.01".parse().unwrap()),
            ..Limits::default()
        };
        assert_eq!(of(&limits).pop().unwrap().value, "1000 100000");
    }
}

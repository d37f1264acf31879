//! What a machine may take of its host. The invariant: a limit that is there limits, and what is not said is not limited.

use serde::{Deserialize, Serialize};

mod cpus;
mod rate;
mod slice;

pub use cpus::{CpuQuota, CpuSet, InvalidCpus};
pub use rate::Rate;
pub(crate) use rate::open;
pub use slice::{InvalidSlice, Slice};

/// The fewest processes and threads of a machine that can start: those of pasta and of a VMM with its first CPU.
const MIN_PIDS: u32 = 16;

/// The least that a guest can be left with, in MiB.
const MIN_TARGET_MIB: u32 = 32;

/// The range of cpu.weight (cgroup-v2: "in the range [1, 10000]").
const MAX_WEIGHT: u16 = 10_000;

/// What a machine may take. [`crate::Machine::update`] changes all of it while the machine runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Limits {
    /// The time of the host's CPUs that all its processes may take together. Needs cgroup v2, as do the next four.
    pub cpu_quota: Option<CpuQuota>,
    /// Its share where CPUs are wanted by more than there are: 1 to 10000; 100 is what everybody has.
    pub cpu_weight: Option<u16>,
    /// The CPUs of the host that it may run on.
    pub cpu_set: Option<CpuSet>,
    /// The most memory that its processes may take, in MiB: the guest's and the VMM's own. Above it the kernel ends it.
    pub memory_max_mib: Option<u32>,
    /// The most processes and threads on the host, from 16 on.
    pub pids: Option<u32>,
    /// Bytes that may be read from and written to each of its disks.
    pub disk_bandwidth: Option<Rate>,
    /// Requests to each of its disks.
    pub disk_ops: Option<Rate>,
    /// Bytes that the guest may receive.
    pub receive: Option<Rate>,
    /// Bytes that the guest may send.
    pub send: Option<Rate>,
    /// The memory that the guest is to be left with, in MiB, from 32 on and at most what the machine has: a balloon in the
    /// guest gives the rest back to the host, as far as the guest can spare it.
    pub memory_target_mib: Option<u32>,
}

/// What is wrong with [`Limits`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLimits {
    #[error("a CPU weight of {0}: 1 to {MAX_WEIGHT} are possible")]
    Weight(u16),
    #[error("a memory cap of {cap_mib} MiB is less than the guest's own {memory_mib} MiB")]
    MemoryMax { cap_mib: u32, memory_mib: u32 },
    #[error("{0} processes: a machine needs at least {MIN_PIDS} on the host")]
    Pids(u32),
    #[error("{what} of 0: leave it out for none, or take the machine's disks or network away")]
    NoRate { what: &'static str },
    #[error("{what}: what may pass at once is a second's worth to an hour's worth of the rate")]
    Burst { what: &'static str },
    #[error("a memory target of {target_mib} MiB: {MIN_TARGET_MIB} to {memory_mib} are possible")]
    Target { target_mib: u32, memory_mib: u32 },
}

impl Limits {
    /// Whether a machine with this much memory can have them.
    pub(crate) fn validate(&self, memory_mib: u32) -> Result<(), InvalidLimits> {
        if let Some(weight) = self.cpu_weight
            && !(1..=MAX_WEIGHT).contains(&weight)
        {
            return Err(InvalidLimits::Weight(weight));
        }
        if let Some(cap_mib) = self.memory_max_mib
            && cap_mib < memory_mib
        {
            return Err(InvalidLimits::MemoryMax { cap_mib, memory_mib });
        }
        if let Some(pids) = self.pids
            && pids < MIN_PIDS
        {
            return Err(InvalidLimits::Pids(pids));
        }
        if let Some(target_mib) = self.memory_target_mib
            && !(MIN_TARGET_MIB..=memory_mib).contains(&target_mib)
        {
            return Err(InvalidLimits::Target {
                target_mib,
                memory_mib,
            });
        }
        for (what, rate) in [
            ("a disk bandwidth", self.disk_bandwidth),
            ("disk operations", self.disk_ops),
            ("a receive rate", self.receive),
            ("a send rate", self.send),
        ] {
            rate.map_or(Ok(()), |rate| rate.validate(what))?;
        }
        Ok(())
    }

    /// Makes them possible for a machine with this much memory.
    pub(crate) fn fit(&mut self, memory_mib: u32) {
        self.memory_target_mib = self.memory_target_mib.map(|target| target.min(memory_mib));
        self.memory_max_mib = self.memory_max_mib.map(|cap| cap.max(memory_mib));
    }

    /// Whether the guest's interface is limited.
    pub(crate) fn limit_network(&self) -> bool {
        self.receive.is_some() || self.send.is_some()
    }

    /// Whether its disks are limited.
    pub(crate) fn limit_disks(&self) -> bool {
        self.disk_bandwidth.is_some() || self.disk_ops.is_some()
    }

    /// What a balloon is to take from a guest of this much memory, in MiB.
    pub(crate) fn balloon_mib(&self, memory_mib: u32) -> u32 {
        self.memory_target_mib
            .map_or(0, |target| memory_mib.saturating_sub(target))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_valid_and_survives_json() {
        let none = Limits::default();
        assert_eq!(none.validate(256), Ok(()));
        assert_eq!(serde_json::from_str::<Limits>("{}").unwrap(), none);
        let some = Limits {
            cpu_quota: Some("0.5".parse().unwrap()),
            cpu_set: Some("0-2,7".parse().unwrap()),
            disk_bandwidth: Some(Rate::new(1_000_000)),
            ..none
        };
        let json = serde_json::to_string(&some).unwrap();
        assert!(json.contains(r#""cpu_quota":"0.5""#), "{json}");
        assert_eq!(serde_json::from_str::<Limits>(&json).unwrap(), some);
    }

    #[test]
    fn each_has_its_own_refusal() {
        let none = Limits::default;
        for (limits, text) in [
            (
                Limits {
                    cpu_weight: Some(0),
                    ..none()
                },
                "weight of 0",
            ),
            (
                Limits {
                    cpu_weight: Some(10_001),
                    ..none()
                },
                "weight of 10001",
            ),
            (
                Limits {
                    memory_max_mib: Some(255),
                    ..none()
                },
                "255 MiB is less",
            ),
            (
                Limits {
                    pids: Some(15),
                    ..none()
                },
                "15 processes",
            ),
            (
                Limits {
                    memory_target_mib: Some(257),
                    ..none()
                },
                "32 to 256",
            ),
            (
                Limits {
                    memory_target_mib: Some(31),
                    ..none()
                },
                "target of 31",
            ),
            (
                Limits {
                    send: Some(Rate::new(0)),
                    ..none()
                },
                "send rate of 0",
            ),
            (
                Limits {
                    disk_ops: Some(Rate::new(10).burst(9)),
                    ..none()
                },
                "disk operations: what may pass",
            ),
        ] {
            let error = limits.validate(256).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
    }

    #[test]
    fn what_was_for_another_size_is_made_to_fit() {
        let mut limits = Limits {
            memory_max_mib: Some(300),
            memory_target_mib: Some(200),
            ..Limits::default()
        };
        limits.fit(256);
        assert_eq!(
            (limits.memory_max_mib, limits.memory_target_mib),
            (Some(300), Some(200))
        );
        for memory_mib in [128, 512] {
            limits.fit(memory_mib);
            assert_eq!(limits.validate(memory_mib), Ok(()));
        }
    }

    #[test]
    fn a_balloon_takes_what_the_target_leaves() {
        let limits = Limits {
            memory_target_mib: Some(100),
            ..Limits::default()
        };
        assert_eq!(limits.balloon_mib(256), 156);
        assert_eq!(Limits::default().balloon_mib(256), 0);
    }
}

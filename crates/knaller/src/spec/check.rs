//! What a spec may not say. Checked before anything is made, so that a wrong spec leaves no trace.

use std::collections::HashSet;
use std::ops::RangeInclusive;

use guest_protocol::is_hostname;
use images::overlay;

use super::volume::check_path;
use super::{Forward, InvalidLimits, Kernel, MachineSpec, Network, Restart, Root};

/// The fewest MiB of memory that a guest boots with.
const MIN_MEMORY_MIB: u32 = 64;

/// The most virtual CPUs, Firecracker's limit.
const MAX_CPUS: u8 = 32;

/// The smallest and the largest disk, in MiB.
const DISK_MIB: RangeInclusive<u64> = overlay::MIN_SIZE >> 20..=overlay::MAX_SIZE >> 20;

/// The most forwards of one machine.
const MAX_FORWARDS: usize = 256;

/// The most egress rules of one machine.
const MAX_EGRESS: usize = 64;

/// The most volumes of one machine: each is a disk, and QEMU's microvm has 24 places for devices.
const MAX_VOLUMES: usize = 16;

/// The most bytes of keys, variables and command together: half of what the guest's config may have.
const MAX_TEXT: usize = 512 * 1024;

/// What is wrong with a [`MachineSpec`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSpec {
    #[error("{0} CPUs: 1 to {MAX_CPUS} are possible")]
    Cpus(u8),
    #[error("{0} MiB of memory: a guest needs at least {MIN_MEMORY_MIB}")]
    Memory(u32),
    #[error("a disk of {disk_mib} MiB: {} MiB to {} TiB are possible", DISK_MIB.start(), DISK_MIB.end() >> 20)]
    Disk { disk_mib: u64 },
    #[error("a raw disk keeps its size: it is its owner's")]
    RawSize,
    #[error("a boot timeout of 0 s: a guest needs time to boot")]
    BootTimeout,
    #[error("{0} cannot be an empty path or name")]
    Empty(&'static str),
    #[error("forward {0}: the same host port is forwarded twice")]
    ForwardTwice(Forward),
    #[error("forward {0}: the guest port cannot be 0")]
    GuestPort(Forward),
    #[error("{0} forwards: {MAX_FORWARDS} are possible")]
    TooManyForwards(usize),
    #[error("{0} egress rules: {MAX_EGRESS} are possible")]
    TooManyEgressRules(usize),
    #[error("a machine without a network cannot have {0}")]
    NeedsNetwork(&'static str),
    #[error("environment variable {0:?}: a name has no '=' and no NUL and is not empty, a value has no NUL")]
    Env(String),
    #[error("{0} has a NUL byte, a line break, or is empty where it cannot be")]
    Text(&'static str),
    #[error("working folder {0:?}: it is told from / on")]
    Workdir(String),
    #[error("SSH key {0:?} is not a line of an authorized_keys file")]
    SshKey(String),
    #[error("keys, environment and command have {0} bytes together: {MAX_TEXT} are possible")]
    TooLong(usize),
    #[error("{0} volumes: {MAX_VOLUMES} are possible")]
    TooManyVolumes(usize),
    #[error("volume at {path}: {reason}")]
    Volume { path: String, reason: &'static str },
    #[error(transparent)]
    Limits(#[from] InvalidLimits),
    #[error("a machine without disks cannot have disk limits")]
    NeedsDisk,
    #[error("metadata must be a JSON object")]
    Metadata,
    #[error("a machine that is removed when it has stopped cannot be restarted")]
    RestartOfRemoved,
    #[error(
        "host name {0:?}: 1 to 64 letters, digits and dashes are possible, with single dots between them and no dash beside a dot or an end"
    )]
    Hostname(String),
}

impl MachineSpec {
    /// Whether a machine can be made from this, as far as the spec alone tells.
    pub fn validate(&self) -> Result<(), InvalidSpec> {
        if !(1..=MAX_CPUS).contains(&self.cpus) {
            return Err(InvalidSpec::Cpus(self.cpus));
        }
        if self.memory_mib < MIN_MEMORY_MIB {
            return Err(InvalidSpec::Memory(self.memory_mib));
        }
        if let Some(disk_mib) = self.disk_mib
            && !DISK_MIB.contains(&disk_mib)
        {
            return Err(InvalidSpec::Disk { disk_mib });
        }
        if self.boot_timeout_ms == 0 {
            return Err(InvalidSpec::BootTimeout);
        }
        if self.remove_on_exit && self.restart != Restart::No {
            return Err(InvalidSpec::RestartOfRemoved);
        }
        self.check_sources()?;
        self.check_network()?;
        self.check_limits()?;
        self.check_texts()
    }

    fn check_sources(&self) -> Result<(), InvalidSpec> {
        if matches!(&self.root, Root::File(path) if path.as_os_str().is_empty()) {
            return Err(InvalidSpec::Empty("the root file system"));
        }
        if matches!(&self.root, Root::Raw(path) if path.as_os_str().is_empty()) {
            return Err(InvalidSpec::Empty("the raw disk"));
        }
        if matches!(self.root, Root::Raw(_)) && self.disk_mib.is_some() {
            return Err(InvalidSpec::RawSize);
        }
        if matches!(&self.root, Root::Image(name) if name.is_empty()) {
            return Err(InvalidSpec::Empty("the image"));
        }
        self.check_volumes()?;
        let unnamed = match &self.kernel {
            Kernel::Default => false,
            Kernel::Id(id) => id.is_empty(),
            Kernel::Path(path) => path.as_os_str().is_empty(),
        };
        if unnamed {
            return Err(InvalidSpec::Empty("the kernel"));
        }
        Ok(())
    }

    fn check_volumes(&self) -> Result<(), InvalidSpec> {
        if self.volumes.len() > MAX_VOLUMES {
            return Err(InvalidSpec::TooManyVolumes(self.volumes.len()));
        }
        let mut paths = HashSet::new();
        let mut sources = Vec::new();
        for volume in &self.volumes {
            let wrong = |reason| InvalidSpec::Volume {
                path: volume.path.clone(),
                reason,
            };
            check_path(&volume.path).map_err(wrong)?;
            let names: Vec<&str> = volume.path.split('/').filter(|name| !name.is_empty()).collect();
            if !paths.insert(names) {
                return Err(wrong("two volumes cannot be mounted on one folder"));
            }
            if sources.contains(&&volume.source) {
                return Err(wrong("one disk cannot be mounted twice"));
            }
            sources.push(&volume.source);
        }
        Ok(())
    }

    fn check_network(&self) -> Result<(), InvalidSpec> {
        if self.forwards.len() > MAX_FORWARDS {
            return Err(InvalidSpec::TooManyForwards(self.forwards.len()));
        }
        if self.egress.len() > MAX_EGRESS {
            return Err(InvalidSpec::TooManyEgressRules(self.egress.len()));
        }
        let mut seen = HashSet::new();
        for forward in &self.forwards {
            if forward.guest_port == 0 {
                return Err(InvalidSpec::GuestPort(*forward));
            }
            // Whatever the address: pasta keeps one target for each port.
            let port = (forward.host_port, forward.protocol);
            if forward.host_port != 0 && !seen.insert(port) {
                return Err(InvalidSpec::ForwardTwice(*forward));
            }
        }
        let metadata = self.metadata.as_ref();
        if metadata.is_some_and(|m| !m.is_object()) {
            return Err(InvalidSpec::Metadata);
        }
        match self.network {
            Network::Pasta | Network::Direct => Ok(()),
            Network::None if !self.egress.is_empty() => Err(InvalidSpec::NeedsNetwork("egress rules")),
            Network::None if !self.forwards.is_empty() => Err(InvalidSpec::NeedsNetwork("port forwards")),
            Network::None if metadata.is_some() => Err(InvalidSpec::NeedsNetwork("metadata")),
            Network::None => Ok(()),
        }
    }

    fn check_limits(&self) -> Result<(), InvalidSpec> {
        self.limits.validate(self.memory_mib)?;
        if self.network == Network::None && self.limits.limit_network() {
            return Err(InvalidSpec::NeedsNetwork("network limits"));
        }
        if self.root == Root::Initramfs && self.volumes.is_empty() && self.limits.limit_disks() {
            return Err(InvalidSpec::NeedsDisk);
        }
        Ok(())
    }

    fn check_texts(&self) -> Result<(), InvalidSpec> {
        for (name, value) in &self.env {
            if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
                return Err(InvalidSpec::Env(name.clone()));
            }
        }
        let entrypoint = self.entrypoint.as_deref().unwrap_or_default();
        for (what, words) in [("the command", &*self.command), ("the entrypoint", entrypoint)] {
            if words.iter().any(|word| word.contains('\0')) || words.first().is_some_and(String::is_empty) {
                return Err(InvalidSpec::Text(what));
            }
        }
        if let Some(hostname) = &self.hostname
            && !is_hostname(hostname)
        {
            return Err(InvalidSpec::Hostname(hostname.clone()));
        }
        if !self.workdir.is_empty() && !self.workdir.starts_with('/') {
            return Err(InvalidSpec::Workdir(self.workdir.clone()));
        }
        let single_line = |text: &str| !text.contains(['\0', '\n', '\r']);
        for (what, text) in [
            ("the user", &self.user),
            ("the working folder", &self.workdir),
            ("the stop signal", &self.stop_signal),
        ] {
            if !single_line(text) {
                return Err(InvalidSpec::Text(what));
            }
        }
        for key in &self.ssh_keys {
            if key.split_whitespace().count() < 2 || !single_line(key) {
                return Err(InvalidSpec::SshKey(key.chars().take(80).collect()));
            }
        }
        let env = self.env.iter().map(|(name, value)| name.len() + value.len());
        let entrypoint = self.entrypoint.iter().flatten();
        let rest = self
            .command
            .iter()
            .chain(entrypoint)
            .chain(&self.ssh_keys)
            .map(String::len);
        match env.chain(rest).sum() {
            0..=MAX_TEXT => Ok(()),
            bytes => Err(InvalidSpec::TooLong(bytes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{EgressRule, Limits, Rate};

    #[test]
    fn the_default_is_valid_and_survives_json() {
        let spec = MachineSpec::new();
        assert_eq!(spec.validate(), Ok(()));
        let json = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<MachineSpec>(&json).unwrap(), spec);
        assert_eq!(serde_json::from_str::<MachineSpec>("{}").unwrap(), spec);
        assert!(serde_json::from_str::<MachineSpec>("{\"cpu\":1}").is_err());
    }

    #[test]
    fn each_limit_has_its_own_refusal() {
        let twice = MachineSpec::new()
            .forward("80:80".parse().unwrap())
            .forward("80:81".parse().unwrap());
        let lonely = MachineSpec::new()
            .forward("80:80".parse().unwrap())
            .network(Network::None);
        let limited = MachineSpec::new().limits(Limits {
            send: Some(Rate::new(1)),
            disk_ops: Some(Rate::new(1)),
            ..Limits::default()
        });
        for (spec, text) in [
            (MachineSpec::new().cpus(0), "0 CPUs"),
            (MachineSpec::new().cpus(33), "33 CPUs"),
            (
                MachineSpec::new().remove_on_exit(true).restart(Restart::Always),
                "cannot be restarted",
            ),
            (MachineSpec::new().memory_mib(8), "8 MiB"),
            (
                MachineSpec::new().disk_mib(0),
                "0 MiB: 32 MiB to 16 TiB are possible",
            ),
            (MachineSpec::new().disk_mib(31), "a disk of 31 MiB"),
            (
                MachineSpec::new().disk_mib((16 << 20) + 1),
                "a disk of 16777217 MiB",
            ),
            (MachineSpec::new().boot_timeout(Duration::ZERO), "0 s"),
            (MachineSpec::new().root(Root::File("".into())), "root file system"),
            (MachineSpec::new().root(Root::Raw("".into())), "the raw disk"),
            (
                MachineSpec::new().root(Root::Raw("/dev/vdb".into())).disk_mib(64),
                "keeps its size",
            ),
            (MachineSpec::new().kernel(Kernel::Id(String::new())), "the kernel"),
            (MachineSpec::new().kernel(Kernel::Path("".into())), "the kernel"),
            (twice, "twice"),
            (lonely, "without a network"),
            (
                MachineSpec::new().egress(EgressRule::Deny).network(Network::None),
                "cannot have egress rules",
            ),
            (
                MachineSpec {
                    egress: vec![EgressRule::Deny; MAX_EGRESS + 1],
                    ..MachineSpec::new()
                },
                "65 egress rules",
            ),
            (limited.clone().network(Network::None), "network limits"),
            (limited.root(Root::Initramfs), "without disks"),
            (MachineSpec::new().env("A=B", "c"), "A=B"),
            (MachineSpec::new().command([""]), "command"),
            (MachineSpec::new().user("a\nb"), "user"),
            (MachineSpec::new().workdir("a/b"), "working folder \"a/b\""),
            (MachineSpec::new().ssh_key("nonsense"), "nonsense"),
            (MachineSpec::new().env("A", "x".repeat(MAX_TEXT)), "together"),
            (MachineSpec::new().metadata(serde_json::json!([1])), "object"),
        ] {
            let error = spec.validate().unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
    }

    #[test]
    fn a_host_name_may_have_a_domain() {
        let named = |name: &str| {
            let mut spec = MachineSpec::new();
            spec.hostname = Some(name.to_owned());
            spec.validate()
        };
        assert_eq!(named("web"), Ok(()));
        assert_eq!(named("web-1.example.org"), Ok(()));
        assert_eq!(named(&"a".repeat(64)), Ok(()));
        for name in [
            "",
            ".",
            "web.",
            ".org",
            "a..b",
            "-a.b",
            "a.b-",
            "a b",
            "a\nb",
            "ä",
            &"a".repeat(65),
        ] {
            assert_eq!(named(name), Err(InvalidSpec::Hostname(name.to_owned())));
        }
    }

    #[test]
    fn a_free_port_may_be_asked_for_many_times() {
        let spec = MachineSpec::new()
            .forward("0:80".parse().unwrap())
            .forward("0:81".parse().unwrap());
        assert_eq!(spec.validate(), Ok(()));
    }
}

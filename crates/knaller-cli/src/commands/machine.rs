//! A machine as every list and inspection shows it.

mod limits;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use guest_protocol::Exit;
use guest_protocol::control::{Check, CheckResult, Health, HealthState};
use jiff::Timestamp;
use knaller::{
    Forward, JailInfo, MachineInfo, MachineSpec, Name, Network, NextStart, Origin, Protocol, Restart, Root,
    State,
};
use serde::Serialize;

use crate::ui::human;
use crate::ui::table::{Cell, Column, Tone};
use crate::ui::{Inspected, Listed, Timeline, plain};

/// The one view of a machine. Programs rely on its field names.
#[derive(Debug, Serialize)]
pub(crate) struct MachineView {
    name: String,
    state: &'static str,
    /// What the image's own check has found, where it has one and the machine runs.
    health: Option<Health>,
    image: String,
    /// What the machine was made of, whatever the name stands for by now.
    image_id: Option<String>,
    cpus: u8,
    memory_mib: u32,
    /// What it will have of that, and which limits, from its next start on, where that is other than now.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_start: Option<NextStart>,
    forwards: Vec<ForwardView>,
    /// The guest's own, behind the network namespace.
    addresses: Vec<String>,
    vmm: String,
    vmm_version: Option<String>,
    /// What the VMM's jail is without; null without a jail.
    jail: Option<JailInfo>,
    pid: Option<u32>,
    created: Timestamp,
    /// When the last boot began.
    started: Timestamp,
    instance: String,
    /// How this boot began: cold, warm, restored, forked.
    start: &'static str,
    /// The snapshot that it was restored from, or the machine that it was forked from.
    #[serde(skip_serializing_if = "Option::is_none")]
    start_from: Option<Name>,
    /// Whether it is warm, for who asks nothing else.
    warm: bool,
    restart: Restart,
    /// How often a supervisor has started it since its user did.
    restarts: u32,
    kernel: String,
    labels: BTreeMap<String, String>,
    /// Only where it is inspected.
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Details>,
}

#[derive(Debug, Serialize)]
struct ForwardView {
    /// Nothing: every address of the host.
    bind: Option<String>,
    host_port: u16,
    guest_port: u16,
    protocol: Protocol,
    #[serde(skip)]
    text: String,
}

/// A machine that has just been started.
#[derive(Debug, Serialize)]
pub(crate) struct StartedView {
    #[serde(flatten)]
    machine: MachineView,
    #[serde(skip_serializing_if = "Option::is_none")]
    timings: Option<Timeline>,
}

impl StartedView {
    pub(crate) fn new(info: MachineInfo, timings: Option<Timeline>) -> Self {
        Self {
            machine: MachineView::new(info),
            timings,
        }
    }
}

impl Inspected for StartedView {
    fn name(&self) -> &str {
        &self.machine.name
    }

    fn facts(&self) -> Vec<(&'static str, Cell)> {
        self.machine.facts()
    }
}

/// What only an inspection shows.
#[derive(Debug, Serialize)]
pub(crate) struct Details {
    pub(crate) folder: PathBuf,
    /// The guest's own figures, while it runs and was asked.
    pub(crate) guest: Option<guest_protocol::control::Status>,
    pub(crate) spec: MachineSpec,
}

impl MachineView {
    pub(crate) fn new(info: MachineInfo) -> Self {
        Self::build(info, None)
    }

    pub(crate) fn with_details(
        info: MachineInfo,
        folder: PathBuf,
        guest: Option<guest_protocol::control::Status>,
    ) -> Self {
        let details = Details {
            folder,
            guest,
            spec: info.spec.clone(),
        };
        Self::build(info, Some(details))
    }

    fn build(info: MachineInfo, details: Option<Details>) -> Self {
        Self {
            name: info.name.to_string(),
            state: info.state.as_str(),
            health: info.health,
            image: image(&info.spec.root),
            image_id: info.image,
            cpus: info.spec.cpus,
            memory_mib: info.spec.memory_mib,
            next_start: info.next_start,
            forwards: info.forwards.iter().map(ForwardView::new).collect(),
            addresses: info.addresses.iter().map(ToString::to_string).collect(),
            vmm: info.vmm,
            vmm_version: info.vmm_version,
            jail: info.jail,
            pid: info.pid,
            created: timestamp(info.created),
            started: timestamp(info.started),
            instance: info.instance,
            start: info.origin.as_str(),
            warm: info.origin == Origin::Warm,
            start_from: match info.origin {
                Origin::Restored { snapshot } => Some(snapshot),
                Origin::Forked { machine } => Some(machine),
                _ => None,
            },
            restart: info.spec.restart,
            restarts: info.restarts,
            kernel: info.kernel,
            labels: info.spec.labels,
            details,
        }
    }

    fn state_cell(&self) -> Cell {
        let tone = match self.state {
            state if state == State::Running.as_str() => Tone::Good,
            state if state == State::Stopped.as_str() => Tone::Faint,
            _ => Tone::Warning,
        };
        match self.health.as_ref().map(|health| health.state) {
            None => Cell::new(self.state, tone),
            Some(HealthState::Healthy) => Cell::new(format!("{} (healthy)", self.state), tone),
            Some(HealthState::Starting) => Cell::new(format!("{} (health: starting)", self.state), tone),
            Some(HealthState::Unhealthy) => Cell::new(format!("{} (unhealthy)", self.state), Tone::Warning),
        }
    }

    /// When it is restarted, and how often it was; nothing where it never is.
    fn policy(&self) -> String {
        match (self.restart, self.restarts) {
            (Restart::No, _) => String::new(),
            (policy, 0) => policy.to_string(),
            (policy, 1) => format!("{policy}, once so far"),
            (policy, times) => format!("{policy}, {times} times so far"),
        }
    }

    fn labels(&self) -> String {
        let pairs = self.labels.iter().map(|(name, value)| match value.as_str() {
            "" => plain(name),
            value => plain(&format!("{name}={value}")),
        });
        pairs.collect::<Vec<_>>().join(", ")
    }

    fn jail_cell(&self) -> Cell {
        match &self.jail {
            None => Cell::new("none", Tone::Warning),
            Some(jail) => {
                let user = jail.user.map(|user| format!("as user {user}"));
                let without = jail.without.iter().map(|part| format!("without {part}"));
                let parts: Vec<_> = user.into_iter().chain(without).collect();
                if parts.is_empty() {
                    return "on".into();
                }
                format!("on, {}", parts.join("; ")).into()
            }
        }
    }

    fn start(&self) -> String {
        match &self.start_from {
            Some(from) => format!("{} from {from}", self.start),
            None => self.start.to_owned(),
        }
    }

    /// What is other than now when it is started the next time; nothing where nothing is.
    fn next_start(&self) -> String {
        let Some(next) = &self.next_start else {
            return String::new();
        };
        let limits = next.limits.as_ref().map(limits::text);
        let parts = [
            next.cpus.map(|cpus| match cpus {
                1 => "1 CPU".to_owned(),
                cpus => format!("{cpus} CPUs"),
            }),
            next.memory_mib
                .map(|mib| format!("{} of memory", human::mebibytes(mib.into()))),
            next.publish_all.map(|all| match all {
                true => "the image's ports".to_owned(),
                false => "without the image's ports".to_owned(),
            }),
            (!next.others.is_empty()).then(|| format!("another {}", next.others.join(", "))),
            limits.map(|text| match text.is_empty() {
                true => "no limits".to_owned(),
                false => format!("limits: {text}"),
            }),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }

    fn last_check(&self) -> String {
        let last = self.health.as_ref().and_then(|health| health.last.as_ref());
        last.map(last_check).unwrap_or_default()
    }

    /// A file without its folder.
    fn short_image(&self) -> &str {
        self.image.rsplit('/').next().unwrap_or(&self.image)
    }

    fn ports(&self) -> String {
        self.forwards
            .iter()
            .map(|forward| forward.text.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    }
}

impl Listed for MachineView {
    const COLUMNS: &'static [Column] = &[
        Column::new("NAME", 0),
        Column::new("STATE", 0),
        Column::new("IMAGE", 3),
        Column::new("CPUS", 4),
        Column::new("MEMORY", 4),
        Column::wrapping("PORTS", 1),
        Column::new("VMM", 5),
        Column::new("PID", 6),
        Column::new("AGE", 2),
    ];

    fn name(&self) -> &str {
        &self.name
    }

    fn cells(&self) -> Vec<Cell> {
        vec![
            Cell::new(&self.name, Tone::Strong),
            self.state_cell(),
            self.short_image().into(),
            self.cpus.to_string().into(),
            human::mebibytes(self.memory_mib.into()).into(),
            self.ports().into(),
            self.vmm.as_str().into(),
            self.pid.map_or_else(String::new, |pid| pid.to_string()).into(),
            human::age(since(self.started)).into(),
        ]
    }
}

impl Inspected for MachineView {
    fn name(&self) -> &str {
        &self.name
    }

    fn facts(&self) -> Vec<(&'static str, Cell)> {
        let vmm = match &self.vmm_version {
            Some(version) => format!("{} {version}", self.vmm),
            None => self.vmm.clone(),
        };
        let mut facts = vec![
            ("name", Cell::new(&self.name, Tone::Strong)),
            ("state", self.state_cell()),
            ("last check", self.last_check().into()),
            ("image", self.image.as_str().into()),
            ("image id", self.image_id.as_deref().unwrap_or_default().into()),
            ("cpus", self.cpus.to_string().into()),
            ("memory", human::mebibytes(self.memory_mib.into()).into()),
            ("at next start", self.next_start().into()),
            ("ports", self.ports().into()),
            ("addresses", self.addresses.join(", ").into()),
            ("vmm", vmm.into()),
            ("jail", self.jail_cell()),
            (
                "pid",
                self.pid.map_or_else(String::new, |pid| pid.to_string()).into(),
            ),
            ("kernel", self.kernel.as_str().into()),
            ("instance", self.instance.as_str().into()),
            ("start", self.start().into()),
            ("restart", self.policy().into()),
            ("labels", self.labels().into()),
            ("created", human::moment(self.created).into()),
            ("started", human::moment(self.started).into()),
        ];
        if let Some(details) = &self.details {
            facts.extend(details.facts());
        }
        facts.retain(|(_, cell)| !cell.is_empty());
        facts
    }
}

/// The mode, and the rules of what is reached.
fn network(spec: &MachineSpec) -> String {
    let mode = match spec.network {
        Network::Pasta => "pasta",
        Network::Direct => "direct",
        Network::None => "none",
    };
    let rules = spec.egress.iter().map(ToString::to_string);
    std::iter::once(mode.to_owned())
        .chain(rules)
        .collect::<Vec<_>>()
        .join(", ")
}

impl Details {
    fn facts(&self) -> Vec<(&'static str, Cell)> {
        let mut facts = vec![
            ("command", self.spec.command.join(" ").into()),
            ("folder", self.folder.display().to_string().into()),
            ("limits", limits::with_slice(&self.spec).into()),
            ("network", network(&self.spec).into()),
        ];
        if let Some(guest) = &self.guest {
            let used = guest.memory_total_kib.saturating_sub(guest.memory_available_kib);
            let disk = guest.disk_total.saturating_sub(guest.disk_free);
            facts.extend([
                ("up", human::age(Duration::from_micros(guest.uptime_us)).into()),
                (
                    "memory used",
                    of(
                        used.saturating_mul(1024),
                        guest.memory_total_kib.saturating_mul(1024),
                    )
                    .into(),
                ),
                ("disk used", of(disk, guest.disk_total).into()),
                (
                    "load",
                    guest.load.map(|load| format!("{load:.2}")).join(" ").into(),
                ),
                ("processes", guest.processes.to_string().into()),
            ]);
        }
        facts
    }
}

/// How the last health check ended, and the last line of what it said.
fn last_check(check: &Check) -> String {
    let result = match &check.result {
        CheckResult::TimedOut => "took too long".to_owned(),
        CheckResult::Exit(Exit::Code(code)) => format!("exit code {code}"),
        CheckResult::Exit(Exit::Signal(signal)) => format!("ended by signal {signal}"),
        CheckResult::Exit(Exit::NotStarted(why)) => format!("not started: {why}"),
    };
    match check.output.trim_end().lines().last() {
        None => result,
        Some(line) => format!("{result}: {line}"),
    }
}

impl ForwardView {
    fn new(forward: &Forward) -> Self {
        Self {
            bind: forward.bind.map(|address| address.to_string()),
            host_port: forward.host_port,
            guest_port: forward.guest_port,
            protocol: forward.protocol,
            text: forward.to_string(),
        }
    }
}

fn of(part: u64, whole: u64) -> String {
    format!("{} of {}", human::bytes(part), human::bytes(whole))
}

fn image(root: &Root) -> String {
    match root {
        Root::Initramfs => "initramfs".to_owned(),
        Root::Builtin => "builtin".to_owned(),
        Root::Image(name) => name.clone(),
        Root::File(path) | Root::Raw(path) => path.display().to_string(),
    }
}

/// Seconds since the Unix epoch; a time that no calendar has is the epoch.
fn timestamp(seconds: u64) -> Timestamp {
    let timestamp = i64::try_from(seconds)
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok());
    timestamp.unwrap_or(Timestamp::UNIX_EPOCH)
}

pub(super) fn since(time: Timestamp) -> Duration {
    Duration::try_from(Timestamp::now().duration_since(time)).unwrap_or_default()
}

#[cfg(test)]
mod tests;

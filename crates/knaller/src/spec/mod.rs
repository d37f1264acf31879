//! What a machine is to be. The invariant: a spec is intent only. It never says what runs, and [`MachineSpec::validate`]
//! accepts it before anything is made from it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Name;

mod check;
mod egress;
mod forward;
mod limits;
mod mac;
mod restart;
mod volume;

pub use check::InvalidSpec;
pub use egress::{EgressRule, InvalidEgress, Prefix};
pub use forward::{Forward, InvalidForward, Protocol};
pub use guest_protocol::Init;
pub(crate) use limits::open;
pub use limits::{CpuQuota, CpuSet, InvalidCpus, InvalidLimits, InvalidSlice, Limits, Rate, Slice};
pub use mac::{InvalidMac, Mac};
pub use restart::{InvalidRestart, Restart};
pub use volume::{InvalidVolume, Volume, VolumeSource};

/// A machine to start. Everything has a default; set what matters and hand it to [`crate::Knaller::start`].
///
/// ```
/// use knaller::{MachineSpec, Root};
///
/// let spec = MachineSpec::new()
///     .name("web".parse()?)
///     .cpus(2)
///     .memory_mib(512)
///     .root(Root::Builtin)
///     .forward("8080:80".parse()?)
///     .env("MODE", "demo")
///     .command(["httpd", "-f", "-p", "80"]);
/// spec.validate()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct MachineSpec {
    /// Two words are chosen if there is none.
    pub name: Option<Name>,
    /// 1 to 32 virtual CPUs.
    pub cpus: u8,
    /// At least 64.
    pub memory_mib: u32,
    pub root: Root,
    /// Size of the machine's own disk, in MiB, from 32 on: the overlay's, or what a copied root file system is grown to, which
    /// is not less than it has. The disk's own default if none. Nothing for [`Root::Raw`].
    pub disk_mib: Option<u64>,
    pub kernel: Kernel,
    pub network: Network,
    pub forwards: Vec<Forward>,
    /// What it may reach. Empty: all but the host, or with [`Network::Direct`] public addresses alone.
    pub egress: Vec<EgressRule>,
    /// Set for the command and for every SSH session.
    pub env: BTreeMap<String, String>,
    /// What the machine exists for; when it ends, the machine powers off. Without one the image's own runs, or the machine
    /// idles until it is stopped.
    pub command: Vec<String>,
    /// Stands before the command, instead of the image's entrypoint, which then gives no command either. Empty: there is none.
    pub entrypoint: Option<Vec<String>>,
    /// Whether the machine idles until somebody runs the command in it: see [`crate::Machine::program`].
    pub attached: bool,
    /// Who runs the command: `name`, `uid`, `name:group` or `uid:gid`. Empty: the image's user, or root.
    pub user: String,
    /// Where the command runs: an absolute path. Empty: the image's working folder, or `/`.
    pub workdir: String,
    /// What asks the command to end: `SIGINT`, `INT` or a number. Empty: the image's signal, or `SIGTERM`.
    pub stop_signal: String,
    /// The guest's host name. The machine's name if none.
    pub hostname: Option<String>,
    /// What the guest's network interface is called on its link. The same for every machine if none, each being alone
    /// on its link.
    pub mac: Option<Mac>,
    /// Further disks, mounted in the guest. At most 16.
    pub volumes: Vec<Volume>,
    /// Whether the root file system can be written to by nobody.
    pub read_only: bool,
    /// Forwards each port that the image exposes to a free one of the host.
    pub publish_all: bool,
    /// Who is PID 1 in the guest.
    pub init: Init,
    /// Public keys, in `authorized_keys` form, that may log in as any user, beside the machine's own key.
    pub ssh_keys: Vec<String>,
    /// Whether `~/.ssh/authorized_keys` of the guest's users is honoured as well.
    pub user_keys: bool,
    pub vmm: Vmm,
    /// Whether the VMM is confined to the machine's own files, so that a guest that takes it over has gained little. It is but
    /// for debugging the VMM.
    pub jail: bool,
    /// Whether the VMM keeps an account of the memory that the guest writes to, so that a snapshot that is a difference
    /// is written sooner. Costs the guest some time; sparkler needs none.
    pub track_dirty: bool,
    /// Served to the guest by the VMM at 169.254.169.254 (MMDS version 2). Needs a network.
    pub metadata: Option<serde_json::Value>,
    /// What it may take of its host.
    pub limits: Limits,
    /// Where its processes are in the host's tree of control groups, instead of where the caller is: what ends all of the
    /// caller's group, as stopping a service does, does not end the machine then. Needs cgroup v2.
    pub slice: Option<Slice>,
    /// Whether the machine's folder goes when it has stopped.
    pub remove_on_exit: bool,
    /// When a supervisor starts the machine again: see [`crate::Knaller::supervise`]. Without one nobody does.
    pub restart: Restart,
    /// For the caller's own use.
    pub labels: BTreeMap<String, String>,
    /// How long the guest may take from the start of its VMM until SSH answers, in milliseconds; not 0.
    pub boot_timeout_ms: u64,
    /// How long the command has after its stop signal before it is killed, in milliseconds.
    pub stop_grace_ms: u64,
}

/// Where the guest's `/` comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Root {
    /// The initramfs: nothing but the guest's init and SSH server.
    Initramfs,
    /// The built-in image (BusyBox), read-only and shared, under an overlay of the machine's own.
    #[default]
    Builtin,
    /// An image of the store, by its name or id, shared in the same way. What the machine is started from once, it keeps.
    Image(String),
    /// A raw ext4 file, copied for this machine.
    File(PathBuf),
    /// A block device or raw ext4 file of the caller's own, used as it is: never copied, resized or deleted. One
    /// machine at a time has it, or several that are all [`MachineSpec::read_only`], which cannot write to it by any
    /// means.
    Raw(PathBuf),
}

/// Which kernel boots.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kernel {
    /// The store's default bundle.
    #[default]
    Default,
    /// The bundle whose id starts so, or whose kernel has this release.
    Id(String),
    /// A kernel image or package that is imported first, unless it has been.
    Path(PathBuf),
}

/// How the guest reaches the world, and it the guest. SSH over vsock works in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// User-mode networking by pasta, in a namespace of the machine's own.
    #[default]
    Pasta,
    /// A network namespace of the kernel's, and packet rules: root's alone, and faster.
    Direct,
    /// No interface at all.
    None,
}

/// What runs the guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Vmm {
    /// Firecracker where KVM is usable and `firecracker` is found, else sparkler.
    #[default]
    Auto,
    Firecracker,
    Sparkler,
}

impl Default for MachineSpec {
    fn default() -> Self {
        Self {
            name: None,
            cpus: 1,
            memory_mib: 256,
            root: Root::default(),
            disk_mib: None,
            kernel: Kernel::default(),
            network: Network::default(),
            forwards: Vec::new(),
            egress: Vec::new(),
            env: BTreeMap::new(),
            command: Vec::new(),
            user: String::new(),
            workdir: String::new(),
            stop_signal: String::new(),
            entrypoint: None,
            attached: false,
            hostname: None,
            mac: None,
            volumes: Vec::new(),
            read_only: false,
            publish_all: false,
            init: Init::Auto,
            ssh_keys: Vec::new(),
            user_keys: true,
            vmm: Vmm::default(),
            jail: true,
            track_dirty: false,
            metadata: None,
            limits: Limits::default(),
            slice: None,
            remove_on_exit: false,
            restart: Restart::No,
            labels: BTreeMap::new(),
            boot_timeout_ms: 60_000,
            stop_grace_ms: 10_000,
        }
    }
}

impl MachineSpec {
    /// One CPU, 256 MiB, the built-in image, the default kernel and network.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    #[must_use]
    pub fn name(mut self, name: Name) -> Self {
        self.name = Some(name);
        self
    }

    #[must_use]
    pub fn mac(mut self, mac: Mac) -> Self {
        self.mac = Some(mac);
        self
    }

    #[must_use]
    pub fn cpus(mut self, cpus: u8) -> Self {
        self.cpus = cpus;
        self
    }

    #[must_use]
    pub fn memory_mib(mut self, memory_mib: u32) -> Self {
        self.memory_mib = memory_mib;
        self
    }

    #[must_use]
    pub fn root(mut self, root: Root) -> Self {
        self.root = root;
        self
    }

    #[must_use]
    pub fn disk_mib(mut self, disk_mib: u64) -> Self {
        self.disk_mib = Some(disk_mib);
        self
    }

    #[must_use]
    pub fn kernel(mut self, kernel: Kernel) -> Self {
        self.kernel = kernel;
        self
    }

    #[must_use]
    pub fn network(mut self, network: Network) -> Self {
        self.network = network;
        self
    }

    /// Adds a forward.
    #[must_use]
    pub fn forward(mut self, forward: Forward) -> Self {
        self.forwards.push(forward);
        self
    }

    /// Adds a rule of what it may reach.
    #[must_use]
    pub fn egress(mut self, rule: EgressRule) -> Self {
        self.egress.push(rule);
        self
    }

    /// Adds a volume.
    #[must_use]
    pub fn volume(mut self, volume: Volume) -> Self {
        self.volumes.push(volume);
        self
    }

    /// The volumes with a name that it only reads, and so may have together with others.
    pub(crate) fn shared_volumes(&self) -> impl Iterator<Item = &Name> {
        self.volumes.iter().filter_map(|volume| match &volume.source {
            VolumeSource::Name(name) if volume.read_only => Some(name),
            _ => None,
        })
    }

    /// Adds or replaces a variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    #[must_use]
    pub fn command<T: Into<String>>(mut self, argv: impl IntoIterator<Item = T>) -> Self {
        self.command = argv.into_iter().map(Into::into).collect();
        self
    }

    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = user.into();
        self
    }

    #[must_use]
    pub fn workdir(mut self, workdir: impl Into<String>) -> Self {
        self.workdir = workdir.into();
        self
    }

    /// Lets nobody write to the root file system.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    #[must_use]
    pub fn init(mut self, init: Init) -> Self {
        self.init = init;
        self
    }

    /// Adds a public key.
    #[must_use]
    pub fn ssh_key(mut self, key: impl Into<String>) -> Self {
        self.ssh_keys.push(key.into());
        self
    }

    #[must_use]
    pub fn vmm(mut self, vmm: Vmm) -> Self {
        self.vmm = vmm;
        self
    }

    /// Runs the VMM with the user's own rights.
    #[must_use]
    pub fn without_jail(mut self) -> Self {
        self.jail = false;
        self
    }

    /// Has the VMM keep an account of the memory that the guest writes to.
    #[must_use]
    pub fn track_dirty(mut self, track: bool) -> Self {
        self.track_dirty = track;
        self
    }

    #[must_use]
    pub fn metadata(mut self, metadata: serde_json::Value) -> Self {
        self.metadata = Some(metadata);
        self
    }

    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    #[must_use]
    pub fn slice(mut self, slice: Slice) -> Self {
        self.slice = Some(slice);
        self
    }

    #[must_use]
    pub fn remove_on_exit(mut self, remove: bool) -> Self {
        self.remove_on_exit = remove;
        self
    }

    #[must_use]
    pub fn restart(mut self, restart: Restart) -> Self {
        self.restart = restart;
        self
    }

    /// Adds or replaces a label.
    #[must_use]
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(name.into(), value.into());
        self
    }

    /// Rounded down to milliseconds.
    #[must_use]
    pub fn boot_timeout(mut self, timeout: Duration) -> Self {
        self.boot_timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        self
    }
}

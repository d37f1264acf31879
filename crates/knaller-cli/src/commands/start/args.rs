//! The words of `knaller start`, and the spec they stand for.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum, ValueHint};
use clap_complete::engine::ArgValueCandidates;
use knaller::{
    EgressRule, Forward, Init, Kernel, MachineSpec, MemoryBackend, Name, Network, Restart, Root, Vmm, Volume,
};

use crate::args::environment::EnvironmentArgs;
use crate::args::given::Given;
use crate::args::limits::LimitOptions;
use crate::args::mac::MacChoice;
use crate::args::{file, size};
use crate::commands::image::WantedArgs;
use crate::complete;
use crate::error::CommandError;
use crate::ui::Format;

/// Images that are always there.
const BUILTIN: &str = "builtin";
const INITRAMFS: &str = "initramfs";

/// The largest file of metadata: Firecracker's own limit of the MMDS data store (`--mmds-size-limit`), in bytes.
const MAX_METADATA: u64 = 51_200;

/// The largest file of public keys, in bytes.
const MAX_KEYS: u64 = 64 * 1024;

/// The arguments that say how a machine is started, not what it is.
const HOW: [&str; 9] = [
    "name", "named", "detach", "no_wait", "adopt", "timings", "verbose", "output", "cold",
];

/// The arguments that a machine of a snapshot can have.
const OF_A_SNAPSHOT: [&str; 16] = [
    "name",
    "named",
    "detach",
    "no_wait",
    "timings",
    "verbose",
    "output",
    "from_snapshot",
    "cold_fallback",
    "memory_backend",
    "hostname",
    "mac",
    "publish",
    "labels",
    "rm",
    "track_dirty",
];

/// Start a microVM
#[derive(Args, Debug)]
#[command(after_help = "\
Stays until the machine has stopped: Ctrl-C stops it in order, a second Ctrl-C kills it. With --detach the command \
returns as soon as SSH answers. A stopped machine that is called by its name alone starts again as it is.

Examples:
  knaller start
  knaller start web --detach -p 8080:80 -- httpd -f -p 80
  knaller start build --cpus 4 --memory 4G --rootfs debian-12.ext4 --rm")]
pub(crate) struct StartArgs {
    #[command(flatten)]
    given: Given,

    /// The machine's name; two words are made up if there is none
    #[arg(value_name = "NAME", add = ArgValueCandidates::new(complete::machines))]
    name: Option<Name>,

    /// The machine's name: the first knaller's spelling
    #[arg(long = "name", value_name = "NAME", hide = true, conflicts_with = "name")]
    named: Option<Name>,

    /// What the machine exists for; it stops when this ends
    #[arg(last = true, value_name = "CMD")]
    command: Vec<String>,

    /// Return when SSH answers
    #[arg(short, long)]
    pub(super) detach: bool,

    /// Return as soon as the guest has its config, before SSH answers
    #[arg(long)]
    pub(super) no_wait: bool,

    /// Start a machine that there is, and if it runs already, stay with it instead of failing; takes its name alone
    #[arg(long, requires = "name", conflicts_with_all = ["command", "from_snapshot"])]
    pub(super) adopt: bool,

    /// Delete the machine when it has stopped
    #[arg(long)]
    rm: bool,

    /// When a supervisor starts the machine again: no, on-failure, on-failure:COUNT, always
    #[arg(long, value_name = "POLICY", default_value_t, hide_default_value = true, conflicts_with = "rm", add = ArgValueCandidates::new(complete::restarts))]
    pub(super) restart: Restart,

    /// Show how long each phase took
    #[arg(long)]
    pub(super) timings: bool,

    /// Show the guest's console and what the VMM says
    #[arg(short, long)]
    pub(super) verbose: bool,

    /// Write the started machine to standard output as this
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    pub(super) output: Option<Format>,

    /// The image the machine starts from: its name or id; `builtin` is BusyBox, `initramfs` nothing but the guest's init
    #[arg(short, long, value_name = "IMAGE", default_value = BUILTIN, help_heading = "Machine", add = ArgValueCandidates::new(complete::roots))]
    image: String,

    #[command(flatten, next_help_heading = "Machine")]
    pub(super) wanted: WantedArgs,

    /// A raw ext4 file to start from, copied for this machine
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with_all = ["image", "disk"], help_heading = "Machine")]
    rootfs: Option<PathBuf>,

    /// Make the copy of --rootfs so large: 10G; it is never made smaller than the file
    #[arg(long, value_name = "SIZE", value_parser = size::mebibytes, requires = "rootfs", help_heading = "Machine")]
    rootfs_size: Option<u32>,

    /// A block device or raw ext4 file of your own to start from: used as it is, never copied, resized or deleted. With
    /// --read-only several machines may share it
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath, conflicts_with_all = ["image", "rootfs", "disk"], help_heading = "Machine")]
    raw_disk: Option<PathBuf>,

    /// Make the machine of a snapshot: it goes on from there, with the snapshot's CPUs, memory, image and settings
    #[arg(long, value_name = "SNAPSHOT", conflicts_with_all = ["image", "rootfs", "raw_disk", "command"], help_heading = "Machine", add = ArgValueCandidates::new(complete::snapshots))]
    pub(super) from_snapshot: Option<Name>,

    /// Where the snapshot cannot be loaded, boot its disks instead
    #[arg(long, requires = "from_snapshot", help_heading = "Machine")]
    pub(super) cold_fallback: bool,

    /// How it comes to the snapshot's memory
    #[arg(
        long,
        value_name = "BACKEND",
        value_enum,
        default_value_t,
        requires = "from_snapshot",
        help_heading = "Machine"
    )]
    pub(super) memory_backend: BackendChoice,

    #[command(flatten, next_help_heading = "Machine")]
    pub(super) machine: MachineOptions,

    #[command(flatten, next_help_heading = "Guest")]
    guest: GuestOptions,

    #[command(flatten, next_help_heading = "Network")]
    network: NetworkOptions,

    #[command(flatten, next_help_heading = "Limits")]
    limits: LimitOptions,
}

/// What machines must have in common to be thawed of one guest.
#[derive(Args, Debug)]
pub(in crate::commands) struct ShapeOptions {
    /// Virtual CPUs
    #[arg(short, long, value_name = "N", default_value_t = 1)]
    cpus: u8,

    /// Memory: 512, 512M, 1G
    #[arg(short, long, visible_alias = "mem", value_name = "SIZE", default_value = "256M", value_parser = size::mebibytes)]
    memory: u32,

    /// The kernel: its id, version or name, or a kernel file
    #[arg(long, value_name = "KERNEL", value_hint = ValueHint::FilePath, add = ArgValueCandidates::new(complete::kernels))]
    kernel: Option<String>,

    /// What runs the machine
    #[arg(long, value_name = "VMM", value_enum, default_value_t)]
    vmm: VmmChoice,
}

#[derive(Args, Debug)]
pub(in crate::commands) struct MachineOptions {
    #[command(flatten)]
    shape: ShapeOptions,

    /// How much the machine can write over its image: 2G [default: 8G]; for a raw file there is --rootfs-size
    #[arg(long, value_name = "SIZE", value_parser = size::mebibytes)]
    disk: Option<u32>,

    /// Mount a further disk: a volume's name, made if it is new, or a raw ext4 file's path
    #[arg(short = 'V', long = "volume", value_name = "NAME|FILE:FOLDER[:ro]")]
    volumes: Vec<Volume>,

    /// Run it with all of your rights instead of in a jail: to debug what runs it, never for a guest you do not trust
    #[arg(long)]
    no_jail: bool,

    /// Keep an account of the memory that the guest writes to, for `snapshot create --diff`; only Firecracker needs it
    #[arg(long)]
    track_dirty: bool,

    /// Boot the kernel, even where a guest was kept that could be thawed, and keep none
    #[arg(long)]
    pub(in crate::commands) cold: bool,

    /// Seconds until SSH must answer
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    boot_timeout: u64,

    /// A label for your own use
    #[arg(short, long = "label", value_name = "NAME=VALUE", value_parser = pair)]
    labels: Vec<(String, String)>,
}

#[derive(Args, Debug)]
pub(in crate::commands) struct GuestOptions {
    #[command(flatten)]
    environment: EnvironmentArgs,

    /// What the command is given to, instead of the image's entrypoint; empty for none
    #[arg(long, value_name = "PROGRAM")]
    entrypoint: Option<String>,

    /// The guest's host name [default: the machine's name]
    #[arg(long, value_name = "NAME")]
    hostname: Option<String>,

    /// The MAC address of the guest's network interface, or `new` for a random one [default: the same for
    /// every machine, each being alone on its link; of a snapshot, what it was]
    #[arg(long, value_name = "ADDRESS|new")]
    mac: Option<MacChoice>,

    /// Mount the guest's root file system read-only
    #[arg(long)]
    read_only: bool,

    /// Who runs the command: name, uid, name:group or uid:gid [default: the image's user, or root]
    #[arg(
        short,
        long,
        value_name = "USER",
        default_value = "",
        hide_default_value = true
    )]
    user: String,

    /// Where the command runs, from / on [default: the image's folder, or /]
    #[arg(
        short,
        long,
        value_name = "FOLDER",
        default_value = "",
        hide_default_value = true
    )]
    workdir: String,

    /// A public key, or a file of them, that may log in
    #[arg(long = "ssh-key", value_name = "KEY|FILE", value_hint = ValueHint::FilePath)]
    ssh_keys: Vec<String>,

    /// Who is PID 1 in the guest
    #[arg(long, value_name = "INIT", value_enum, default_value_t)]
    init: InitChoice,

    /// JSON for the guest, at http://169.254.169.254 by a token (MMDS version 2)
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    metadata: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(in crate::commands) struct NetworkOptions {
    /// How the machine is connected: `direct` is root's
    #[arg(long, value_name = "MODE", value_enum, default_value_t)]
    network: NetworkChoice,

    // An attribute, since rustdoc takes the brackets for a link.
    #[arg(
        short,
        long = "publish",
        visible_alias = "port",
        value_name = "PORTS",
        help = "Forward a port: [ADDR:]HOST:GUEST[/udp]; HOST 0 is a free one; on all addresses without ADDR"
    )]
    publish: Vec<Forward>,

    /// Forward each port that the image exposes from a free one
    #[arg(short = 'P', long)]
    publish_all: bool,

    /// What it may reach: deny, allow=CIDR or allow=CIDR:PORT, dns=NAME or dns=NAME:PORT; public addresses beside,
    /// unless deny is one of the rules
    #[arg(long, value_name = "RULE")]
    egress: Vec<EgressRule>,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum VmmChoice {
    /// Firecracker where KVM is usable, else sparkler
    #[default]
    Auto,
    /// Firecracker
    Firecracker,
    /// QEMU behind Firecracker's API
    Sparkler,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(super) enum BackendChoice {
    /// Its file, whose pages it shares with all machines of the snapshot
    #[default]
    File,
    /// A copy, what starts need first, by userfaultfd (Firecracker)
    Uffd,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum InitChoice {
    /// The image's own if that is systemd and there is no entrypoint, else the built-in one
    #[default]
    Auto,
    /// The built-in init, which runs the command
    Powerunit,
    /// The image's own /sbin/init
    Image,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(in crate::commands) enum NetworkChoice {
    /// User-mode networking, no privileges needed
    #[default]
    Pasta,
    /// The kernel's own, with packet rules; as root alone
    Direct,
    /// No network; SSH works all the same
    None,
}

impl StartArgs {
    /// The spec that these words stand for. Files they name are read here.
    pub(super) fn spec(&self) -> Result<MachineSpec, CommandError> {
        let mut spec = MachineSpec::new();
        spec.name = self.name.clone().or_else(|| self.named.clone());
        spec.remove_on_exit = self.rm;
        spec.restart = self.restart;
        spec.command.clone_from(&self.command);
        spec.root = match (&self.rootfs, &self.raw_disk) {
            (Some(file), _) => Root::File(file.clone()),
            (None, Some(disk)) => Root::Raw(disk.clone()),
            (None, None) => root(&self.image),
        };
        self.machine.apply(&mut spec);
        spec.disk_mib = self.rootfs_size.map(u64::from).or(spec.disk_mib);
        self.guest.apply(&mut spec)?;
        self.network.apply(&mut spec);
        self.limits.apply(&mut spec);
        Ok(spec)
    }

    /// Whether nothing says what the machine is to be, not even what a new one would be anyway.
    pub(super) fn is_name_alone(&self) -> bool {
        (self.name.is_some() || self.named.is_some()) && self.given.but::<Self>(&HOW).is_empty()
    }

    /// What was given that a machine of a snapshot cannot have, as the user writes it.
    pub(super) fn unfit_for_a_snapshot(&self) -> Vec<String> {
        self.given.but::<Self>(&OF_A_SNAPSHOT)
    }

    pub(super) fn has_command(&self) -> bool {
        !self.command.is_empty()
    }
}

/// What an image's name stands for.
pub(in crate::commands) fn root(image: &str) -> Root {
    match image {
        BUILTIN => Root::Builtin,
        INITRAMFS => Root::Initramfs,
        image => Root::Image(image.to_owned()),
    }
}

impl From<BackendChoice> for MemoryBackend {
    fn from(choice: BackendChoice) -> Self {
        match choice {
            BackendChoice::File => Self::File,
            BackendChoice::Uffd => Self::Userfault,
        }
    }
}

impl From<NetworkChoice> for Network {
    fn from(choice: NetworkChoice) -> Self {
        match choice {
            NetworkChoice::Pasta => Self::Pasta,
            NetworkChoice::Direct => Self::Direct,
            NetworkChoice::None => Self::None,
        }
    }
}

impl NetworkOptions {
    pub(in crate::commands) fn apply(&self, spec: &mut MachineSpec) {
        spec.network = self.network.into();
        spec.forwards.clone_from(&self.publish);
        spec.publish_all = self.publish_all;
        spec.egress.clone_from(&self.egress);
    }
}

impl ShapeOptions {
    pub(in crate::commands) fn apply(&self, spec: &mut MachineSpec) {
        spec.cpus = self.cpus;
        spec.memory_mib = self.memory;
        spec.kernel = match &self.kernel {
            None => Kernel::Default,
            Some(path) if path.contains('/') || Path::new(path).is_file() => Kernel::Path(path.into()),
            Some(id) => Kernel::Id(id.clone()),
        };
        spec.vmm = match self.vmm {
            VmmChoice::Auto => Vmm::Auto,
            VmmChoice::Firecracker => Vmm::Firecracker,
            VmmChoice::Sparkler => Vmm::Sparkler,
        };
    }
}

impl MachineOptions {
    pub(in crate::commands) fn apply(&self, spec: &mut MachineSpec) {
        self.shape.apply(spec);
        spec.disk_mib = self.disk.map(u64::from);
        spec.volumes.clone_from(&self.volumes);
        spec.jail = !self.no_jail;
        spec.track_dirty = self.track_dirty;
        spec.boot_timeout_ms = self.boot_timeout.saturating_mul(1000);
        spec.labels = self.labels.iter().cloned().collect();
    }
}

impl GuestOptions {
    pub(in crate::commands) fn apply(&self, spec: &mut MachineSpec) -> Result<(), CommandError> {
        spec.env = self.environment.read()?;
        spec.entrypoint = self.entrypoint.as_ref().map(|program| match &**program {
            "" => Vec::new(),
            program => vec![program.to_owned()],
        });
        spec.hostname.clone_from(&self.hostname);
        spec.mac = self.mac.map(MacChoice::address).transpose()?;
        spec.read_only = self.read_only;
        spec.user.clone_from(&self.user);
        spec.workdir.clone_from(&self.workdir);
        spec.init = match self.init {
            InitChoice::Auto => Init::Auto,
            InitChoice::Powerunit => Init::Powerunit,
            InitChoice::Image => Init::Image,
        };
        for key in &self.ssh_keys {
            spec.ssh_keys.extend(keys(key)?);
        }
        if let Some(path) = &self.metadata {
            let text = file::text(path, "the metadata", MAX_METADATA)?;
            let metadata = serde_json::from_str(&text)
                .map_err(|error| CommandError::usage(format!("{} is no JSON: {error}", path.display())))?;
            spec.metadata = Some(metadata);
        }
        Ok(())
    }
}

/// A key has a blank between its type and itself; anything else names a file of keys.
fn keys(argument: &str) -> Result<Vec<String>, CommandError> {
    if argument.contains(' ') {
        return Ok(vec![argument.to_owned()]);
    }
    let text = file::text(argument.as_ref(), "the public key", MAX_KEYS)?;
    let keys = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(keys.map(str::to_owned).collect())
}

pub(in crate::commands) fn pair(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once('=').ok_or("write it as NAME=VALUE")?;
    if name.is_empty() {
        return Err("the name is empty");
    }
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests;

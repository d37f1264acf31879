//! From what is configured to a machine that runs.
//!
//! Invariant: a start that fails leaves everything as it was configured, and no process: it can be tried again.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use firecracker_api::models::MmdsConfig;
use firecracker_api::server::Fault;
use tokio::net::unix::pipe;

use super::faults::{not_supported, start as refuse};
use super::resources::{Boot, Resources, bind_vsock};
use super::running::Running;
use crate::arch::{self, Clock};
use crate::boot::cmdline::{Cmdline, CmdlineError};
use crate::boot::kernel;
use crate::console::{self, Console, Output};
use crate::devices::tap;
use crate::memory::Memory;
use crate::mmds::Mmds;
use crate::net::{self, Pump};
use crate::qemu::accel::Accel;
use crate::qemu::args::{BootSlot, DriveSlot, EntropySlot, Link, Machine, MemorySlot, NetSlot};
use crate::qemu::inside;
use crate::qemu::process::{self, Process, SpawnError};
use crate::qemu::qmp::Qmp;
use crate::qemu::remote::Remote;
use crate::rate::TokenBucket;
use crate::sink::Sink;
use crate::vsock::{self, Access};

/// What a start needs to know of the host.
#[derive(Debug)]
pub struct Host {
    /// How instructions are run.
    pub accel: Accel,
    /// QEMU's program.
    pub qemu: PathBuf,
    /// When this process started.
    pub clock: Clock,
    /// Standard output, shared with the log.
    pub stdout: Sink,
    /// Counters of the console.
    pub console: Arc<console::Counters>,
}

/// Starts the machine.
pub async fn start(resources: &mut Resources, host: &Host, mmds: &Mmds) -> Result<Running, Fault> {
    let boot = resources.boot.as_ref();
    let boot = boot.ok_or_else(|| refuse("Cannot start microvm without kernel configuration."))?;
    kernel::inspect(&boot.kernel).map_err(|error| {
        let what = "Cannot load kernel due to invalid memory configuration or invalid kernel image";
        refuse(format!("System configuration error: {what}: {error}"))
    })?;
    let cmdline = command_line(boot, resources, host)
        .map_err(|error| refuse(format!("Invalid kernel command line: {error}")))?;
    let memory = Memory::new((resources.machine.mem_size_mib as u64) << 20).map_err(no_descriptors)?;
    let mut running = bring_up(resources, host, mmds, memory, &Origin::Boot(cmdline)).await?;
    if let Some(balloon) = &resources.balloon {
        let memory = resources.machine.mem_size_mib;
        running.set_up_balloon(balloon, memory).await.map_err(refuse)?;
    }
    Ok(running)
}

/// Where a machine comes from.
#[derive(Debug)]
pub(super) enum Origin<'a> {
    /// It boots, with this command line.
    Boot(String),
    /// It takes another's state over, whose interfaces of these ids had pumps.
    State(&'a [String]),
}

/// Starts QEMU and all that serves it.
pub(super) async fn bring_up(
    resources: &mut Resources,
    host: &Host,
    mmds: &Mmds,
    memory: Memory,
    origin: &Origin<'_>,
) -> Result<Running, Fault> {
    let output = console_output(resources, host)?;
    let mut theirs = Theirs::default();
    let ours = Ours::open(&mut theirs).map_err(no_descriptors)?;
    let mut machine =
        describe(resources, host, origin, &memory, &ours, &mut theirs).map_err(no_descriptors)?;
    if machine.virtio_devices() > arch::MAX_VIRTIO_DEVICES {
        let text = format!("the machine has room for {} devices", arch::MAX_VIRTIO_DEVICES);
        return Err(refuse(not_supported(&text).message));
    }
    let pumps = pump(resources, origin, mmds, &mut theirs, &mut machine)?;
    let private = Arc::default();
    let device = match resources.vsock_backend.take() {
        Some(backend) => {
            let (socket, number) = theirs.socket().map_err(no_descriptors)?;
            machine.vsock = Some(number);
            let access = if memory.is_shared() {
                Access::Shared
            } else {
                Access::Private(Arc::clone(&private))
            };
            Some(
                backend
                    .serve(socket, access)
                    .map_err(|error| refuse(format!("vsock: {error}")))?,
            )
        }
        None => None,
    };
    let links = Links {
        vsock: device,
        private,
        pumps,
        memory,
    };
    let started = launch(resources, host, &machine, theirs, ours, output, links).await;
    if started.is_err() {
        listen_again(resources);
    }
    started
}

fn no_descriptors(error: io::Error) -> Fault {
    refuse(SpawnError::Descriptors(error))
}

/// The descriptors QEMU gets; closed here once it has them.
#[derive(Debug, Default)]
struct Theirs {
    inherited: Vec<OwnedFd>,
    /// The library to be loaded into it first.
    preload: Option<RawFd>,
}

impl Theirs {
    /// A socket between this process and QEMU: our end, and the number of theirs.
    fn socket(&mut self) -> io::Result<(UnixStream, RawFd)> {
        let (ours, theirs) = UnixStream::pair()?;
        Ok((ours, self.keep(theirs.into())))
    }

    /// A copy of something that stays open here as well.
    fn copy(&mut self, of: impl AsFd) -> io::Result<RawFd> {
        let copy = of.as_fd().try_clone_to_owned()?;
        Ok(self.keep(copy))
    }

    fn keep(&mut self, fd: OwnedFd) -> RawFd {
        let number = fd.as_raw_fd();
        self.inherited.push(fd);
        number
    }
}

/// Our ends of what every machine has, and the numbers of theirs.
#[derive(Debug)]
struct Ours {
    control: (UnixStream, RawFd),
    console: (UnixStream, RawFd),
    log: (pipe::Receiver, RawFd),
}

impl Ours {
    fn open(theirs: &mut Theirs) -> io::Result<Self> {
        let (log, log_end) = process::log_pipe()?;
        Ok(Self {
            control: theirs.socket()?,
            console: theirs.socket()?,
            log: (log, theirs.keep(log_end)),
        })
    }
}

/// The kernel's command line: what was given, or Firecracker's default; then what Firecracker adds, and the clock.
fn command_line(boot: &Boot, resources: &Resources, host: &Host) -> Result<String, CmdlineError> {
    let mut line = Cmdline::new(
        boot.source
            .boot_args
            .as_deref()
            .unwrap_or(arch::DEFAULT_BOOT_ARGS),
    )?;
    line.push("pci=off");
    if let Some(root) = resources.drives.iter().find(|drive| drive.is_root_device) {
        line.push_root(root);
    }
    if let Some(args) = arch::clock_args(host.accel, &host.clock) {
        line.push(&args);
    }
    line.finish()
}

fn console_output(resources: &Resources, host: &Host) -> Result<Output, Fault> {
    match &resources.serial.serial_out_path {
        None => Ok(Output::Stdio(host.stdout.clone())),
        Some(path) => Output::open(path).map_err(|error| {
            refuse(format!(
                "Failed to create device manager: the console's file {}: {error}",
                path.display()
            ))
        }),
    }
}

fn describe(
    resources: &Resources,
    host: &Host,
    origin: &Origin<'_>,
    memory: &Memory,
    ours: &Ours,
    theirs: &mut Theirs,
) -> io::Result<Machine> {
    let mut drives = Vec::new();
    for drive in &resources.drives {
        if let Some(image) = resources.images.get(&drive.drive_id) {
            let file = theirs.copy(&image.file)?;
            drives.push(DriveSlot {
                drive: drive.clone(),
                file,
                serial: image.serial.clone(),
                driver: image.driver,
            });
        }
    }
    let mut nets = Vec::new();
    for net in &resources.nets {
        if let Some(tap) = resources.taps.get(&net.iface_id) {
            let link = Link::Tap(theirs.copy(tap)?);
            nets.push(NetSlot {
                link,
                mac: net.guest_mac,
                mtu: net.mtu,
            });
        }
    }
    // Opened by number: what was named when the boot source was configured is what is booted.
    let path = |number: RawFd| PathBuf::from(format!("/proc/self/fd/{number}"));
    Ok(Machine {
        accel: host.accel,
        vcpus: resources.machine.vcpu_count,
        smt: resources.machine.smt,
        memory_mib: resources.machine.mem_size_mib,
        memory: if memory.is_shared() {
            MemorySlot {
                path: path(theirs.copy(memory)?),
                share: true,
            }
        } else {
            theirs.preload = Some(theirs.keep(inside::library()?));
            MemorySlot {
                path: inside::memory_path(theirs.copy(memory)?),
                share: false,
            }
        },
        boot: match (origin, &resources.boot) {
            (Origin::Boot(cmdline), Some(boot)) => Some(BootSlot {
                kernel: path(theirs.copy(&boot.kernel)?),
                initrd: boot
                    .initrd
                    .as_ref()
                    .map(|initrd| theirs.copy(initrd))
                    .transpose()?
                    .map(path),
                cmdline: cmdline.clone(),
            }),
            _ => None,
        },
        control: ours.control.1,
        console: ours.console.1,
        log: ours.log.1,
        balloon: resources.balloon,
        drives,
        nets,
        vsock: None,
        entropy: resources.entropy.map(|entropy| EntropySlot {
            rate_limiter: entropy.rate_limiter,
        }),
    })
}

/// What in this process the guest is made of and its devices are joined to.
#[derive(Debug)]
struct Links {
    memory: Memory,
    vsock: Option<vsock::Device>,
    /// Where the vsock device finds QEMU's process, where it needs it.
    private: Arc<OnceLock<Remote>>,
    pumps: HashMap<String, Pump>,
}

/// Puts a pump before every TAP that a limit or the metadata service asks for. A guest that goes on has what it had: its
/// driver was offered less by an interface with a pump.
fn pump(
    resources: &Resources,
    origin: &Origin<'_>,
    mmds: &Mmds,
    theirs: &mut Theirs,
    machine: &mut Machine,
) -> Result<HashMap<String, Pump>, Fault> {
    let mut pumps = HashMap::new();
    for (net, slot) in resources.nets.iter().zip(&mut machine.nets) {
        let limits = net::Limits {
            rx: net.rx_rate_limiter,
            tx: net.tx_rate_limiter,
        };
        let address = resources.mmds.as_ref().and_then(|config| {
            let reaches = config.network_interfaces.contains(&net.iface_id);
            reaches.then(|| config.ipv4_address.unwrap_or(MmdsConfig::DEFAULT_ADDRESS))
        });
        let Some(tap) = resources.taps.get(&net.iface_id) else {
            continue;
        };
        let wanted = match origin {
            Origin::Boot(_) => limits.rx.is_some() || limits.tx.is_some() || address.is_some(),
            Origin::State(pumped) => pumped.contains(&net.iface_id),
        };
        if !wanted {
            continue;
        }
        let (qemu, number) = theirs.socket().map_err(no_descriptors)?;
        slot.link = Link::Stream(number);
        let config = net::Config {
            id: net.iface_id.clone(),
            tap: tap.as_fd().try_clone_to_owned().map_err(no_descriptors)?,
            tap_header: tap::HEADER as usize,
            qemu,
            mac: net.guest_mac,
            mtu: net.mtu.unwrap_or(net::DEFAULT_MTU),
            limits,
            mmds: address.map(|address| (mmds.clone(), address)),
        };
        pumps.insert(net.iface_id.clone(), Pump::start(config).map_err(refuse)?);
    }
    Ok(pumps)
}

async fn launch(
    resources: &Resources,
    host: &Host,
    machine: &Machine,
    theirs: Theirs,
    ours: Ours,
    output: Output,
    links: Links,
) -> Result<Running, Fault> {
    let args = machine.args();
    tracing::debug!("Starting {} {}", host.qemu.display(), args.join(" "));
    let Theirs { inherited, preload } = &theirs;
    let process =
        Process::spawn(&host.qemu, host.accel, &args, inherited, *preload, ours.log.0).map_err(refuse)?;
    drop(theirs);
    let control = to_async(ours.control.0).map_err(no_descriptors)?;
    let generations = vec![0; machine.drives.len()];
    let qmp = match Qmp::connect(control).await {
        Ok(qmp) => qmp,
        Err(error) => {
            let remains = process.finish().await;
            let complaints = remains.complaints.join("; ");
            let text = if complaints.is_empty() {
                error.to_string()
            } else {
                format!("QEMU: {complaints}")
            };
            return Err(refuse(text));
        }
    };
    // Standard input is read from here on: what is typed must not be lost to a start that failed.
    let console = start_console(resources, host, ours.console.0, output)
        .map_err(|error| refuse(format!("console: {error}")))?;
    let Links {
        vsock,
        private,
        pumps,
        memory,
    } = links;
    if vsock.is_some() && !memory.is_shared() {
        let id = process.id().unwrap_or_default();
        let remote = Remote::open(id).map_err(|error| {
            refuse(format!(
                "vsock: the memory of QEMU's process cannot be reached: {error}"
            ))
        })?;
        // Set once per start: nobody else has it.
        let _ = private.set(remote);
    }
    Ok(Running {
        process,
        qmp,
        console,
        vsock,
        pumps,
        shapers: HashMap::new(),
        generations,
        shutdown: None,
        memory,
    })
}

fn start_console(
    resources: &Resources,
    host: &Host,
    socket: UnixStream,
    output: Output,
) -> io::Result<Console> {
    let limiter = resources.serial.rate_limiter.as_ref();
    let limiter = limiter.and_then(|limiter| TokenBucket::new(limiter, Instant::now()));
    Console::start(to_async(socket)?, output, limiter, Arc::clone(&host.console))
}

fn to_async(socket: UnixStream) -> io::Result<tokio::net::UnixStream> {
    socket.set_nonblocking(true)?;
    tokio::net::UnixStream::from_std(socket)
}

/// Puts the vsock socket back that a failed start has used up.
fn listen_again(resources: &mut Resources) {
    let Some(vsock) = &resources.vsock else { return };
    let _ = fs::remove_file(&vsock.uds_path);
    match bind_vsock(vsock) {
        Ok(backend) => resources.vsock_backend = Some(backend),
        Err(error) => tracing::error!("The vsock device is lost and must be configured again: {error}"),
    }
}

//! The same VM by the Go knaller, of which this project has nothing: whoever built it names it, its kernel and its root file
//! system. Both tools get the same VMM, and are asked in the same way: by the host's own address, on a port of it that leads
//! to the guest's SSH.

use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use super::RUNS;
use super::ground::{Ground, quiet};
use super::memory;
use super::report::{Row, median};

/// Where they are: the program, a kernel for it, a root file system.
const NAMED: [&str; 3] = ["KNALLER_GO", "KNALLER_GO_KERNEL", "KNALLER_GO_ROOTFS"];

const NOTE: &str = "The Go knaller is [github.com/benben/knaller](https://github.com/benben/knaller) (Apache-2.0), built outside \
    this project from its public source. It ran on the same sparkler, detached, with one vCPU and 256 MiB as ours, and booted what it \
    leaves to its user to make: a kernel with its drivers built in (Linux 6.1 without PCI and modules, a line of its ACPI changed so that it boots without PCI), \
    and a root file system that it copies, here of no more than busybox and dropbear. Ours was as it comes: Debian's kernel with modules, the built-in image, keys made for the machine; \
    warm starts are its normal ones. The time of both is until the SSH banner comes through a forwarded port, not until the port \
    takes connections: pasta does that before the guest listens. The memory is of pasta, the VMM and QEMU when the banner has come.";

/// The VM, for either tool.
const NAME: &str = "rival";

/// How often the port is asked.
const PAUSE: Duration = Duration::from_millis(25);

/// So many connections wait for the banner, which may take a busy guest a while: for a second. The oldest makes room: one that
/// came before the guest listened may be answered seconds later.
const WAITING: usize = 40;

/// How long a VM may take to come or to go.
const LIMIT: Duration = Duration::from_secs(120);

/// The user of a VM that root starts, who is not trusted with anything: nobody.
const NOBODY: u32 = 65534;

pub(super) fn measure(ground: &Ground) -> Result<Vec<Row>> {
    let Some(rival) = Rival::named(ground)? else {
        println!("    left out: the Go knaller; {} name it", NAMED.join(", "));
        return Ok(Vec::new());
    };
    // Keeps the guest that the warm ones are thawed from.
    ground.started(NAME, &[])?;
    ground.removed(NAME)?;
    let [mut theirs, mut cold, mut warm]: [(Vec<Duration>, Vec<u64>); 3] = Default::default();
    let add = |(times, memory): &mut (Vec<_>, Vec<_>), (took, takes)| {
        times.push(took);
        memory.push(takes);
    };
    for _ in 0..RUNS {
        add(&mut theirs, rival.turn()?);
        add(&mut cold, ours(ground, &["--cold"])?);
        add(&mut warm, ours(ground, &[])?);
    }
    let [theirs, cold, warm] = [theirs, cold, warm].map(|(times, memory)| (median(times), median(memory)));
    let mut rows = vec![
        time("warm", warm.0, theirs.0),
        time("cold", cold.0, theirs.0),
        takes("warm", warm.1, theirs.1),
        takes("cold", cold.1, theirs.1),
    ];
    if let Some(row) = rows.first_mut() {
        row.note = Some(NOTE);
    }
    Ok(rows)
}

fn time(kind: &str, ours: Duration, theirs: Duration) -> Row {
    let what = format!("{kind} start to SSH banner through a forwarded port");
    let mut row = Row::times(&what, ours, "the Go knaller", theirs, 1.0);
    row.budget = None;
    row
}

fn takes(kind: &str, ours: u64, theirs: u64) -> Row {
    let mib = |kib: u64| format!("{:.1} MiB", kib as f64 / 1024.0);
    let what = format!("memory of one VM of 256 MiB after a {kind} start, proportional set size");
    let mut row = Row::figure(&what, mib(ours), &format!("the Go knaller: {}", mib(theirs)));
    row.ratio = Some(ours as f64 / theirs as f64);
    row
}

/// A start of ours: how long until the banner, and the KiB that it takes.
fn ours(ground: &Ground, more: &[&str]) -> Result<(Duration, u64)> {
    let address = free()?;
    let forward = format!("{}:22", address.port());
    let size = ["--memory", "256", "--cpus", "1", "--vmm", "sparkler"];
    let mut command = ground.knaller(&["start", NAME, "--detach", "--publish", &forward]);
    command.args(size).args(more);
    let took = until_banner(&mut command, address)?;
    let takes = sum(memory::vmm(ground, NAME)?)?;
    ground.removed(NAME)?;
    Ok((took, takes))
}

/// The other tool, with a home of its own; its VM is killed when dropped.
struct Rival {
    program: OsString,
    kernel: OsString,
    rootfs: OsString,
    home: TempDir,
    /// In its home: by this path its process is found.
    vmm: PathBuf,
}

impl Rival {
    /// If all of it is named.
    fn named(ground: &Ground) -> Result<Option<Self>> {
        let [Some(program), Some(kernel), Some(rootfs)] = NAMED.map(std::env::var_os) else {
            return Ok(None);
        };
        // Not in the stage's folder, which is closed to other users.
        let home = tempfile::Builder::new()
            .prefix("knaller-go-")
            .tempdir_in("/tmp")
            .context("cannot make a folder in /tmp")?;
        if testkit::is_root() {
            chown(home.path(), Some(NOBODY), Some(NOBODY))?;
        }
        let vmm = home.path().join("sparkler");
        std::fs::copy(ground.binaries.join("sparkler"), &vmm)?;
        Ok(Some(Self {
            program,
            kernel,
            rootfs,
            home,
            vmm,
        }))
    }

    fn command(&self, what: &str) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args([what, "-name", NAME])
            .env("HOME", self.home.path())
            .current_dir(self.home.path());
        if testkit::is_root() {
            // pasta leaves root's rights, and could not open what root made.
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }

    fn turn(&self) -> Result<(Duration, u64)> {
        let address = free()?;
        let mut command = self.command("start");
        command
            .args(["-detach", "-mem", "256", "-cpus", "1", "-port"])
            .arg(format!("{}:22", address.port()))
            .arg("-kernel")
            .arg(&self.kernel)
            .arg("-rootfs")
            .arg(&self.rootfs)
            .arg("-firecracker")
            .arg(&self.vmm);
        let took = until_banner(&mut command, address)?;
        let takes = sum(self.process().context("the Go knaller's VM has ended")?)?;
        self.end()?;
        Ok((took, takes))
    }

    /// Its VMM, where one runs.
    fn process(&self) -> Option<u64> {
        let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.find(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let program = line.split(|byte| *byte == 0).next();
            program == Some(self.vmm.as_os_str().as_encoded_bytes())
        })
    }

    /// Kills the VM, whose guest knows no orderly way, and removes its disk. pasta ends with its child.
    fn end(&self) -> Result<()> {
        let Some(vmm) = self.process() else {
            return Ok(());
        };
        let pasta = memory::parent(vmm)?;
        quiet(Command::new("kill").args(["-KILL", &vmm.to_string()]))?;
        let since = Instant::now();
        for pid in [vmm, pasta] {
            while Path::new(&format!("/proc/{pid}")).exists() {
                ensure!(since.elapsed() < LIMIT, "process {pid} of a killed VM is left");
                std::thread::sleep(PAUSE);
            }
        }
        quiet(&mut self.command("rm"))
    }
}

impl Drop for Rival {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

fn sum(vmm: u64) -> Result<u64> {
    Ok(memory::shares(vmm)?.iter().map(|(_, kib)| kib).sum())
}

/// A free port, bound and let go, at the address by which others see this host: what comes from its loopback arrives in a
/// guest's network with a loopback address where pasta is old, and nothing goes back to that.
fn free() -> Result<SocketAddr> {
    let route = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    // An address of no one (RFC 5737). Nothing is sent.
    route
        .connect((Ipv4Addr::new(203, 0, 113, 1), 9))
        .context("this host has no address but its loopback")?;
    let address: IpAddr = route.local_addr()?.ip();
    Ok(TcpListener::bind((address, 0))?.local_addr()?)
}

/// From the start of a command that starts a VM to the SSH banner at this address.
fn until_banner(command: &mut Command, address: SocketAddr) -> Result<Duration> {
    let started = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {command:?}"))?;
    let took = ask(started, address, || {
        Ok(child.try_wait()?.is_none_or(|ended| ended.success()))
    });
    let ended = child.wait_with_output()?;
    ensure!(
        ended.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&ended.stderr)
    );
    took
}

/// Asks again and again, for as long as there is hope.
fn ask(started: Instant, address: SocketAddr, mut hope: impl FnMut() -> Result<bool>) -> Result<Duration> {
    let mut waiting = Vec::new();
    while started.elapsed() < LIMIT && hope()? {
        if waiting.len() == WAITING {
            waiting.remove(0);
        }
        if let Ok(mut stream) = TcpStream::connect(address) {
            stream.set_nonblocking(true)?;
            // As every client begins. An old pasta acknowledges the guest's part of a connection only with data.
            if stream.write_all(b"SSH-2.0-bench\r\n").is_ok() {
                waiting.push(stream);
            }
        }
        for stream in &mut waiting {
            let mut start = [0; 4];
            if stream.read_exact(&mut start).is_ok() {
                ensure!(&start == b"SSH-", "a strange banner: {start:?}");
                return Ok(started.elapsed());
            }
        }
        std::thread::sleep(PAUSE);
    }
    bail!("no SSH banner at {address}")
}

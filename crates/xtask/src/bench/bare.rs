//! Guests without anything of ours: the same kernel and modules, busybox as init, QEMU started by hand.

use std::fmt::Write;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::ground::{Ground, pack, quiet};

/// The modules that a guest needs for its network.
const MODULES: &str = "virtio_ring virtio virtio_mmio failover net_failover virtio_net";

/// How long a connection may wait for its answer before another is tried. QEMU's network takes connections before the
/// guest does, and asks for those that it lost seconds later only.
const ANSWER: Duration = Duration::from_millis(20);

/// How long any guest may take.
const LIMIT: Duration = Duration::from_secs(120);

/// What a bare guest's init does. Each writes a mark to the console when it has come so far.
pub(super) enum Init {
    /// Nothing: the mark on the console is the moment the kernel handed over.
    Mark,
    /// Takes TCP connections on port 22 and sends a line.
    Answer,
    /// dropbear.
    Dropbear,
}

/// Makes an initramfs with the bundle's modules, busybox and a script.
pub(super) fn initrd(ground: &Ground, init: &Init) -> Result<PathBuf> {
    let (name, work) = match init {
        Init::Mark => ("mark", "echo I > /dev/console\nwhile :; do $b sleep 1000; done"),
        // nc is done after a connection that was given up.
        Init::Answer => (
            "answer",
            "echo I > /dev/console\nwhile :; do echo SSH-2.0-bare | $b nc -l -p 22; done",
        ),
        Init::Dropbear => (
            "dropbear",
            "dropbear -r /etc/key -p 22\necho I > /dev/console\nwhile :; do $b sleep 1000; done",
        ),
    };
    let folder = ground.folder(name)?;
    quiet(
        Command::new("sh")
            .current_dir(&folder)
            .args([
                "-c",
                "cpio --quiet -i -d --no-absolute-filenames < \"$1\"",
                "unpack",
            ])
            .arg(ground.kernel.join("modules.cpio")),
    )?;
    for part in [
        "bin",
        "dev",
        "etc",
        "proc",
        "sys",
        "root",
        "lib64",
        "lib/x86_64-linux-gnu",
    ] {
        std::fs::create_dir_all(folder.join(part))?;
    }
    std::fs::copy("/bin/busybox", folder.join("bin/busybox"))?;
    if matches!(init, Init::Dropbear) {
        dropbear(&folder)?;
    }
    let network = match init {
        Init::Mark => String::new(),
        Init::Answer | Init::Dropbear => format!(
            "for m in {MODULES}; do $b insmod /modules/$m.ko; done\n\
             $b ifconfig lo 127.0.0.1 up\n$b ifconfig eth0 10.0.2.15 netmask 255.255.255.0 up\n"
        ),
    };
    let script = format!(
        "#!/bin/busybox sh\nb=/bin/busybox PATH=/bin\n$b mount -t devtmpfs d /dev\n{network}{work}\n"
    );
    let path = folder.join("init");
    std::fs::write(&path, script)?;
    quiet(Command::new("chmod").arg("755").arg(&path))?;
    let archive = ground.runtime.join(format!("{name}.cpio"));
    pack(&folder, &archive)?;
    Ok(archive)
}

/// dropbear, its libraries, a host key and an account.
fn dropbear(folder: &Path) -> Result<()> {
    std::fs::copy("/usr/sbin/dropbear", folder.join("bin/dropbear"))?;
    let libraries = crate::command::output(Command::new("ldd").arg("/usr/sbin/dropbear"))?;
    for path in libraries.split_whitespace().filter(|word| word.starts_with('/')) {
        let name = Path::new(path).file_name().context("a library without a name")?;
        let place = if path.starts_with("/lib64") {
            "lib64"
        } else {
            "lib/x86_64-linux-gnu"
        };
        std::fs::copy(path, folder.join(place).join(name))?;
    }
    std::fs::write(folder.join("etc/passwd"), "root::0:0:root:/root:/bin/sh\n")?;
    let key = folder.join("etc/key");
    let _ = std::fs::remove_file(&key);
    quiet(
        Command::new("dropbearkey")
            .args(["-t", "ed25519", "-f"])
            .arg(&key),
    )
}

/// A QEMU started by hand; killed when dropped.
pub(super) struct Bare {
    child: Child,
    port: u16,
    started: Instant,
}

impl Bare {
    pub(super) fn start(ground: &Ground, initrd: &Path) -> Result<Self> {
        // A free port: bound, read, let go.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let started = Instant::now();
        let [accel, cpu] = ground.accel;
        let mut arguments = ground.arguments.clone();
        if accel == "tcg" {
            let _ = write!(arguments, " tsc_early_khz={} tsc=reliable", tsc_khz()?);
        }
        let machine = "-M microvm,acpi=on,rtc=on -m 256 -smp 1 -nodefaults -no-user-config -no-reboot -display none \
                       -global virtio-mmio.force-legacy=false -device i8042 -serial stdio";
        let child = Command::new("qemu-system-x86_64")
            .args(machine.split_whitespace())
            .args(["-accel", accel, "-cpu", cpu])
            .arg("-kernel")
            .arg(ground.kernel.join("vmlinux"))
            .arg("-initrd")
            .arg(initrd)
            .args(["-append", &arguments])
            .args([
                "-netdev",
                &format!("user,id=n,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:22"),
            ])
            .args(["-device", "virtio-net-device,netdev=n"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .context("cannot start qemu-system-x86_64")?;
        Ok(Self { child, port, started })
    }

    /// From QEMU's start to the first byte on the console.
    pub(super) fn until_mark(&mut self) -> Result<Duration> {
        let mut byte = [0];
        self.child
            .stdout
            .as_mut()
            .context("no console")?
            .read_exact(&mut byte)?;
        Ok(self.started.elapsed())
    }

    /// From QEMU's start to the first bytes of an answer on TCP, asked for from when the guest's mark has come.
    pub(super) fn until_banner(&mut self) -> Result<Duration> {
        self.until_mark()?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let mut start = [0; 4];
        while self.started.elapsed() < LIMIT {
            let Ok(mut stream) = TcpStream::connect(address) else {
                continue;
            };
            stream.set_read_timeout(Some(ANSWER))?;
            if stream.read_exact(&mut start).is_ok() {
                ensure!(&start == b"SSH-", "a strange banner: {start:?}");
                return Ok(self.started.elapsed());
            }
        }
        bail!("the guest did not answer in {LIMIT:?}")
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The host's clock rate, for guests that would calibrate it by emulated timers.
fn tsc_khz() -> Result<u64> {
    let cpu = std::fs::read_to_string("/proc/cpuinfo")?;
    let line = cpu
        .lines()
        .find_map(|line| line.strip_prefix("cpu MHz"))
        .context("no cpu MHz in /proc/cpuinfo")?;
    let digits: String = line.chars().filter(char::is_ascii_digit).collect();
    // Three decimals: the digits without the point are kHz.
    digits.parse().with_context(|| format!("cpu MHz {line}"))
}

//! A bare QEMU microvm with one device of this crate, without sparkler around it: what a test of a device needs.

#![allow(dead_code, reason = "each test uses its part")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "only tests use this"
)]

use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use sparkler::arch;
use sparkler::qemu::accel::Accel;

pub(crate) mod client;
pub(crate) mod guest;
mod initrd;

/// Long enough for an emulated guest on a host with other work.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);

/// Kernel and initrd of a guest whose init is the test agent.
pub(crate) fn agent() -> (std::path::PathBuf, &'static std::path::Path) {
    (initrd::kernel().0.clone(), initrd::path())
}

/// A running guest. Dropping it kills QEMU.
pub(crate) struct Vm {
    qemu: Child,
    _console: Receiver<String>,
    qmp: BufReader<UnixStream>,
}

impl Vm {
    /// Starts a guest whose init is the test agent and waits until it serves. `vsock` and `net` are QEMU's ends of socket
    /// pairs, which `arguments` name as descriptors 0 and 1.
    pub(crate) fn start(vsock: OwnedFd, net: Option<OwnedFd>, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let qmp_path = folder.path().join("qmp");
        let clock = arch::clock_args(Accel::Tcg, &arch::Clock::start()).unwrap_or_default();
        let mut qemu = Command::new("qemu-system-x86_64")
            .args([
                "-nodefaults",
                "-no-user-config",
                "-nographic",
                "-no-reboot",
                "-cpu",
                "max",
            ])
            .args(["-object", "memory-backend-memfd,id=mem,size=192M,share=on"])
            .args(["-machine", "microvm,accel=tcg,memory-backend=mem", "-m", "192M"])
            .args(["-global", "virtio-mmio.force-legacy=false"])
            .args([
                "-sandbox",
                "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
            ])
            .args(["-serial", "file:/dev/stderr"])
            .arg("-kernel")
            .arg(&initrd::kernel().0)
            .arg("-initrd")
            .arg(initrd::path())
            .args([
                "-append",
                &format!("console=ttyS0 quiet reboot=k panic=-1 {clock}"),
            ])
            .arg("-qmp")
            .arg(format!("unix:{},server=on,wait=off", qmp_path.display()))
            .args(arguments)
            .stdin(vsock)
            .stdout(net.map_or(Stdio::null(), Stdio::from))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(qemu.stderr.take().unwrap());
        let (lines, console) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let _ = lines.send(line);
            }
        });
        wait_for(&console, "agent: ready");
        let qmp = UnixStream::connect(&qmp_path).unwrap();
        let mut vm = Self {
            qemu,
            _console: console,
            qmp: BufReader::new(qmp),
        };
        vm.qmp.read_line(&mut String::new()).unwrap();
        vm.tell_qemu("qmp_capabilities");
        vm
    }

    /// A QMP command without arguments.
    pub(crate) fn tell_qemu(&mut self, command: &str) {
        writeln!(self.qmp.get_mut(), "{{\"execute\": \"{command}\"}}").unwrap();
        loop {
            let mut answer = String::new();
            assert_ne!(self.qmp.read_line(&mut answer).unwrap(), 0, "QEMU is gone");
            if answer.contains("\"return\"") {
                return;
            }
            assert!(!answer.contains("\"error\""), "{answer}");
        }
    }

    /// Kills QEMU, as a crash would.
    pub(crate) fn kill(&mut self) {
        self.qemu.kill().unwrap();
        self.qemu.wait().unwrap();
    }

    /// QEMU's process id.
    pub(crate) fn pid(&self) -> u32 {
        self.qemu.id()
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

/// Waits for a line of the console that contains `text`.
fn wait_for(console: &Receiver<String>, text: &str) {
    let mut seen = String::new();
    let start = Instant::now();
    loop {
        let left = PATIENCE.saturating_sub(start.elapsed());
        let line = console
            .recv_timeout(left)
            .unwrap_or_else(|error| panic!("no {text:?} on the console: {error}\n{seen}"));
        seen += &line;
        seen += "\n";
        if line.contains(text) {
            return;
        }
    }
}

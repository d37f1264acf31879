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
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

pub(crate) mod guest;
mod initrd;

/// Long enough for an emulated guest on a host with other work.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);

/// A running guest. Dropping it kills QEMU.
pub(crate) struct Vm {
    qemu: Child,
    console: Receiver<String>,
    qmp: BufReader<UnixStream>,
}

impl Vm {
    /// Starts a guest whose init is the test agent and waits until it serves. `device` is QEMU's end of a socket pair,
    /// which `arguments` name as descriptor 0.
    pub(crate) fn start(device: OwnedFd, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let qmp_path = folder.path().join("qmp");
        let qmp = std::os::unix::net::UnixListener::bind(&qmp_path).unwrap();
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
            .args(["-serial", "file:/dev/stdout"])
            .arg("-kernel")
            .arg(&initrd::kernel().0)
            .arg("-initrd")
            .arg(initrd::path())
            .args([
                "-append",
                &format!(
                    "console=ttyS0 quiet reboot=k panic=-1 tsc_early_khz={}",
                    tsc_khz()
                ),
            ])
            .arg("-qmp")
            .arg(format!("unix:{}", qmp_path.display()))
            .args(arguments)
            .stdin(device)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(qemu.stdout.take().unwrap());
        let (lines, console) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let _ = lines.send(line);
            }
        });
        let (qmp, _) = qmp.accept().unwrap();
        let mut vm = Self {
            qemu,
            console,
            qmp: BufReader::new(qmp),
        };
        vm.qmp.read_line(&mut String::new()).unwrap();
        vm.tell_qemu("qmp_capabilities");
        vm.wait_for("agent: ready");
        vm
    }

    /// Waits for a line of the console that contains `text`.
    pub(crate) fn wait_for(&self, text: &str) {
        let mut seen = String::new();
        let start = Instant::now();
        loop {
            let left = PATIENCE.saturating_sub(start.elapsed());
            let line = self
                .console
                .recv_timeout(left)
                .unwrap_or_else(|_| panic!("no {text:?} on the console:\n{seen}"));
            seen += &line;
            seen += "\n";
            if line.contains(text) {
                return;
            }
        }
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

/// How fast this machine's time stamp counter runs: a guest that has to find out by itself hangs now and then.
fn tsc_khz() -> u128 {
    static KHZ: OnceLock<u128> = OnceLock::new();
    *KHZ.get_or_init(|| {
        // SAFETY: reading the counter has no precondition.
        let read = || unsafe { std::arch::x86_64::_rdtsc() };
        let (start, first) = (Instant::now(), read());
        while start.elapsed() < Duration::from_millis(200) {
            std::hint::spin_loop();
        }
        u128::from(read() - first) * 1_000_000 / start.elapsed().as_nanos()
    })
}

//! The contract on a real Firecracker: `$FIRECRACKER`, or `firecracker` on the path. Without either it is skipped by name.
//!
//! Guests are started only where KVM works; `$CONTRACT_KERNEL` names their kernel, otherwise the newest one in `/boot`
//! is taken. Network interfaces need root, since Firecracker makes the TAP devices.

use std::error::Error;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};

use firecracker_api::contract::{self, Capability, Files, Fresh, Server};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

struct Firecracker {
    program: PathBuf,
    kernel: Option<String>,
    has_kvm: bool,
    has_tap: bool,
    servers: AtomicU32,
}

impl Firecracker {
    fn find() -> Option<Self> {
        let named = std::env::var_os("FIRECRACKER").map(PathBuf::from);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&path).map(|folder| folder.join("firecracker"));
        let program = named.into_iter().chain(found).find(|program| program.is_file())?;
        Some(Self {
            program,
            kernel: kernel(),
            has_kvm: kvm_works(),
            has_tap: testkit::is_root() && Path::new("/dev/net/tun").exists(),
            servers: AtomicU32::new(0),
        })
    }
}

impl Firecracker {
    /// The first line of what it says of itself.
    async fn version(&self) -> String {
        let said = Command::new(&self.program).arg("--version").output().await;
        let said = said.map(|output| output.stdout).unwrap_or_default();
        let text = String::from_utf8_lossy(&said);
        text.lines().next().unwrap_or_default().to_owned()
    }
}

/// A device node alone proves nothing: the CPU must have what KVM needs as well.
fn kvm_works() -> bool {
    let opens = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/kvm")
        .is_ok();
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let has = |flag| cpu.split_whitespace().any(|word| word == flag);
    opens && (has("vmx") || has("svm") || cfg!(target_arch = "aarch64"))
}

fn kernel() -> Option<String> {
    if let Ok(named) = std::env::var("CONTRACT_KERNEL") {
        return Some(named);
    }
    let kernels = std::fs::read_dir("/boot")
        .ok()?
        .filter_map(|entry| entry.ok()?.path().into_os_string().into_string().ok());
    kernels.filter(|path| path.starts_with("/boot/vmlinuz-")).max()
}

impl Server for Firecracker {
    fn offers(&self, capability: Capability) -> bool {
        match capability {
            Capability::Start => self.has_kvm && self.kernel.is_some(),
            Capability::Tap => self.has_tap,
            Capability::Keyboard => cfg!(target_arch = "x86_64"),
            _ => true,
        }
    }

    async fn fresh(&self) -> Result<Fresh, Box<dyn Error + Send + Sync>> {
        let folder = tempfile::tempdir()?;
        let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
        let number = self.servers.fetch_add(1, Ordering::Relaxed);
        for (name, size) in [("drive", 2 << 20), ("other", 3 << 20), ("kernel", 4096)] {
            std::fs::File::create(folder.path().join(name))?.set_len(size)?;
        }
        let files = Files {
            folder: path(""),
            kernel: self.kernel.clone().unwrap_or_else(|| path("kernel")),
            initrd: None,
            boot_args: "console=ttyS0 reboot=k quiet".to_owned(),
            drive: path("drive"),
            other_drive: path("other"),
            tap: self.has_tap.then(|| format!("ct{}-{number}", std::process::id())),
        };
        let socket = folder.path().join("api.sock");
        let mut child = Command::new(&self.program)
            .arg("--no-seccomp")
            .arg("--api-sock")
            .arg(&socket)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let mut log = BufReader::new(child.stdout.take().ok_or("no log")?).lines();
        loop {
            let line = log
                .next_line()
                .await?
                .ok_or("Firecracker ended before it served")?;
            if line.contains("API server started.") {
                break;
            }
        }
        // The guest's console comes after the log, and must not fill the pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = log.next_line().await {} });
        let guard: Box<(Child, TempDir)> = Box::new((child, folder));
        Ok(Fresh { socket, files, guard })
    }
}

/// The version whose answers the contract has. Others know other fields, and word their refusals otherwise.
const VERSION: &str = "Firecracker v1.17.";

#[tokio::test]
async fn a_real_firecracker_keeps_the_contract() {
    const NAME: &str = "a_real_firecracker_keeps_the_contract";
    let Some(server) = Firecracker::find() else {
        return testkit::skip(NAME, "firecracker");
    };
    let version = server.version().await;
    if !version.starts_with(VERSION) {
        let wanted = format!("{VERSION}x, whose answers the contract has; this is {version}");
        return testkit::skip(NAME, &wanted);
    }
    if !server.offers(Capability::Start) {
        testkit::skip(
            "the contract's started guests on a real Firecracker",
            "KVM that works, or no kernel",
        );
    }
    let only = std::env::var("CONTRACT_ONLY").unwrap_or_default();
    let report = contract::run(&server, |case| {
        let wanted = case.name.contains(&only);
        if wanted {
            // Not by `println`, which is kept until the end: all of them take minutes.
            let _ = writeln!(std::io::stderr(), "contract: {}", case.name);
        }
        wanted
    })
    .await;
    println!("{report}");
    assert!(report.is_kept());
}

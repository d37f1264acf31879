//! What all the measurements share: a stage with a kernel, and how this machine runs guests.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::Vmm;
use crate::command::output;
use crate::firecracker;
use crate::stage::Stage;

pub(super) struct Ground {
    stage: Stage,
    /// The kernel bundle that every VM here boots.
    pub(super) kernel: PathBuf,
    /// The kernel arguments of knaller's machines, for those started by hand as well.
    pub(super) arguments: String,
    /// QEMU's `-accel` and `-cpu`: for the guests started by hand the same as for ours.
    pub(super) accel: [&'static str; 2],
    /// What runs the machines.
    pub(super) vmm: Vmm,
}

impl Deref for Ground {
    type Target = Stage;

    fn deref(&self) -> &Stage {
        &self.stage
    }
}

impl Ground {
    pub(super) fn new(vmm: Vmm) -> Result<Self> {
        // Of its own for each: where Firecracker is measured, what others have made here is read through a file system
        // without holes.
        let stage = Stage::new(match vmm {
            Vmm::Sparkler => "bench",
            Vmm::Firecracker => "bench-firecracker",
        })?;
        stage.import_kernel()?;
        let accel = if kvm_works(&stage)? {
            ["kvm", "host"]
        } else {
            ["tcg", "max"]
        };
        let kernel = bundle(&stage)?;
        let mut ground = Self {
            stage,
            kernel,
            arguments: String::new(),
            accel,
            vmm,
        };
        // The first start makes what all later ones share; it is no measurement. It boots, for the kernel's arguments.
        ground.started("first", &["--cold"])?;
        ground.arguments = arguments_of(&ground.runtime.join("knaller/first/api.sock"))?;
        ground.removed("first")?;
        Ok(ground)
    }

    pub(super) fn started(&self, name: &str, more: &[&str]) -> Result<()> {
        let mut arguments = vec!["start", name, "--detach", "--memory", "256", "--cpus", "1"];
        arguments.extend(more);
        quiet(self.knaller(&arguments).args(["--vmm", self.vmm.name()]))
    }

    pub(super) fn removed(&self, name: &str) -> Result<()> {
        quiet(&mut self.knaller(&["rm", "--force", name]))
    }

    /// A folder that goes with the stage.
    pub(super) fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.runtime.join(name);
        std::fs::create_dir_all(&folder)?;
        Ok(folder)
    }
}

/// What `doctor` says, which tries it.
fn kvm_works(stage: &Stage) -> Result<bool> {
    // It ends with an error where anything at all is missing.
    let told = stage.knaller(&["doctor", "-o", "json"]).output()?;
    let checks: serde_json::Value =
        serde_json::from_slice(&told.stdout).context("knaller doctor printed no JSON")?;
    let kvm = checks
        .as_array()
        .and_then(|checks| checks.iter().find(|check| check["id"] == "kvm"))
        .context("knaller doctor does not speak of KVM")?;
    Ok(kvm["verdict"] == "ok")
}

/// What the VMM was told.
fn arguments_of(socket: &Path) -> Result<String> {
    let told = output(
        Command::new("curl")
            .args(["-sS", "--unix-socket"])
            .arg(socket)
            .arg("http://localhost/vm/config"),
    )?;
    let config: serde_json::Value = serde_json::from_str(&told)?;
    let arguments = config["boot-source"]["boot_args"].as_str();
    Ok(arguments
        .context("a machine without kernel arguments")?
        .to_owned())
}

fn bundle(stage: &Stage) -> Result<PathBuf> {
    let kernels = stage.data.join("knaller/kernels");
    let bundles = std::fs::read_dir(&kernels)?.flatten().map(|entry| entry.path());
    bundles
        .filter(|path| path.join("vmlinux").exists())
        .max()
        .with_context(|| format!("no bundle in {}", kernels.display()))
}

/// Runs it without a word, unless it fails.
pub(super) fn quiet(command: &mut Command) -> Result<()> {
    told(command).map(drop)
}

/// The same, and what it printed.
pub(super) fn told(command: &mut Command) -> Result<String> {
    let ended = command
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    ensure!(
        ended.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&ended.stderr)
    );
    String::from_utf8(ended.stdout).with_context(|| format!("{command:?} printed no UTF-8"))
}

/// Packs a folder as an initramfs.
pub(super) fn pack(folder: &Path, into: &Path) -> Result<()> {
    let script = "cd \"$1\" && find . | cpio --quiet -o -H newc --owner 0:0 > \"$2\"";
    quiet(
        Command::new("sh")
            .args(["-c", script, "pack"])
            .args([folder, into]),
    )
}

/// The name of what runs the guests, for people.
pub(super) fn accelerator(ground: &Ground) -> Result<String> {
    let accelerator = match ground.accel {
        ["kvm", _] => "KVM",
        _ => "software emulation (TCG)",
    };
    Ok(match ground.vmm {
        Vmm::Sparkler => accelerator.to_owned(),
        Vmm::Firecracker => format!(
            "{}, {accelerator}",
            firecracker::version(&firecracker::program()?)?
        ),
    })
}

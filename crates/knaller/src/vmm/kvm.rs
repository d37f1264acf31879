//! Whether KVM can run a guest. A device node alone proves nothing: there are hosts where it opens, makes VMs, and cannot run
//! an ordinary kernel, since the CPU has no virtualisation to offer.

use std::env::consts::ARCH;
use std::fs::OpenOptions;
use std::io;
use std::path::Path;

const DEVICE: &str = "/dev/kvm";

/// Why KVM is of no use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unusable {
    #[error("there is no {DEVICE}")]
    NoDevice,
    #[error("this user may not open {DEVICE}")]
    Forbidden,
    #[error("{DEVICE} cannot be opened: {0}")]
    Broken(io::Error),
    #[error("the CPU offers no virtualisation (neither vmx nor svm in /proc/cpuinfo)")]
    NoCpu,
}

impl Unusable {
    /// What to do about it.
    pub(crate) fn remedy(&self) -> &'static str {
        match self {
            Self::NoDevice | Self::NoCpu => {
                "turn on virtualisation in the firmware, or nested virtualisation if this host is itself a VM; then: sudo modprobe kvm"
            }
            Self::Forbidden => "run: sudo usermod -aG kvm $USER, then log in again",
            Self::Broken(_) => "run: ls -l /dev/kvm, and see dmesg",
        }
    }
}

pub(crate) fn usable() -> Result<(), Unusable> {
    // What cannot be read promises nothing.
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    usable_on(ARCH, &cpuinfo, Path::new(DEVICE))
}

/// The CPU is looked at first: where it offers nothing, no right to the device would help.
fn usable_on(arch: &str, cpuinfo: &str, device: &Path) -> Result<(), Unusable> {
    // Other architectures show it by the device alone: their kernels make it only where the CPU has the mode.
    if arch == "x86_64" && !virtualises(cpuinfo) {
        return Err(Unusable::NoCpu);
    }
    match OpenOptions::new().read(true).write(true).open(device) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Unusable::NoDevice),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(Unusable::Forbidden),
        Err(error) => Err(Unusable::Broken(error)),
    }
}

/// Whether a `flags` line of /proc/cpuinfo has vmx (Intel) or svm (AMD).
pub(crate) fn virtualises(cpuinfo: &str) -> bool {
    cpuinfo
        .lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(key, _)| key.trim() == "flags")
        .any(|(_, flags)| {
            flags
                .split_whitespace()
                .any(|flag| flag == "vmx" || flag == "svm")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_flag_counts() {
        assert!(virtualises("flags\t\t: fpu vmx sse\n"));
        assert!(virtualises("x: y\nflags : svm\n"));
        assert!(!virtualises("flags\t: fpu svm_lock vmx_x\nvmx flags\t: vnmi\n"));
        assert!(!virtualises(""));
    }

    #[test]
    fn a_cpu_without_virtualisation_is_named_before_the_device() {
        let (with, without) = ("flags\t: fpu vmx\n", "flags\t: fpu sse\n");
        let temp = tempfile::tempdir().unwrap();
        let (absent, there) = (temp.path().join("absent"), temp.path().join("kvm"));
        std::fs::write(&there, "").unwrap();
        for device in [&absent, &there] {
            let found = usable_on("x86_64", without, device);
            assert!(matches!(found, Err(Unusable::NoCpu)), "{found:?}");
        }
        let found = usable_on("x86_64", with, &absent);
        assert!(matches!(found, Err(Unusable::NoDevice)), "{found:?}");
        usable_on("x86_64", with, &there).unwrap();
        usable_on("aarch64", without, &there).unwrap();
    }
}

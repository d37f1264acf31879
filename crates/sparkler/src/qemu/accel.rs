//! Whether QEMU runs the guest on the processor (KVM) or translates it (TCG).
//!
//! Invariant: KVM is chosen by itself only where a guest kernel can really run on it. A `/dev/kvm` that opens proves
//! nothing: machines were seen where it opens, makes VMs and cannot run a kernel, because the processor offers no
//! virtualisation.

use std::fs::{self, OpenOptions};
use std::os::fd::AsFd;
use std::path::Path;
use std::str::FromStr;

use rustix::ioctl::{Opcode, ioctl, opcode};

/// How the guest's instructions are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accel {
    /// By the processor.
    Kvm,
    /// By translation: slower, works everywhere.
    Tcg,
}

impl Accel {
    /// QEMU's name for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }
}

/// What the command line asks for (`--accel`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Choice {
    /// KVM if it works, else TCG.
    #[default]
    Auto,
    /// This one, or fail.
    Forced(Accel),
}

/// Not one of the three words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected auto, kvm or tcg")]
pub struct UnknownChoice;

impl FromStr for Choice {
    type Err = UnknownChoice;

    fn from_str(text: &str) -> Result<Self, UnknownChoice> {
        match text {
            "auto" => Ok(Self::Auto),
            "kvm" => Ok(Self::Forced(Accel::Kvm)),
            "tcg" => Ok(Self::Forced(Accel::Tcg)),
            _ => Err(UnknownChoice),
        }
    }
}

/// Why KVM is not used.
#[derive(Debug, thiserror::Error)]
pub enum KvmUnusable {
    /// The device cannot be opened for reading and writing.
    #[error("/dev/kvm does not open for reading and writing: {0}")]
    Open(#[source] std::io::Error),
    /// The device is not KVM as the last fifteen years know it.
    #[error("/dev/kvm does not speak version 12 of KVM's interface")]
    Version,
    /// The processor cannot do it.
    #[error("the processor shows neither vmx nor svm in /proc/cpuinfo")]
    Processor,
}

impl Choice {
    /// Decides. A forced choice is taken as it is; QEMU will say what is wrong with it.
    #[must_use]
    pub fn decide(self) -> Accel {
        match self {
            Self::Forced(accel) => accel,
            Self::Auto => match kvm_usable() {
                Ok(()) => Accel::Kvm,
                Err(reason) => {
                    tracing::info!("Running the guest by translation (TCG): {reason}");
                    Accel::Tcg
                }
            },
        }
    }
}

/// Whether a guest kernel can run under KVM on this machine.
pub fn kvm_usable() -> Result<(), KvmUnusable> {
    let device = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/kvm")
        .map_err(KvmUnusable::Open)?;
    if api_version(&device) != Some(12) {
        return Err(KvmUnusable::Version);
    }
    match fs::read_to_string(Path::new("/proc/cpuinfo")) {
        Ok(cpuinfo) if processor_virtualises(&cpuinfo) => Ok(()),
        Ok(_) | Err(_) => Err(KvmUnusable::Processor),
    }
}

/// aarch64 shows no flag: there KVM exists only where the kernel was started at EL2.
fn processor_virtualises(cpuinfo: &str) -> bool {
    cfg!(not(target_arch = "x86_64"))
        || cpuinfo
            .lines()
            .filter(|line| line.starts_with("flags"))
            .any(|line| line.split_whitespace().any(|flag| flag == "vmx" || flag == "svm"))
}

/// `KVM_GET_API_VERSION` (Documentation/virt/kvm/api.rst); 12 since Linux 2.6.22.
fn api_version(device: impl AsFd) -> Option<i32> {
    const KVM_GET_API_VERSION: Opcode = opcode::none(0xAE, 0x00);
    struct Version;
    // SAFETY: the request takes no argument and returns its answer as the call's result.
    unsafe impl rustix::ioctl::Ioctl for Version {
        type Output = i32;
        const IS_MUTATING: bool = false;
        fn opcode(&self) -> Opcode {
            KVM_GET_API_VERSION
        }
        fn as_ptr(&mut self) -> *mut std::ffi::c_void {
            std::ptr::null_mut()
        }
        unsafe fn output_from_ptr(
            out: rustix::ioctl::IoctlOutput,
            _: *mut std::ffi::c_void,
        ) -> rustix::io::Result<i32> {
            Ok(out)
        }
    }
    // SAFETY: as above; a device that is not KVM refuses the request.
    unsafe { ioctl(device, Version) }.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_words() {
        assert_eq!("auto".parse(), Ok(Choice::Auto));
        assert_eq!("kvm".parse(), Ok(Choice::Forced(Accel::Kvm)));
        assert_eq!("tcg".parse(), Ok(Choice::Forced(Accel::Tcg)));
        assert_eq!("KVM".parse::<Choice>(), Err(UnknownChoice));
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn flags_are_whole_words() {
        assert!(processor_virtualises("flags\t\t: fpu vmx sse\n"));
        assert!(processor_virtualises("processor: 0\nflags : svm\n"));
        assert!(!processor_virtualises("flags : fpu vmxfoo\nbugs : svm\n"));
    }
}

//! What the guest is told about its CPU.
//!
//! The fields differ by the architecture the server runs on, and Firecracker refuses those of the other one by name;
//! so do these models. Client and server share a machine, hence an architecture.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::cpu_text::number;
use super::{Bitmap, KvmCapability};

/// A custom CPU template: the body of `PUT /cpu-config`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[serde(deny_unknown_fields, expecting = "struct CustomCpuTemplate")]
pub struct CpuConfig {
    /// KVM capabilities to check for besides the usual ones, or not to check for.
    #[serde(default)]
    pub kvm_capabilities: Vec<KvmCapability>,
    /// Changes of CPUID leaves.
    #[cfg(target_arch = "x86_64")]
    #[serde(default)]
    pub cpuid_modifiers: Vec<CpuidLeafModifier>,
    /// Changes of model specific registers.
    #[cfg(target_arch = "x86_64")]
    #[serde(default)]
    pub msr_modifiers: Vec<MsrModifier>,
    /// Changes of the features a vCPU is made with.
    #[cfg(target_arch = "aarch64")]
    #[serde(default)]
    pub vcpu_features: Vec<VcpuFeatures>,
    /// Changes of registers.
    #[cfg(target_arch = "aarch64")]
    #[serde(default)]
    pub reg_modifiers: Vec<ArmRegisterModifier>,
}

/// A CPU template in a configuration file: written out, or the path of a file that holds one.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[serde(
    untagged,
    expecting = "data did not match any variant of untagged enum CustomCpuTemplateOrPath"
)]
pub enum CpuConfigSource {
    /// A file.
    Path(PathBuf),
    /// The template itself. Since 1.13.
    Template(CpuConfig),
}

/// The built-in templates, which make different CPUs look alike. Deprecated since 1.5.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[serde(expecting = "enum StaticCpuTemplate")]
pub enum CpuTemplate {
    /// Intel, like a C3 instance.
    #[cfg(target_arch = "x86_64")]
    C3,
    /// Intel, like a T2 instance.
    #[cfg(target_arch = "x86_64")]
    T2,
    /// Intel, like a T2 instance, for snapshots that move between Skylake and Cascade Lake.
    #[cfg(target_arch = "x86_64")]
    T2S,
    /// Neoverse V1 as Neoverse N1.
    #[cfg(target_arch = "aarch64")]
    V1N1,
    /// No template.
    #[default]
    None,
    /// Intel Cascade Lake and Ice Lake alike.
    #[cfg(target_arch = "x86_64")]
    T2CL,
    /// AMD Milan, like [`CpuTemplate::T2CL`].
    #[cfg(target_arch = "x86_64")]
    T2A,
}

/// A change of one CPUID leaf.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct CpuidLeafModifier {
    /// The leaf; a text such as `0x7` or `0b111`.
    #[serde(with = "number")]
    pub leaf: u32,
    /// The subleaf; a text likewise.
    #[serde(with = "number")]
    pub subleaf: u32,
    /// KVM's flags for the leaf (`struct kvm_cpuid_entry2`).
    pub flags: u32,
    /// The registers to change.
    pub modifiers: Vec<CpuidRegisterModifier>,
}

/// A change of one register of a CPUID leaf.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct CpuidRegisterModifier {
    /// Which register.
    pub register: CpuidRegister,
    /// Which bits, to what.
    pub bitmap: Bitmap<u32>,
}

/// A register that CPUID fills.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[serde(rename_all = "lowercase")]
pub enum CpuidRegister {
    /// `eax`
    Eax,
    /// `ebx`
    Ebx,
    /// `ecx`
    Ecx,
    /// `edx`
    Edx,
}

#[cfg(target_arch = "x86_64")]
impl<'de> Deserialize<'de> for CpuidRegister {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "eax" => Ok(Self::Eax),
            "ebx" => Ok(Self::Ebx),
            "ecx" => Ok(Self::Ecx),
            "edx" => Ok(Self::Edx),
            _ => Err(serde::de::Error::custom(
                "Invalid CPUID register. Must be one of [eax, ebx, ecx, edx]",
            )),
        }
    }
}

/// A change of a model specific register.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[serde(expecting = "struct RegisterModifier")]
pub struct MsrModifier {
    /// The register; a text such as `0x10a`.
    #[serde(with = "number")]
    pub addr: u32,
    /// Which bits, to what.
    pub bitmap: Bitmap<u64>,
}

/// A change of a register.
#[cfg(target_arch = "aarch64")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[serde(expecting = "struct RegisterModifier")]
pub struct ArmRegisterModifier {
    /// The register's id in `KVM_SET_ONE_REG`; a text such as `0x603000000013c020`.
    #[serde(with = "number")]
    pub addr: u64,
    /// Which bits, to what.
    pub bitmap: Bitmap<u128>,
}

/// A change of the features a vCPU is made with.
#[cfg(target_arch = "aarch64")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct VcpuFeatures {
    /// Index into the features of `struct kvm_vcpu_init`.
    pub index: u32,
    /// Which bits, to what.
    pub bitmap: Bitmap<u32>,
}

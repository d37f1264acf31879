//! What two machines must have in common so that one template serves both.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use guest_protocol::Interface;
use images::oci::Digest;
use serde::{Deserialize, Serialize};

/// Everything that a frozen guest has in it, and everything it was frozen by and on. Two that are equal may take each
/// other's place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shape {
    /// The kernel bundle's id.
    pub(crate) kernel: String,
    /// The initrd's file name, which holds a digest of the guest's init.
    pub(crate) initrd: String,
    pub(crate) boot_args: String,
    pub(crate) vmm: String,
    /// Each program that takes part, in the state it is in.
    pub(crate) programs: Vec<Program>,
    pub(crate) cpus: u8,
    pub(crate) memory_mib: u32,
    /// In the order of their attachment.
    pub(crate) drives: Vec<Drive>,
    /// The guest's interfaces, which are set up.
    pub(crate) interfaces: Vec<Interface>,
    /// Whether the VMM serves metadata on it.
    pub(crate) metadata: bool,
    /// Which devices every machine has.
    pub(crate) devices: u32,
    /// The host's processor, as its kernel describes it.
    pub(crate) cpu: String,
    /// This boot of the host.
    pub(crate) boot: String,
}

/// A program's file. Another build of the same version is another program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Program {
    path: String,
    #[serde(flatten)]
    version: Version,
}

/// A file in the state it is in. Once it has been written to, or another is in its place, that is another version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Version {
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds of its last change, which no program can set.
    changed: (i64, i64),
}

/// A drive, whatever is on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Drive {
    pub(crate) id: String,
    pub(crate) read_only: bool,
}

impl Program {
    pub(crate) fn at(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_string_lossy().into_owned(),
            version: Version::of(path)?,
        })
    }
}

impl Version {
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        let metadata = path.metadata()?;
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

impl Shape {
    /// The name of this shape's template: 32 hexadecimal digits.
    pub(crate) fn key(&self) -> String {
        // Plain data: it cannot fail.
        let json = serde_json::to_vec(self).unwrap_or_default();
        Digest::of(&json).hex().chars().take(32).collect()
    }
}

/// What of the host is part of every shape: its processor, and which boot it is.
pub(crate) fn host() -> io::Result<(String, String)> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo")?;
    Ok((
        Digest::of(processor(&cpuinfo).as_bytes()).short().to_owned(),
        boot.trim().to_owned(),
    ))
}

/// The first processor's lines that do not change from one moment to the next.
fn processor(cpuinfo: &str) -> String {
    let first = cpuinfo.split("\n\n").next().unwrap_or_default();
    let lasting = |line: &&str| !line.starts_with("cpu MHz") && !line.starts_with("bogomips");
    first.lines().filter(lasting).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape() -> Shape {
        Shape {
            kernel: "6.1".into(),
            initrd: "initrd-1.cpio".into(),
            boot_args: "quiet".into(),
            vmm: "sparkler".into(),
            programs: vec![Program::at(Path::new("/bin/sh")).unwrap()],
            cpus: 1,
            memory_mib: 256,
            drives: vec![Drive {
                id: "base".into(),
                read_only: true,
            }],
            interfaces: Vec::new(),
            metadata: false,
            devices: 1,
            cpu: "x".into(),
            boot: "y".into(),
        }
    }

    #[test]
    fn the_same_shape_has_the_same_key_and_any_other_another() {
        let keys = [
            shape(),
            Shape { cpus: 2, ..shape() },
            Shape {
                boot: "z".into(),
                ..shape()
            },
            Shape {
                drives: Vec::new(),
                ..shape()
            },
            Shape {
                programs: vec![Program::at(Path::new("/bin/true")).unwrap()],
                ..shape()
            },
        ]
        .map(|shape| shape.key());
        assert_eq!(keys[0], shape().key());
        assert_eq!(keys[0].len(), 32);
        assert_eq!(std::collections::HashSet::from(keys).len(), 5);
    }

    #[test]
    fn a_processor_is_the_same_whatever_its_clock() {
        let one = "processor\t: 0\nmodel name\t: A\ncpu MHz\t\t: 2600.1\nflags\t: fpu\n\nprocessor\t: 1\n";
        let two = one.replace("2600.1", "1200.0");
        assert_eq!(processor(one), processor(&two));
        assert_ne!(processor(one), processor(&one.replace("fpu", "fpu vme")));
    }
}

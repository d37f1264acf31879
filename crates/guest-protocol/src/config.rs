use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{Health, Volume};

/// All that a guest learns from its host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Must equal [`crate::VERSION`].
    pub version: u16,
    /// The guest's host name, which [`is_hostname`] accepts.
    pub hostname: String,
    /// The SSH server's ed25519 private key, in OpenSSH's PEM form, without a passphrase.
    pub host_key: String,
    /// Public keys, in `authorized_keys` form, that may log in as any user of the guest.
    pub authorized_keys: Vec<String>,
    /// Whether `~/.ssh/authorized_keys` of the guest's own users is honoured as well.
    #[serde(default = "yes")]
    pub user_keys: bool,
    /// The host's wall clock when this was written, in nanoseconds since the Unix epoch.
    pub clock_ns: u64,
    /// Up to 512 bytes of fresh entropy, hexadecimal; credited to the kernel's pool before anything asks for random bytes.
    #[serde(default)]
    pub entropy: String,
    pub root: Root,
    #[serde(default)]
    pub network: Option<Network>,
    /// What runs beside the SSH server; without one the guest idles.
    #[serde(default)]
    pub entrypoint: Option<Entrypoint>,
    #[serde(default)]
    pub init: Init,
    /// How long the entrypoint has after its stop signal before it is killed, in milliseconds.
    #[serde(default = "default_grace")]
    pub stop_grace_ms: u64,
    /// Set for the entrypoint and for every SSH session, under the session's own variables.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Whether `/` is read-only for everybody once the guest's own files are in it (its names, folders to mount on). As with
    /// `docker run --read-only` only volumes, `/run`, `/dev/shm` and the kernel's own file systems are left to write to; `/tmp`
    /// is not, unless it is a volume. Means nothing for [`Root::Initramfs`].
    #[serde(default)]
    pub read_only: bool,
    /// In any order; one inside another is mounted after it. At most [`MAX_VOLUMES`].
    #[serde(default)]
    pub volumes: Vec<Volume>,
    /// Checked whether there is an entrypoint or not, and whoever is PID 1.
    #[serde(default)]
    pub health: Option<Health>,
}

/// Whether a guest may be called so: labels of `[A-Za-z0-9-]` that neither begin nor end with a dash (RFC 1123, 2.1), with dots
/// between them; 1 to 64 bytes together, as many as Linux takes (`__NEW_UTS_LEN` of linux/utsname.h).
#[must_use]
pub fn is_hostname(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let label = |label: &str| {
        !label.is_empty() && !label.starts_with('-') && !label.ends_with('-') && label.bytes().all(plain)
    };
    name.len() <= 64 && name.split('.').all(label)
}

/// The most volumes of a guest: more disks than a microVM's bus holds, and as many folders as any image declares.
pub const MAX_VOLUMES: usize = 128;

fn yes() -> bool {
    true
}

fn default_grace() -> u64 {
    10_000
}

/// Who is PID 1 once the root file system is up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Init {
    /// powerunit stays PID 1 and supervises the entrypoint.
    #[default]
    Powerunit,
    /// The image's own `/sbin/init` becomes PID 1, or the entrypoint where that is an init itself (see [`Init::Auto`]);
    /// powerunit's SSH server lives on beside it.
    Image,
    /// As the image looks: `Image` if `/sbin/init` leads to systemd and there is no entrypoint, or if the entrypoint is an init
    /// itself ([`Init::is_init`]) and root's, which then gets its arguments; else `Powerunit`. [`crate::Ready::init`] says
    /// which it was.
    Auto,
}

impl Init {
    /// Whether a program of this path is a machine's init, which ends the machine itself: those that podman takes for one too
    /// (podman-run(1), `--systemd`).
    ///
    /// The init of s6-overlay, `/init`, is none: it is made for containers, must be process 1 of one, and just ends. Under
    /// each [`Init`] it is supervised as any other entrypoint, but in a process namespace of its own.
    #[must_use]
    pub fn is_init(program: &str) -> bool {
        ["/sbin/init", "/usr/sbin/init", "/usr/local/sbin/init"].contains(&program)
            || program.starts_with('/') && program.ends_with("/systemd")
    }
}

/// Where `/` comes from. Disks are named by the kernel in the order the host attached them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Root {
    /// The initramfs itself: nothing is mounted over it.
    Initramfs,
    /// One writable (or read-only) disk.
    Disk { disk: Disk },
    /// A read-only base shared by many VMs, under this VM's own ext4 disk, joined by overlayfs.
    Overlay { base: Disk, upper: Disk },
}

/// A disk that the host attached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// The kernel's name without `/dev/`: `vda`, `vdb`, … in the order of attachment.
    pub device: String,
    /// `ext4`, `squashfs`, `erofs`: as in mount(2).
    pub filesystem: String,
    #[serde(default)]
    pub read_only: bool,
}

/// The guest's only network interface and its name servers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    pub interfaces: Vec<Interface>,
    /// Written to `/etc/resolv.conf`, in this order.
    #[serde(default)]
    pub dns: Vec<IpAddr>,
    /// `search` line of `/etc/resolv.conf`.
    #[serde(default)]
    pub search: Vec<String>,
    /// Names in `/etc/hosts` that are to be these addresses, in place of those of an earlier boot. Left out where there
    /// are none, so that an older guest takes the rest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pins: Vec<Pin>,
}

/// A name that stands for an address as long as the machine runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// As a host name: others are not written.
    pub name: String,
    pub address: IpAddr,
}

/// One interface, by the MAC address the host gave its device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interface {
    /// The name it gets in the guest: `eth0`.
    pub name: String,
    /// Lower case, colons. Empty: the first Ethernet device there is.
    #[serde(default)]
    pub mac: String,
    /// Addresses with prefix length: `10.0.2.15/30`, `fd00::2/64`.
    pub addresses: Vec<String>,
    #[serde(default)]
    pub routes: Vec<Route>,
    /// Bytes; the device's own when absent.
    #[serde(default)]
    pub mtu: Option<u32>,
}

/// A route through an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// `0.0.0.0/0`, `::/0`, or a narrower network.
    pub destination: String,
    pub gateway: IpAddr,
}

/// The program that the VM exists for. When it ends, the VM powers off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entrypoint {
    /// Program and arguments; the program is looked up in the image's `PATH` if it has no slash. Not empty.
    pub argv: Vec<String>,
    /// `name`, `uid`, `name:group` or `uid:gid`, resolved in the image's own passwd and group files. Empty: root.
    #[serde(default)]
    pub user: String,
    /// Made, if it is not there. Empty: `/`.
    #[serde(default)]
    pub workdir: String,
    /// The signal that asks it to end: `SIGTERM`, `TERM` or a number. Empty: `SIGTERM`.
    #[serde(default)]
    pub stop_signal: String,
}

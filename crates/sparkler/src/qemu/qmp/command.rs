//! The commands sparkler gives QEMU, each a struct that is its arguments.
//!
//! Names and fields are QEMU's own (`qapi/*.json` of QEMU 7.2).

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A command: its fields are its arguments.
pub trait Command: Serialize {
    /// QEMU's name for it.
    const NAME: &'static str;
    /// What it answers.
    type Return: DeserializeOwned;
}

macro_rules! commands {
    ($($(#[$doc:meta])* $type:ident = $name:literal -> $return:ty { $($(#[$field_doc:meta])* $field:ident: $kind:ty),* $(,)? })*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Serialize)]
            #[serde(rename_all = "kebab-case")]
            pub struct $type { $($(#[$field_doc])* pub $field: $kind),* }

            impl Command for $type {
                const NAME: &'static str = $name;
                type Return = $return;
            }
        )*
    };
}

commands! {
    /// Opens the command mode; the first command of every connection.
    QmpCapabilities = "qmp_capabilities" -> IgnoredAny {}
    /// Stops all vCPUs.
    Stop = "stop" -> IgnoredAny {}
    /// Lets all vCPUs run again.
    Cont = "cont" -> IgnoredAny {}
    /// Ends QEMU.
    Quit = "quit" -> IgnoredAny {}
    /// Presses keys together and lets them go.
    SendKey = "send-key" -> IgnoredAny {
        /// The keys.
        keys: Vec<KeyValue>,
    }
    /// Adds the descriptor sent along to a set that block nodes can open as `/dev/fdset/ID`.
    AddFd = "add-fd" -> IgnoredAny {
        /// The set's number; made if new.
        fdset_id: u64,
    }
    /// Names the descriptor sent along, for a command that takes one by name.
    GetFd = "getfd" -> IgnoredAny {
        /// Its name.
        fdname: String,
    }
    /// Adds a character device.
    ChardevAdd = "chardev-add" -> IgnoredAny {
        /// Its id.
        id: String,
        /// What is behind it.
        backend: Value,
    }
    /// Drops a set: its descriptors are closed once nobody uses them.
    RemoveFd = "remove-fd" -> IgnoredAny {
        /// The set's number.
        fdset_id: u64,
    }
    /// Removes a block node.
    BlockdevDel = "blockdev-del" -> IgnoredAny {
        /// The node.
        node_name: String,
    }
    /// Replaces the options (and the child) of block nodes.
    BlockdevReopen = "blockdev-reopen" -> IgnoredAny {
        /// The nodes, each with all of its options.
        options: Vec<Value>,
    }
    /// Sets what the balloon leaves to the guest.
    Balloon = "balloon" -> IgnoredAny {
        /// Memory left to the guest, bytes.
        value: u64,
    }
    /// Asks what the balloon leaves to the guest.
    QueryBalloon = "query-balloon" -> BalloonInfo {}
    /// Reads a property of an object.
    QomGet = "qom-get" -> Value {
        /// The object.
        path: String,
        /// The property.
        property: String,
    }
    /// Writes a property of an object.
    QomSet = "qom-set" -> IgnoredAny {
        /// The object.
        path: String,
        /// The property.
        property: String,
        /// The new value.
        value: Value,
    }
    /// Asks whether the vCPUs run.
    QueryStatus = "query-status" -> Status {}
    /// Asks how far a virtqueue is that QEMU serves itself.
    VirtioQueueStatus = "x-query-virtio-queue-status" -> QueueStatus {
        /// The device.
        path: String,
        /// The queue's number.
        queue: u16,
    }
    /// Asks which QEMU this is.
    QueryVersion = "query-version" -> VersionInfo {}
    /// Writes the state of all devices, but no memory, into a file.
    XenSaveDevicesState = "xen-save-devices-state" -> IgnoredAny {
        /// The file; `/dev/fdset/ID` for a descriptor that was passed before.
        filename: String,
        /// Whether the machine is given up with it: block devices are let go then.
        live: bool,
    }
    /// Reads the state of all devices, of a machine that was started to wait for it.
    MigrateIncoming = "migrate-incoming" -> IgnoredAny {
        /// Where from; `fd:NUMBER` for a descriptor.
        uri: String,
    }
    /// Turns abilities of migrations on or off.
    MigrateSetCapabilities = "migrate-set-capabilities" -> IgnoredAny {
        /// Which.
        capabilities: Vec<MigrationCapability>,
    }
    /// Asks what went through every drive.
    QueryBlockstats = "query-blockstats" -> Vec<BlockStats> {}
}

/// Adds a block node; the options are the node's own.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct BlockdevAdd(pub Value);

impl Command for BlockdevAdd {
    const NAME: &'static str = "blockdev-add";
    type Return = IgnoredAny;
}

/// Adds an object; the options are the object's own.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct ObjectAdd(pub Value);

impl Command for ObjectAdd {
    const NAME: &'static str = "object-add";
    type Return = IgnoredAny;
}

/// Tells the guest a new size of a drive.
#[derive(Debug, Serialize)]
pub struct BlockResize {
    /// The node the guest's device stands on.
    #[serde(rename = "node-name")]
    pub node_name: String,
    /// Bytes.
    pub size: u64,
}

impl Command for BlockResize {
    const NAME: &'static str = "block_resize";
    type Return = IgnoredAny;
}

/// A key by QEMU's name for it.
#[derive(Debug, Serialize)]
#[serde(tag = "type", content = "data", rename_all = "lowercase")]
pub enum KeyValue {
    /// By name (`QKeyCode`).
    Qcode(&'static str),
}

/// An ability of migrations.
#[derive(Debug, Serialize)]
pub struct MigrationCapability {
    /// QEMU's name for it.
    pub capability: &'static str,
    /// On or off.
    pub state: bool,
}

/// How far a virtqueue is.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct QueueStatus {
    /// The guest's address of the available ring; 0 if there is no driver.
    pub vring_avail: u64,
    /// How much the driver had made available when QEMU last looked.
    pub shadow_avail_idx: u16,
}

/// Which QEMU this is.
#[derive(Debug, Deserialize)]
pub struct VersionInfo {
    /// Its numbers.
    pub qemu: VersionNumbers,
    /// Whose build it is; may be empty.
    #[serde(default)]
    pub package: String,
}

/// A version's numbers.
#[derive(Debug, Deserialize)]
pub struct VersionNumbers {
    /// First.
    pub major: u32,
    /// Second.
    pub minor: u32,
    /// Third.
    pub micro: u32,
}

impl std::fmt::Display for VersionInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let VersionNumbers { major, minor, micro } = self.qemu;
        write!(f, "{major}.{minor}.{micro}")?;
        match self.package.trim() {
            "" => Ok(()),
            package => write!(f, " {package}"),
        }
    }
}

/// Whether the vCPUs run.
#[derive(Debug, Deserialize)]
pub struct Status {
    /// Whether they do.
    pub running: bool,
}

/// What the balloon leaves to the guest.
#[derive(Debug, Deserialize)]
pub struct BalloonInfo {
    /// Bytes.
    pub actual: u64,
}

/// What went through one drive.
#[derive(Debug, Deserialize)]
pub struct BlockStats {
    /// The guest's device, by its id; absent for nodes no device stands on.
    #[serde(default)]
    pub qdev: String,
    /// The counters, since the start.
    pub stats: BlockCounters,
}

/// Counters of one drive, since the start.
#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(default)]
pub struct BlockCounters {
    /// Bytes read.
    pub rd_bytes: u64,
    /// Bytes written.
    pub wr_bytes: u64,
    /// Reads done.
    pub rd_operations: u64,
    /// Writes done.
    pub wr_operations: u64,
    /// Flushes done.
    pub flush_operations: u64,
    /// Reads that failed.
    pub failed_rd_operations: u64,
    /// Writes that failed.
    pub failed_wr_operations: u64,
    /// Flushes that failed.
    pub failed_flush_operations: u64,
    /// Requests the guest made that no disk could do.
    pub invalid_rd_operations: u64,
    /// Requests the guest made that no disk could do.
    pub invalid_wr_operations: u64,
    /// Time spent in reads, ns.
    pub rd_total_time_ns: u64,
    /// Time spent in writes, ns.
    pub wr_total_time_ns: u64,
}

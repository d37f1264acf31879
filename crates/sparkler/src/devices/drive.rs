//! A drive: a file of the host as a virtio block device.
//!
//! Invariant: under every drive stands a throttle node of a fixed name, from the first boot on. The guest's device
//! stands on that node alone, so what is below it (the file) and how much goes through it (the limits) can change
//! while the guest runs:
//!
//! ```text
//! virtio-blk-device drive0 -> throttle node drive0-throttle -> raw node -> file node -> /dev/fdset/N
//!                             throttle group drive0-limits
//! ```

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use firecracker_api::models::{CacheType, Drive, IoEngine};
use rustix::fs::SeekFrom;
use serde_json::{Value, json};

use super::throttle::Limits;

/// Bytes of a virtio block device's id (`VIRTIO_BLK_ID_BYTES`).
const SERIAL_BYTES: usize = 20;

/// An opened disk image.
#[derive(Debug)]
pub struct Image {
    /// The file, opened as the guest may use it.
    pub file: File,
    /// Its size in bytes.
    pub size: u64,
    /// The id the guest sees (`/sys/block/vda/serial`), where it was made as Firecracker and kvmtool make it.
    pub serial: String,
    /// What serves it.
    pub driver: Driver,
}

/// QEMU's driver for a disk image: each refuses what the other is for (`block/file-posix.c`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// A regular file.
    File,
    /// A block device.
    Device,
}

impl Driver {
    fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Device => "host_device",
        }
    }
}

impl Image {
    /// Opens a disk image and learns its size; works for block devices as well.
    pub fn open(path: &str, read_only: bool) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(!read_only).open(path)?;
        let size = rustix::fs::seek(&file, SeekFrom::End(0))?;
        if size % 512 != 0 {
            tracing::warn!(
                "Disk size {size} is not a multiple of sector size 512; the remainder will not be visible to the guest."
            );
        }
        let serial = serial(&file);
        let driver = match file.metadata()?.file_type().is_block_device() {
            true => Driver::Device,
            false => Driver::File,
        };
        Ok(Self {
            file,
            size,
            serial,
            driver,
        })
    }
}

fn serial(file: &File) -> String {
    let mut serial = match file.metadata() {
        Ok(data) => format!("{}{}{}", data.dev(), data.rdev(), data.ino()),
        Err(_) => String::new(),
    };
    serial.truncate(SERIAL_BYTES);
    serial
}

/// The names under which QEMU knows one drive, by its place among the drives.
#[derive(Debug, Clone, Copy)]
pub struct Names {
    /// Place among the drives, from 0.
    pub index: usize,
    /// How often its file was replaced.
    pub generation: u64,
}

impl Names {
    /// The guest's device.
    #[must_use]
    pub fn device(self) -> String {
        format!("drive{}", self.index)
    }

    /// The throttle node, the same for all generations.
    #[must_use]
    pub fn throttle(self) -> String {
        format!("drive{}-throttle", self.index)
    }

    /// The throttle group, the same for all generations.
    #[must_use]
    pub fn group(self) -> String {
        format!("drive{}-limits", self.index)
    }

    /// The node that ends the file where the guest's disk ends.
    #[must_use]
    pub fn raw(self) -> String {
        format!("drive{}-raw{}", self.index, self.generation)
    }

    /// The node of the file.
    #[must_use]
    pub fn file(self) -> String {
        format!("drive{}-file{}", self.index, self.generation)
    }
}

/// The nodes of one drive as QEMU wants them, lowest first, the throttle node last.
#[must_use]
pub fn nodes(names: Names, drive: &Drive, driver: Driver, fdset: u64) -> [Value; 3] {
    let read_only = drive.is_read_only.unwrap_or(false);
    let unsafe_cache = drive.cache_type == CacheType::Unsafe;
    // No locks: Firecracker takes none, and two microVMs may read one image.
    let file = json!({
        "driver": driver.name(),
        "node-name": names.file(),
        "filename": format!("/dev/fdset/{fdset}"),
        "locking": "off",
        "read-only": read_only,
        "aio": match drive.io_engine.unwrap_or_default() {
            IoEngine::Sync => "threads",
            IoEngine::Async => "io_uring",
        },
        "cache": { "no-flush": unsafe_cache },
    });
    let raw = json!({
        "driver": "raw",
        "node-name": names.raw(),
        "file": names.file(),
        "read-only": read_only,
        "cache": { "no-flush": unsafe_cache },
    });
    [file, raw, throttle(names, drive)]
}

/// The throttle node, over the raw node of this generation.
#[must_use]
pub fn throttle(names: Names, drive: &Drive) -> Value {
    json!({
        "driver": "throttle",
        "node-name": names.throttle(),
        "throttle-group": names.group(),
        "file": names.raw(),
        "read-only": drive.is_read_only.unwrap_or(false),
        "cache": { "no-flush": drive.cache_type == CacheType::Unsafe },
    })
}

/// The throttle group of one drive.
#[must_use]
pub fn group(names: Names, drive: &Drive) -> Value {
    json!({
        "qom-type": "throttle-group",
        "id": names.group(),
        "limits": Limits::new(drive.rate_limiter.as_ref()),
    })
}

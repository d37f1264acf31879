//! The guest's memory, as a device of this process reaches it.
//!
//! Invariant: only what lies wholly within one of the windows QEMU has told is touched.
//!
//! Memory that QEMU shares is mapped here as well. Memory that QEMU has mapped privately over a snapshot's file cannot be:
//! what the guest writes is in pages of QEMU's alone. There it is read and written through QEMU's process.

use std::fs::File;
use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, OnceLock};

use vhost::vhost_user::Result as VhostResult;
use vhost::vhost_user::message::VhostUserMemoryRegion;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap, GuestMemoryRegion, GuestRegionMmap};

use crate::qemu::remote::Remote;

/// How the guest's memory is reached.
#[derive(Debug, Clone)]
pub enum Access {
    /// QEMU shares it: its file is mapped.
    Shared,
    /// QEMU keeps what is written for itself: through its process, which is known once it was started.
    Private(Arc<OnceLock<Remote>>),
}

/// An address that is not the guest's memory, or memory that is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an address lies outside the guest's memory")]
pub(super) struct Outside;

/// Where QEMU sees a piece of guest memory: ring addresses come in its own address space.
#[derive(Debug, Clone, Copy)]
struct Window {
    qemu: u64,
    guest: u64,
    size: u64,
}

/// The guest's memory as QEMU has told it.
#[derive(Debug, Default)]
pub(super) struct Memory {
    windows: Vec<Window>,
    reach: Reach,
}

#[derive(Debug, Default)]
enum Reach {
    #[default]
    Nothing,
    Mapped(GuestMemoryMmap),
    Process(Arc<OnceLock<Remote>>),
}

impl Memory {
    /// Memory of these regions, `files` beside them.
    pub(super) fn new(
        regions: &[VhostUserMemoryRegion],
        files: Vec<File>,
        access: &Access,
    ) -> VhostResult<Self> {
        let windows = regions.iter().map(|region| Window {
            qemu: region.user_addr,
            guest: region.guest_phys_addr,
            size: region.memory_size,
        });
        let reach = match access {
            Access::Shared => Reach::Mapped(map(regions, files)?),
            Access::Private(process) => Reach::Process(Arc::clone(process)),
        };
        Ok(Self {
            windows: windows.collect(),
            reach,
        })
    }

    /// The guest's address of something QEMU names by its own.
    pub(super) fn guest_address(&self, qemu: u64) -> Option<u64> {
        self.windows.iter().find_map(|window| {
            let offset = qemu.checked_sub(window.qemu)?;
            (offset < window.size).then(|| window.guest.checked_add(offset))?
        })
    }

    /// Whether a piece lies within one window.
    pub(super) fn contains(&self, address: u64, len: usize) -> bool {
        self.in_qemu(address, len).is_ok()
    }

    fn in_qemu(&self, address: u64, len: usize) -> Result<u64, Outside> {
        let found = self.windows.iter().find_map(|window| {
            let offset = address.checked_sub(window.guest)?;
            let end = offset.checked_add(len as u64)?;
            (end <= window.size).then(|| window.qemu.checked_add(offset))?
        });
        found.ok_or(Outside)
    }

    /// Reads a piece.
    pub(super) fn read(&self, address: u64, into: &mut [u8]) -> Result<(), Outside> {
        let there = self.in_qemu(address, into.len())?;
        match &self.reach {
            Reach::Nothing => Err(Outside),
            Reach::Mapped(memory) => memory
                .read_slice(into, GuestAddress(address))
                .map_err(|_| Outside),
            Reach::Process(process) => process
                .get()
                .ok_or(Outside)?
                .read(there, into)
                .map_err(|_| Outside),
        }
    }

    /// Writes a piece.
    pub(super) fn write(&self, address: u64, bytes: &[u8]) -> Result<(), Outside> {
        let there = self.in_qemu(address, bytes.len())?;
        match &self.reach {
            Reach::Nothing => Err(Outside),
            Reach::Mapped(memory) => memory
                .write_slice(bytes, GuestAddress(address))
                .map_err(|_| Outside),
            Reach::Process(process) => process
                .get()
                .ok_or(Outside)?
                .write(there, bytes)
                .map_err(|_| Outside),
        }
    }

    /// Reads a number that guest and device hand over to each other: what was written before it is seen after it.
    pub(super) fn load(&self, address: u64) -> Result<u16, Outside> {
        if let Reach::Mapped(memory) = &self.reach {
            self.in_qemu(address, 2)?;
            let loaded = memory.load(GuestAddress(address), Ordering::Acquire);
            return loaded.map(u16::from_le).map_err(|_| Outside);
        }
        let mut bytes = [0; 2];
        self.read(address, &mut bytes)?;
        fence(Ordering::Acquire);
        Ok(u16::from_le_bytes(bytes))
    }

    /// Writes a number that guest and device hand over to each other.
    pub(super) fn store(&self, address: u64, value: u16) -> Result<(), Outside> {
        if let Reach::Mapped(memory) = &self.reach {
            self.in_qemu(address, 2)?;
            let stored = memory.store(value.to_le(), GuestAddress(address), Ordering::Release);
            return stored.map_err(|_| Outside);
        }
        fence(Ordering::Release);
        self.write(address, &value.to_le_bytes())
    }
}

fn map(regions: &[VhostUserMemoryRegion], files: Vec<File>) -> VhostResult<GuestMemoryMmap> {
    use vhost::vhost_user::Error;
    let mut mapped = Vec::with_capacity(regions.len());
    for (region, file) in regions.iter().zip(files) {
        let base = GuestAddress(region.guest_phys_addr);
        mapped.push(GuestRegionMmap::new(region.mmap_region(file)?, base).ok_or(Error::InvalidParam)?);
    }
    mapped.sort_by_key(GuestMemoryRegion::start_addr);
    GuestMemoryMmap::from_regions(mapped)
        .map_err(|error| Error::ReqHandlerError(std::io::Error::other(error)))
}

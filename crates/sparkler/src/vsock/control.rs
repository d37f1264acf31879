//! The vhost-user side: what QEMU tells about the guest's memory and rings (vhost-user protocol, back-end part).
//!
//! Invariants: a ring's event descriptor is in the event loop exactly while the ring has one; a driver that begins anew
//! is told from one that was only paused by the ring's base going back to zero.
//!
//! Not offered: the log of dirty pages (feature bit 26 with protocol feature `LOG_SHMFD`). QEMU asks for it before it
//! saves a guest with this device; since rings are stopped then, [`Control::set_log_base`] would have nothing to keep.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::event::epoll;
use vhost::VhostUserMemoryRegionBase;
use vhost::vhost_user::message::{
    VhostTransferStateDirection, VhostTransferStatePhase, VhostUserConfigFlags, VhostUserInflight,
    VhostUserLog, VhostUserMemoryRegion, VhostUserProtocolFeatures, VhostUserShMemConfig, VhostUserSharedMsg,
    VhostUserSingleMemoryRegion, VhostUserVirtioFeatures, VhostUserVringAddrFlags, VhostUserVringState,
};
use vhost::vhost_user::{Error, GpuBackend, Result, VhostUserBackendReqHandlerMut};
use virtio_queue::QueueT;
use vm_memory::{GuestAddress, GuestMemoryMmap, GuestRegionMmap};

use super::rings::{MAX_QUEUE_SIZE, Ring};

/// One for packets to the guest, one for packets from it. The device has a third, for events: QEMU keeps it to itself.
const RINGS: usize = 2;

/// `VIRTIO_F_VERSION_1`, `VIRTIO_F_EVENT_IDX`, `VIRTIO_F_INDIRECT_DESC` (virtio 1.2, section 6).
const VERSION_1: u64 = 1 << 32;
const EVENT_IDX: u64 = 1 << 29;
const INDIRECT_DESC: u64 = 1 << 28;
const PROTOCOL_FEATURES: u64 = VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits();
const FEATURES: u64 = VERSION_1 | EVENT_IDX | INDIRECT_DESC | PROTOCOL_FEATURES;

/// Where QEMU sees a piece of guest memory: ring addresses come in its own address space.
#[derive(Debug)]
struct Window {
    qemu: u64,
    guest: u64,
    size: u64,
}

/// Memory and rings, as far as QEMU has told.
#[derive(Debug)]
pub(super) struct Control {
    guest_cid: u64,
    epoll: Arc<OwnedFd>,
    windows: Vec<Window>,
    /// The guest's memory.
    pub mem: GuestMemoryMmap,
    /// To the guest and from it.
    pub rings: [Ring; RINGS],
    /// A new driver has taken over since this was last cleared.
    pub new_driver: bool,
}

impl Control {
    /// Nothing told yet. Events of ring `i` will be reported with `i` as their data.
    pub(super) fn new(guest_cid: u64, epoll: Arc<OwnedFd>) -> std::result::Result<Self, virtio_queue::Error> {
        Ok(Self {
            guest_cid,
            epoll,
            windows: Vec::new(),
            mem: GuestMemoryMmap::default(),
            rings: [Ring::new()?, Ring::new()?],
            new_driver: false,
        })
    }

    fn ring(&mut self, index: u32) -> Result<&mut Ring> {
        self.rings.get_mut(index as usize).ok_or(Error::InvalidParam)
    }

    fn guest_address(&self, qemu: u64) -> Result<u64> {
        self.windows
            .iter()
            .find_map(|window| {
                let offset = qemu.checked_sub(window.qemu)?;
                (offset < window.size).then(|| window.guest.checked_add(offset))?
            })
            .ok_or(Error::InvalidParam)
    }

    fn set_kick(&mut self, index: u32, kick: Option<File>) -> Result<()> {
        let epoll = Arc::clone(&self.epoll);
        let ring = self.ring(index)?;
        // QEMU has the same open file: closing ours would not take it out of the event loop.
        if let Some(old) = ring.kick.take() {
            epoll::delete(&*epoll, &old).map_err(failed)?;
        }
        if let Some(new) = kick {
            // Edge-triggered: each kick wakes the loop once, and nobody needs to read the counter.
            let events = epoll::EventFlags::IN | epoll::EventFlags::ET;
            epoll::add(&*epoll, &new, epoll::EventData::new_u64(u64::from(index)), events).map_err(failed)?;
            ring.kick = Some(new);
        }
        Ok(())
    }
}

fn failed(error: impl Into<io::Error>) -> Error {
    Error::ReqHandlerError(error.into())
}

fn unsupported<T>() -> Result<T> {
    Err(failed(io::ErrorKind::Unsupported))
}

impl VhostUserBackendReqHandlerMut for Control {
    fn set_owner(&mut self) -> Result<()> {
        Ok(())
    }

    fn reset_owner(&mut self) -> Result<()> {
        unsupported()
    }

    fn reset_device(&mut self) -> Result<()> {
        unsupported()
    }

    fn get_features(&mut self) -> Result<u64> {
        Ok(FEATURES)
    }

    fn set_features(&mut self, features: u64) -> Result<()> {
        if features & !FEATURES != 0 {
            return Err(Error::InvalidParam);
        }
        for ring in &mut self.rings {
            ring.queue.set_event_idx(features & EVENT_IDX != 0);
            if features & PROTOCOL_FEATURES == 0 {
                ring.enabled = true;
            }
        }
        Ok(())
    }

    fn set_mem_table(
        &mut self,
        regions: &[VhostUserMemoryRegion],
        files: Vec<File>,
        _postcopy: Option<bool>,
    ) -> Result<Option<Vec<VhostUserMemoryRegionBase>>> {
        let mut mapped = Vec::with_capacity(regions.len());
        let mut windows = Vec::with_capacity(regions.len());
        for (region, file) in regions.iter().zip(files) {
            let base = GuestAddress(region.guest_phys_addr);
            mapped.push(GuestRegionMmap::new(region.mmap_region(file)?, base).ok_or(Error::InvalidParam)?);
            windows.push(Window {
                qemu: region.user_addr,
                guest: region.guest_phys_addr,
                size: region.memory_size,
            });
        }
        mapped.sort_by_key(vm_memory::GuestMemoryRegion::start_addr);
        self.mem = GuestMemoryMmap::from_regions(mapped).map_err(|error| failed(io::Error::other(error)))?;
        self.windows = windows;
        Ok(None)
    }

    fn set_vring_num(&mut self, index: u32, num: u32) -> Result<()> {
        let size = u16::try_from(num)
            .ok()
            .filter(|size| (1..=MAX_QUEUE_SIZE).contains(size));
        self.ring(index)?.queue.set_size(size.ok_or(Error::InvalidParam)?);
        Ok(())
    }

    fn set_vring_addr(
        &mut self,
        index: u32,
        _flags: VhostUserVringAddrFlags,
        descriptor: u64,
        used: u64,
        available: u64,
        _log: u64,
    ) -> Result<()> {
        let descriptor = GuestAddress(self.guest_address(descriptor)?);
        let available = GuestAddress(self.guest_address(available)?);
        let used = GuestAddress(self.guest_address(used)?);
        let mem = self.mem.clone();
        let queue = &mut self.ring(index)?.queue;
        queue
            .try_set_desc_table_address(descriptor)
            .map_err(|_| Error::InvalidParam)?;
        queue
            .try_set_avail_ring_address(available)
            .map_err(|_| Error::InvalidParam)?;
        queue
            .try_set_used_ring_address(used)
            .map_err(|_| Error::InvalidParam)?;
        // A paused guest's ring goes on where it stood, a new driver's begins at zero: the ring itself says.
        let used = queue
            .used_idx(&mem, std::sync::atomic::Ordering::Acquire)
            .map_err(|_| Error::InvalidParam)?;
        queue.set_next_used(used.0);
        Ok(())
    }

    fn set_vring_base(&mut self, index: u32, base: u32) -> Result<()> {
        let queue = &mut self.ring(index)?.queue;
        let base = u16::try_from(base).map_err(|_| Error::InvalidParam)?;
        let begins_anew = base == 0 && queue.next_avail() != 0;
        queue.set_next_avail(base);
        self.new_driver |= begins_anew;
        Ok(())
    }

    fn get_vring_base(&mut self, index: u32) -> Result<VhostUserVringState> {
        self.set_kick(index, None)?;
        let ring = self.ring(index)?;
        ring.queue.set_ready(false);
        ring.call = None;
        Ok(VhostUserVringState::new(
            index,
            u32::from(ring.queue.next_avail()),
        ))
    }

    fn set_vring_kick(&mut self, index: u8, fd: Option<File>) -> Result<()> {
        self.set_kick(u32::from(index), fd)?;
        let mem = self.mem.clone();
        self.ring(u32::from(index))?.start(&mem);
        Ok(())
    }

    fn set_vring_call(&mut self, index: u8, fd: Option<File>) -> Result<()> {
        self.ring(u32::from(index))?.call = fd;
        Ok(())
    }

    fn set_vring_err(&mut self, index: u8, _fd: Option<File>) -> Result<()> {
        self.ring(u32::from(index)).map(|_| ())
    }

    fn get_protocol_features(&mut self) -> Result<VhostUserProtocolFeatures> {
        Ok(VhostUserProtocolFeatures::CONFIG)
    }

    fn set_protocol_features(&mut self, _features: u64) -> Result<()> {
        Ok(())
    }

    fn get_queue_num(&mut self) -> Result<u64> {
        Ok(RINGS as u64)
    }

    fn set_vring_enable(&mut self, index: u32, enable: bool) -> Result<()> {
        self.ring(index)?.enabled = enable;
        Ok(())
    }

    /// The configuration space holds the guest's CID and nothing else (virtio 1.2, section 5.10.4).
    fn get_config(&mut self, offset: u32, size: u32, _flags: VhostUserConfigFlags) -> Result<Vec<u8>> {
        let cid = self.guest_cid.to_le_bytes();
        let start = usize::try_from(offset).map_err(|_| Error::InvalidParam)?;
        let end = usize::try_from(size)
            .ok()
            .and_then(|size| start.checked_add(size));
        end.and_then(|end| cid.get(start..end))
            .map(<[u8]>::to_vec)
            .ok_or(Error::InvalidParam)
    }

    fn set_config(&mut self, _offset: u32, _buf: &[u8], _flags: VhostUserConfigFlags) -> Result<()> {
        unsupported()
    }

    fn set_gpu_socket(&mut self, _gpu_backend: GpuBackend) -> Result<()> {
        unsupported()
    }

    fn get_shared_object(&mut self, _uuid: VhostUserSharedMsg) -> Result<File> {
        unsupported()
    }

    fn get_inflight_fd(&mut self, _inflight: &VhostUserInflight) -> Result<(VhostUserInflight, File)> {
        unsupported()
    }

    fn set_inflight_fd(&mut self, _inflight: &VhostUserInflight, _file: File) -> Result<()> {
        unsupported()
    }

    fn get_max_mem_slots(&mut self) -> Result<u64> {
        unsupported()
    }

    fn add_mem_region(
        &mut self,
        _region: &VhostUserSingleMemoryRegion,
        _fd: File,
        _postcopy: Option<bool>,
    ) -> Result<Option<VhostUserMemoryRegionBase>> {
        unsupported()
    }

    fn remove_mem_region(&mut self, _region: &VhostUserSingleMemoryRegion) -> Result<()> {
        unsupported()
    }

    fn set_device_state_fd(
        &mut self,
        _direction: VhostTransferStateDirection,
        _phase: VhostTransferStatePhase,
        _fd: File,
    ) -> Result<Option<File>> {
        unsupported()
    }

    fn check_device_state(&mut self) -> Result<()> {
        unsupported()
    }

    fn get_shmem_config(&mut self) -> Result<VhostUserShMemConfig> {
        unsupported()
    }

    fn set_log_base(&mut self, _log: &VhostUserLog, _file: File) -> Result<()> {
        unsupported()
    }
}

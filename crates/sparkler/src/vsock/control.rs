//! The vhost-user side: what QEMU tells about the guest's memory and rings (vhost-user protocol, back-end part).
//!
//! Invariants: a ring's event descriptor is in the event loop exactly while the ring has one; a driver that begins anew
//! is told from one that was only paused by the ring's base going back to zero.
//!
//! Not offered: the log of dirty pages. QEMU wants it of a guest that migrates while it runs; a snapshot is taken of one
//! that stands still.

use std::fs::File;
use std::io;
use std::num::Wrapping;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::epoll;
use tracing::warn;
use vhost::VhostUserMemoryRegionBase;
use vhost::vhost_user::message::{
    VhostTransferStateDirection, VhostTransferStatePhase, VhostUserConfigFlags, VhostUserInflight,
    VhostUserLog, VhostUserMemoryRegion, VhostUserProtocolFeatures, VhostUserShMemConfig, VhostUserSharedMsg,
    VhostUserSingleMemoryRegion, VhostUserVirtioFeatures, VhostUserVringAddrFlags, VhostUserVringState,
};
use vhost::vhost_user::{Error, GpuBackend, Result, VhostUserBackendReqHandlerMut};

use super::memory::{Access, Memory};
use super::rings::{MAX_QUEUE_SIZE, Ring};

/// One for packets to the guest, one for packets from it. The device has a third, for events: QEMU keeps it to itself.
const RINGS: usize = 2;

/// `VIRTIO_F_VERSION_1`, `VIRTIO_F_EVENT_IDX`, `VIRTIO_F_INDIRECT_DESC` (virtio 1.2, section 6).
const VERSION_1: u64 = 1 << 32;
const EVENT_IDX: u64 = 1 << 29;
const INDIRECT_DESC: u64 = 1 << 28;
const PROTOCOL_FEATURES: u64 = VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits();
const FEATURES: u64 = VERSION_1 | EVENT_IDX | INDIRECT_DESC | PROTOCOL_FEATURES;

/// Memory and rings, as far as QEMU has told.
#[derive(Debug)]
pub(super) struct Control {
    guest_cid: u64,
    epoll: Arc<OwnedFd>,
    access: Access,
    /// The guest's memory.
    pub mem: Memory,
    /// To the guest and from it.
    pub rings: [Ring; RINGS],
    /// A new driver has taken over since this was last cleared.
    pub new_driver: bool,
    /// No packet moves while there is one.
    pub hold: Option<Hold>,
}

/// A guest that was loaded from a snapshot and has yet to hear of it.
///
/// QEMU tells it by an event that all its connections are gone (virtio 1.2, section 5.10.6.7), in a ring that QEMU serves
/// itself. A connection made before the guest gets to it would be dropped with the others, without a word to the host. So
/// nothing moves until the driver has put the event's buffer back.
#[derive(Debug, Clone, Copy)]
pub struct Hold {
    /// The guest's address of the event ring's available part.
    pub available: u64,
    /// How many buffers the driver had made available when the guest was loaded.
    pub before: u16,
    /// Set once the guest runs.
    give_up: Option<Instant>,
}

/// How long a guest may take to hear of its load.
const HOLD_LIMIT: Duration = Duration::from_secs(5);

impl Hold {
    /// Waits for the driver to make more available.
    #[must_use]
    pub fn new(available: u64, before: u16) -> Self {
        Self {
            available,
            before,
            give_up: None,
        }
    }
}

impl Control {
    /// Nothing told yet. Events of ring `i` will be reported with `i` as their data.
    pub(super) fn new(guest_cid: u64, epoll: Arc<OwnedFd>, access: Access) -> Self {
        Self {
            guest_cid,
            epoll,
            access,
            mem: Memory::default(),
            rings: Default::default(),
            new_driver: false,
            hold: None,
        }
    }

    /// Whether packets may move. A hold whose time has come is given up here.
    pub(super) fn is_running(&mut self, now: Instant) -> bool {
        if !self.rings.iter().all(Ring::is_running) {
            return false;
        }
        let Some(hold) = &mut self.hold else {
            return true;
        };
        let heard = self
            .mem
            .load(hold.available.wrapping_add(2))
            .is_ok_and(|made| made != hold.before);
        let late = now >= *hold.give_up.get_or_insert(now + HOLD_LIMIT);
        if late {
            warn!("the guest's vsock driver does not take notice of its load from a snapshot");
        }
        if heard || late {
            self.hold = None;
        }
        heard || late
    }

    fn ring(&mut self, index: u32) -> Result<&mut Ring> {
        self.rings.get_mut(index as usize).ok_or(Error::InvalidParam)
    }

    fn guest_address(&self, qemu: u64) -> Result<u64> {
        self.mem.guest_address(qemu).ok_or(Error::InvalidParam)
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
            ring.queue.event_idx = features & EVENT_IDX != 0;
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
        self.mem = Memory::new(regions, files, &self.access)?;
        Ok(None)
    }

    fn set_vring_num(&mut self, index: u32, num: u32) -> Result<()> {
        let size = u16::try_from(num)
            .ok()
            .filter(|size| size.is_power_of_two() && *size <= MAX_QUEUE_SIZE);
        self.ring(index)?.queue.size = size.ok_or(Error::InvalidParam)?;
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
        let table = self.guest_address(descriptor)?;
        let available = self.guest_address(available)?;
        let used = self.guest_address(used)?;
        let Some(ring) = self.rings.get_mut(index as usize) else {
            return Err(Error::InvalidParam);
        };
        let queue = &mut ring.queue;
        (queue.table, queue.available, queue.used) = (table, available, used);
        // A paused guest's ring goes on where it stood, a new driver's begins at zero: the ring itself says.
        let used = queue.used_index(&self.mem).map_err(|_| Error::InvalidParam)?;
        queue.next_used = Wrapping(used);
        Ok(())
    }

    fn set_vring_base(&mut self, index: u32, base: u32) -> Result<()> {
        let queue = &mut self.ring(index)?.queue;
        let base = u16::try_from(base).map_err(|_| Error::InvalidParam)?;
        let begins_anew = base == 0 && queue.next_available.0 != 0;
        queue.next_available = Wrapping(base);
        self.new_driver |= begins_anew;
        Ok(())
    }

    fn get_vring_base(&mut self, index: u32) -> Result<VhostUserVringState> {
        self.set_kick(index, None)?;
        let ring = self.ring(index)?;
        ring.queue.ready = false;
        ring.call = None;
        Ok(VhostUserVringState::new(
            index,
            u32::from(ring.queue.next_available.0),
        ))
    }

    fn set_vring_kick(&mut self, index: u8, fd: Option<File>) -> Result<()> {
        self.set_kick(u32::from(index), fd)?;
        match self.rings.get_mut(usize::from(index)) {
            Some(ring) => ring.start(&self.mem),
            None => return Err(Error::InvalidParam),
        }
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

//! The vsock device under a driver that breaks the rules: this test plays QEMU and the guest's driver itself.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "only tests use this"
)]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use sparkler::vsock::{Access, Backend, Device};
use vhost::vhost_user::message::{VhostUserConfigFlags, VhostUserProtocolFeatures};
use vhost::vhost_user::{Frontend, VhostUserFrontend};
use vhost::{VhostBackend, VhostUserMemoryRegionInfo, VringConfigData};
use vm_memory::{Bytes, FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};
use vmm_sys_util::eventfd::EventFd;

const PATIENCE: Duration = Duration::from_secs(60);
const SIZE: u16 = 64;
const MEMORY: usize = 1 << 20;
const HEADER: usize = 44;
const RX: usize = 0;
const TX: usize = 1;
const WRITE: u16 = 2;
const NEXT: u16 = 1;

/// QEMU's and the driver's part.
struct Driver {
    mem: GuestMemoryMmap,
    frontend: Frontend,
    kicks: [EventFd; 2],
    calls: [EventFd; 2],
    next: [u16; 2],
    device: Option<Device>,
    folder: tempfile::TempDir,
}

fn at(ring: usize, part: u64) -> u64 {
    0x1000 + ring as u64 * 0x3000 + part * 0x1000
}

impl Driver {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let backend = Backend::bind(3, folder.path().join("v.sock")).unwrap();
        let (ours, qemus) = UnixStream::pair().unwrap();
        let device = Some(backend.serve(ours, Access::Shared).unwrap());
        let memory = memfd_create("guest", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&memory, MEMORY as u64).unwrap();
        let range = (GuestAddress(0), MEMORY, Some(FileOffset::new(memory.into(), 0)));
        let mem = GuestMemoryMmap::from_ranges_with_files([range]).unwrap();
        let eventfds = || [EventFd::new(0).unwrap(), EventFd::new(0).unwrap()];
        let mut driver = Self {
            mem,
            frontend: Frontend::from_stream(qemus, 2),
            kicks: eventfds(),
            calls: eventfds(),
            next: [0; 2],
            device,
            folder,
        };
        driver.set_up();
        driver
    }

    fn set_up(&mut self) {
        let frontend = &mut self.frontend;
        frontend.set_owner().unwrap();
        let features = frontend.get_features().unwrap();
        // Without event indices: the driver then hears of every batch.
        frontend.set_features(features & !(1 << 29)).unwrap();
        let protocol = frontend.get_protocol_features().unwrap();
        assert!(protocol.contains(VhostUserProtocolFeatures::CONFIG));
        frontend
            .set_protocol_features(protocol & VhostUserProtocolFeatures::CONFIG)
            .unwrap();
        let region = VhostUserMemoryRegionInfo::from_guest_region(self.mem.iter().next().unwrap()).unwrap();
        frontend.set_mem_table(&[region]).unwrap();
        for ring in [RX, TX] {
            self.start_ring(ring, 0);
        }
    }

    fn start_ring(&mut self, ring: usize, base: u16) {
        let host = |address: u64| self.mem.get_host_address(GuestAddress(address)).unwrap() as u64;
        let config = VringConfigData {
            queue_max_size: SIZE,
            queue_size: SIZE,
            flags: 0,
            desc_table_addr: host(at(ring, 0)),
            avail_ring_addr: host(at(ring, 1)),
            used_ring_addr: host(at(ring, 2)),
            log_addr: None,
        };
        let frontend = &mut self.frontend;
        frontend.set_vring_num(ring, SIZE).unwrap();
        frontend.set_vring_base(ring, base).unwrap();
        frontend.set_vring_addr(ring, &config).unwrap();
        frontend.set_vring_call(ring, &self.calls[ring]).unwrap();
        frontend.set_vring_kick(ring, &self.kicks[ring]).unwrap();
        frontend.set_vring_enable(ring, true).unwrap();
    }

    /// Waits until QEMU's requests so far were looked at, by one that is answered.
    fn settle(&mut self) {
        let (_, cid) = self
            .frontend
            .get_config(0, 8, VhostUserConfigFlags::empty(), &[0; 8])
            .unwrap();
        assert_eq!(cid, 3u64.to_le_bytes());
    }

    fn descriptor(&self, ring: usize, index: u16, address: u64, len: u32, flags: u16, next: u16) {
        let base = at(ring, 0) + u64::from(index) * 16;
        self.mem.write_obj(address, GuestAddress(base)).unwrap();
        self.mem.write_obj(len, GuestAddress(base + 8)).unwrap();
        self.mem.write_obj(flags, GuestAddress(base + 12)).unwrap();
        self.mem.write_obj(next, GuestAddress(base + 14)).unwrap();
    }

    /// Makes the chain that begins at `head` available.
    fn offer(&mut self, ring: usize, head: u16) {
        let slot = at(ring, 1) + 4 + u64::from(self.next[ring] % SIZE) * 2;
        self.mem.write_obj(head, GuestAddress(slot)).unwrap();
        self.next[ring] = self.next[ring].wrapping_add(1);
        self.publish(ring, self.next[ring]);
    }

    fn publish(&self, ring: usize, index: u16) {
        self.mem
            .store(
                index,
                GuestAddress(at(ring, 1) + 2),
                std::sync::atomic::Ordering::SeqCst,
            )
            .unwrap();
        self.kicks[ring].write(1).unwrap();
    }

    fn used(&self, ring: usize) -> u16 {
        self.mem
            .load(GuestAddress(at(ring, 2) + 2), std::sync::atomic::Ordering::SeqCst)
            .unwrap()
    }

    /// The head and length of a used entry.
    fn used_entry(&self, ring: usize, index: u16) -> (u32, u32) {
        let slot = at(ring, 2) + 4 + u64::from(index % SIZE) * 8;
        (
            self.mem.read_obj(GuestAddress(slot)).unwrap(),
            self.mem.read_obj(GuestAddress(slot + 4)).unwrap(),
        )
    }

    /// Waits until the device has used so many chains.
    fn wait_used(&self, ring: usize, count: u16) {
        let start = Instant::now();
        while self.used(ring) != count {
            assert!(
                start.elapsed() < PATIENCE,
                "{} of {count} chains used",
                self.used(ring)
            );
            std::thread::yield_now();
        }
    }

    fn buffer(ring: usize, index: u16) -> u64 {
        0x10000 + ring as u64 * 0x40000 + u64::from(index) * 0x1000
    }

    /// Sends a packet in one descriptor.
    fn send(&mut self, header: &[u8; HEADER], payload: &[u8]) {
        let index = self.next[TX] % SIZE;
        let address = Self::buffer(TX, index);
        self.mem.write_slice(header, GuestAddress(address)).unwrap();
        self.mem
            .write_slice(payload, GuestAddress(address + HEADER as u64))
            .unwrap();
        self.descriptor(TX, index, address, (HEADER + payload.len()) as u32, 0, 0);
        self.offer(TX, index);
    }

    /// Gives a buffer of this size for a packet to the driver.
    fn receive(&mut self, size: u32) {
        let index = self.next[RX] % SIZE;
        self.descriptor(RX, index, Self::buffer(RX, index), size, WRITE, 0);
        self.offer(RX, index);
    }

    /// Waits for the `index`-th packet to the driver: its operation, ports and payload.
    fn packet(&self, index: u16) -> (u16, u32, u32, Vec<u8>) {
        self.wait_used_beyond(RX, index);
        let (head, len) = self.used_entry(RX, index);
        let mut bytes = vec![0; len as usize];
        self.mem
            .read_slice(&mut bytes, GuestAddress(Self::buffer(RX, head as u16)))
            .unwrap();
        let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        (
            u16::from_le_bytes(bytes[30..32].try_into().unwrap()),
            number(16),
            number(20),
            bytes[HEADER..].to_vec(),
        )
    }

    fn wait_used_beyond(&self, ring: usize, index: u16) {
        let start = Instant::now();
        while self.used(ring) <= index {
            assert!(start.elapsed() < PATIENCE, "only {} chains used", self.used(ring));
            std::thread::yield_now();
        }
    }

    /// The device still answers QEMU, and still ends when told to.
    fn finish(mut self) {
        self.settle();
        drop(self.device.take());
    }
}

fn header(op: u16, guest_port: u32, host_port: u32, len: u32) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    bytes[0] = 3;
    bytes[8] = 2;
    bytes[16..20].copy_from_slice(&guest_port.to_le_bytes());
    bytes[20..24].copy_from_slice(&host_port.to_le_bytes());
    bytes[24..28].copy_from_slice(&len.to_le_bytes());
    bytes[28] = 1;
    bytes[30..32].copy_from_slice(&op.to_le_bytes());
    bytes[36..40].copy_from_slice(&4096u32.to_le_bytes());
    bytes
}

const REQUEST: u16 = 1;
const RESPONSE: u16 = 2;
const RESET: u16 = 3;
const DATA: u16 = 5;

#[test]
fn a_whole_connection_with_this_driver() {
    let mut driver = Driver::start();
    driver.settle();
    let mut client = UnixStream::connect(driver.folder.path().join("v.sock")).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(b"CONNECT 77\nhi").unwrap();
    driver.receive(256);
    let (op, host_port, guest_port, _) = driver.packet(0);
    assert_eq!((op, guest_port), (REQUEST, 77));
    driver.send(&header(RESPONSE, 77, host_port, 0), &[]);
    let expected = format!("OK {host_port}\n");
    let mut answer = vec![0; expected.len()];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(answer, expected.as_bytes());
    driver.receive(256);
    assert_eq!(driver.packet(1), (DATA, host_port, 77, b"hi".to_vec()));
    driver.send(&header(DATA, 77, host_port, 5), b"there");
    let mut said = [0; 5];
    client.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"there");
    driver.send(&header(RESET, 77, host_port, 0), &[]);
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    driver.finish();
}

#[test]
fn a_payload_that_is_not_there_ends_its_connection() {
    let mut driver = Driver::start();
    let mut client = UnixStream::connect(driver.folder.path().join("v.sock")).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(b"CONNECT 77\n").unwrap();
    driver.receive(256);
    let (_, host_port, _, _) = driver.packet(0);
    driver.send(&header(RESPONSE, 77, host_port, 0), &[]);
    let mut ok = vec![0; format!("OK {host_port}\n").len()];
    client.read_exact(&mut ok).unwrap();
    driver.receive(256);
    driver.send(&header(DATA, 77, host_port, 100), b"far too short");
    assert_eq!(driver.packet(1).0, RESET);
    assert_eq!(client.read(&mut [0]).unwrap_or(0), 0);
    driver.finish();
}

#[test]
fn replies_wait_for_buffers_and_bound_what_is_taken() {
    let mut driver = Driver::start();
    // Nobody listens: each request asks for a reset, and there is no buffer for any.
    let mut sent = 0u16;
    let start = Instant::now();
    while sent < 2000 && start.elapsed() < PATIENCE {
        if sent.wrapping_sub(driver.used(TX)) < SIZE {
            driver.send(&header(REQUEST, u32::from(sent), 9, 0), &[]);
            sent += 1;
        }
        if driver.used(TX) >= 256 && sent.wrapping_sub(driver.used(TX)) == SIZE {
            break;
        }
    }
    assert_eq!(
        driver.used(TX),
        256,
        "packets are taken though their replies have nowhere to go"
    );
    // With buffers every one of them is answered, in order.
    for index in 0..sent {
        driver.receive(64);
        let (op, host_port, guest_port, _) = driver.packet(index);
        assert_eq!((op, host_port, guest_port), (RESET, 9, u32::from(index)));
    }
    driver.wait_used(TX, sent);
    driver.finish();
}

#[test]
fn buffers_too_small_come_back_empty() {
    let mut driver = Driver::start();
    for size in [0, 1, 43] {
        driver.receive(size);
    }
    driver.receive(64);
    driver.send(&header(REQUEST, 5, 9, 0), &[]);
    driver.wait_used(RX, 4);
    assert!((0..3).all(|index| driver.used_entry(RX, index).1 == 0));
    assert_eq!(driver.packet(3).0, RESET);
    driver.finish();
}

#[test]
fn chains_that_make_no_sense_come_back_and_do_no_harm() {
    let mut driver = Driver::start();
    // Out of memory, around the end of the address space, into itself, beyond the table, writable, empty.
    driver.descriptor(TX, 0, 1 << 40, 64, 0, 0);
    driver.descriptor(TX, 1, u64::MAX - 10, 64, 0, 0);
    driver.descriptor(TX, 2, Driver::buffer(TX, 2), 8, NEXT, 2);
    driver.descriptor(TX, 3, Driver::buffer(TX, 3), 8, NEXT, SIZE + 7);
    driver.descriptor(TX, 4, Driver::buffer(TX, 4), 64, WRITE, 0);
    driver.descriptor(TX, 5, Driver::buffer(TX, 5), 0, 0, 0);
    driver.descriptor(TX, 6, Driver::buffer(TX, 6), u32::MAX, 0, 0);
    driver.descriptor(TX, 7, Driver::buffer(TX, 7), 20, 0, 0);
    for head in 0..8 {
        driver.offer(TX, head);
    }
    driver.wait_used(TX, 8);
    driver.receive(64);
    driver.send(&header(REQUEST, 5, 9, 0), &[]);
    assert_eq!(driver.packet(0).0, RESET);
    driver.finish();
}

#[test]
fn a_ring_with_impossible_indices_is_left_alone_until_a_new_driver_comes() {
    let mut driver = Driver::start();
    driver.publish(TX, SIZE * 3);
    driver.settle();
    driver.offer(TX, 0);
    driver.settle();
    assert_eq!(driver.used(TX), 0);
    for ring in [RX, TX] {
        driver.frontend.get_vring_base(ring).unwrap();
        driver.mem.write_obj(0u32, GuestAddress(at(ring, 1))).unwrap();
        driver.mem.write_obj(0u32, GuestAddress(at(ring, 2))).unwrap();
        driver.next[ring] = 0;
        driver.start_ring(ring, 0);
    }
    driver.receive(64);
    driver.send(&header(REQUEST, 5, 9, 0), &[]);
    assert_eq!(driver.packet(0).0, RESET);
    driver.finish();
}

#[test]
fn a_new_driver_finds_no_old_connections() {
    let mut driver = Driver::start();
    let listener = std::os::unix::net::UnixListener::bind(driver.folder.path().join("v.sock_9")).unwrap();
    driver.receive(64);
    driver.send(&header(REQUEST, 5, 9, 0), &[]);
    assert_eq!(driver.packet(0).0, RESPONSE);
    let (mut old, _) = listener.accept().unwrap();
    for ring in [RX, TX] {
        driver.frontend.get_vring_base(ring).unwrap();
        driver.mem.write_obj(0u32, GuestAddress(at(ring, 1))).unwrap();
        driver.mem.write_obj(0u32, GuestAddress(at(ring, 2))).unwrap();
        driver.next[ring] = 0;
        driver.start_ring(ring, 0);
    }
    assert_eq!(old.read(&mut [0]).unwrap(), 0);
    driver.receive(64);
    driver.send(&header(REQUEST, 5, 9, 0), &[]);
    assert_eq!(driver.packet(0).0, RESPONSE);
    driver.finish();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn garbage_in_the_rings_never_stops_the_device(
        tables in prop::collection::vec(any::<u8>(), 16 * SIZE as usize),
        heads in prop::collection::vec(any::<u16>(), SIZE as usize),
        indices in prop::array::uniform2(any::<u16>()),
        packets in prop::collection::vec(any::<u8>(), 4096),
    ) {
        let driver = Driver::start();
        for ring in [RX, TX] {
            driver.mem.write_slice(&tables, GuestAddress(at(ring, 0))).unwrap();
            for (slot, head) in heads.iter().enumerate() {
                driver.mem.write_obj(*head, GuestAddress(at(ring, 1) + 4 + slot as u64 * 2)).unwrap();
            }
            driver.mem.write_slice(&packets, GuestAddress(Driver::buffer(ring, 0))).unwrap();
            driver.publish(ring, indices[ring] % (SIZE + 4));
        }
        driver.finish();
    }

    #[test]
    fn garbage_from_qemu_ends_the_device_and_nothing_else(bytes in prop::collection::vec(any::<u8>(), 1..300), code in 0u8..45) {
        let folder = tempfile::tempdir().unwrap();
        let backend = Backend::bind(3, folder.path().join("v.sock")).unwrap();
        let (ours, mut qemus) = UnixStream::pair().unwrap();
        let device = backend.serve(ours, Access::Shared).unwrap();
        // A likely message first: code, version 1, a size that fits; then anything.
        let mut message = vec![code, 0, 0, 0, 1, 0, 0, 0];
        message.extend((bytes.len() as u32).to_le_bytes());
        message.extend(&bytes);
        qemus.write_all(&message).unwrap();
        let _ = qemus.write_all(&bytes);
        drop(qemus);
        drop(device);
    }
}

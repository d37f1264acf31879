//! A guest's network in this process: frames as QEMU would send them, and a TCP client on top.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp::{Socket, SocketBuffer};
use smoltcp::time::Instant as StackInstant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr};

use super::PATIENCE;

pub(crate) const GUEST_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub(crate) const GUEST_IP: Ipv4Addr = Ipv4Addr::new(172, 16, 0, 2);

/// QEMU's end of a pumped interface.
pub(crate) struct Wire {
    stream: UnixStream,
    bytes: Vec<u8>,
}

impl Wire {
    pub(crate) fn new(stream: UnixStream) -> Self {
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self {
            stream,
            bytes: Vec::new(),
        }
    }

    pub(crate) fn stream(&self) -> &UnixStream {
        &self.stream
    }

    pub(crate) fn send(&mut self, frame: &[u8]) {
        let mut bytes = u32::try_from(frame.len()).unwrap().to_be_bytes().to_vec();
        bytes.extend(frame);
        self.stream.write_all(&bytes).unwrap();
    }

    /// The next frame, if one comes in this time.
    pub(crate) fn receive(&mut self, patience: Duration) -> Option<Vec<u8>> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some((length, rest)) = self.bytes.split_first_chunk::<4>() {
                let length = u32::from_be_bytes(*length) as usize;
                if let Some(frame) = rest.get(..length) {
                    let frame = frame.to_vec();
                    self.bytes.drain(..4 + length);
                    return Some(frame);
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            self.stream.set_read_timeout(Some(left)).unwrap();
            let mut buffer = [0; 65536];
            match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(count) => self.bytes.extend(&buffer[..count]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return None;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// An Ethernet frame from the guest.
pub(crate) fn frame(to: [u8; 6], kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = to.to_vec();
    frame.extend(GUEST_MAC);
    frame.extend(kind.to_be_bytes());
    frame.extend(payload);
    frame
}

/// An ARP request of the guest.
pub(crate) fn who_has(target: Ipv4Addr) -> Vec<u8> {
    let mut payload = vec![0, 1, 8, 0, 6, 4, 0, 1];
    payload.extend(GUEST_MAC);
    payload.extend(GUEST_IP.octets());
    payload.extend([0; 6]);
    payload.extend(target.octets());
    frame([0xff; 6], 0x0806, &payload)
}

/// The guest's TCP/IP.
pub(crate) struct Client {
    wire: Wire,
    interface: Interface,
    sockets: SocketSet<'static>,
    frames: Frames,
    start: Instant,
    next_port: u16,
}

impl Client {
    pub(crate) fn new(wire: Wire) -> Self {
        let mut frames = Frames::default();
        let config = Config::new(HardwareAddress::Ethernet(EthernetAddress(GUEST_MAC)));
        let mut interface = Interface::new(config, &mut frames, StackInstant::ZERO);
        interface.update_ip_addrs(|addresses| addresses.push(IpCidr::new(GUEST_IP.into(), 0)).unwrap());
        let sockets = SocketSet::new(Vec::new());
        Self {
            wire,
            interface,
            sockets,
            frames,
            start: Instant::now(),
            next_port: 40_000,
        }
    }

    pub(crate) fn connect(&mut self, to: Ipv4Addr) -> SocketHandle {
        let buffer = || SocketBuffer::new(vec![0; 16 * 1024]);
        let mut socket = Socket::new(buffer(), buffer());
        self.next_port += 1;
        socket
            .connect(self.interface.context(), (to, 80), self.next_port)
            .unwrap();
        let handle = self.sockets.add(socket);
        self.until(|sockets| sockets.get::<Socket<'_>>(handle).may_send().then_some(()));
        handle
    }

    pub(crate) fn send(&mut self, handle: SocketHandle, bytes: &[u8]) {
        assert_eq!(
            self.sockets.get_mut::<Socket<'_>>(handle).send_slice(bytes),
            Ok(bytes.len())
        );
    }

    /// One response: head and body.
    pub(crate) fn response(&mut self, handle: SocketHandle) -> (String, String) {
        let mut text = String::new();
        self.until(|sockets| {
            let socket = sockets.get_mut::<Socket<'_>>(handle);
            while socket.can_recv() {
                text += &socket
                    .recv(|bytes| (bytes.len(), String::from_utf8_lossy(bytes).into_owned()))
                    .unwrap();
            }
            let (head, body) = text.split_once("\r\n\r\n")?;
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("Content-Length: "))?;
            (body.len() == length.parse::<usize>().unwrap()).then(|| (head.to_owned(), body.to_owned()))
        })
    }

    /// Asks and reads the answer on a connection of its own, and closes it.
    pub(crate) fn ask(&mut self, to: Ipv4Addr, request: &str) -> (String, String) {
        let handle = self.connect(to);
        self.send(handle, request.as_bytes());
        let answer = self.response(handle);
        self.close(handle);
        answer
    }

    /// Ends our side and waits for the other's end.
    pub(crate) fn close(&mut self, handle: SocketHandle) {
        self.sockets.get_mut::<Socket<'_>>(handle).close();
        self.wait_for_end(handle);
        self.sockets.remove(handle);
    }

    /// Waits until the other side has ended the connection.
    pub(crate) fn wait_for_end(&mut self, handle: SocketHandle) {
        self.until(|sockets| (!sockets.get::<Socket<'_>>(handle).may_recv()).then_some(()));
    }

    fn until<T>(&mut self, mut done: impl FnMut(&mut SocketSet<'static>) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let time = StackInstant::from_millis(i64::try_from(self.start.elapsed().as_millis()).unwrap());
            self.interface.poll(time, &mut self.frames, &mut self.sockets);
            for frame in self.frames.sent.drain(..) {
                self.wire.send(&frame);
            }
            if let Some(result) = done(&mut self.sockets) {
                return result;
            }
            assert!(Instant::now() < deadline, "the service does not answer");
            let pause = self.interface.poll_delay(time, &self.sockets);
            let pause = pause.map_or(Duration::from_secs(1), Duration::from);
            self.frames
                .received
                .extend(self.wire.receive(pause.max(Duration::from_millis(1))));
        }
    }
}

#[derive(Default)]
struct Frames {
    received: VecDeque<Vec<u8>>,
    sent: Vec<Vec<u8>>,
}

struct Rx(Vec<u8>);
struct Tx<'a>(&'a mut Vec<Vec<u8>>);

impl Device for Frames {
    type RxToken<'a> = Rx;
    type TxToken<'a> = Tx<'a>;

    fn receive(&mut self, _: StackInstant) -> Option<(Rx, Tx<'_>)> {
        Some((Rx(self.received.pop_front()?), Tx(&mut self.sent)))
    }

    fn transmit(&mut self, _: StackInstant) -> Option<Tx<'_>> {
        Some(Tx(&mut self.sent))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        capabilities
    }
}

impl RxToken for Rx {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

impl TxToken for Tx<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, write: F) -> R {
        let mut frame = vec![0; len];
        let result = write(&mut frame);
        self.0.push(frame);
        result
    }
}

//! A guest reached over the vsock device under test.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::thread;

use sparkler::vsock::{Access, Backend, Device};

use super::{PATIENCE, Vm};

// The agent's services.
pub(crate) const ECHO: u32 = 7;
pub(crate) const SINK: u32 = 9;
pub(crate) const JOIN: u32 = 11;
pub(crate) const CROWD: u32 = 13;
pub(crate) const SOURCE: u32 = 19;
pub(crate) const SHELL: u32 = 21;

/// A guest with a vsock device, and where the host meets it.
pub(crate) struct Guest {
    pub(crate) vm: Vm,
    pub(crate) device: Option<Device>,
    pub(crate) uds_path: PathBuf,
    _folder: tempfile::TempDir,
}

impl Guest {
    pub(crate) fn start() -> Self {
        Self::start_with(None)
    }

    /// A guest that has a network interface too; `net` is QEMU's end of it.
    pub(crate) fn start_with(net: Option<OwnedFd>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let uds_path = folder.path().join("v.sock");
        let backend = Backend::bind(3, &uds_path).unwrap();
        let (ours, qemus) = UnixStream::pair().unwrap();
        let device = Some(backend.serve(ours, Access::Shared).unwrap());
        let mut arguments = vec!["-chardev", "socket,id=vsock,fd=0"];
        arguments.extend(["-device", "vhost-user-vsock-device,chardev=vsock"]);
        if net.is_some() {
            arguments.extend(["-netdev", "stream,id=net,addr.type=fd,addr.str=1"]);
            arguments.extend(["-device", "virtio-net-device,netdev=net,mac=06:00:ac:10:00:02"]);
        }
        let vm = Vm::start(qemus.into(), net, &arguments);
        Self {
            vm,
            device,
            uds_path,
            _folder: folder,
        }
    }

    /// What a command of the guest's busybox says, standard error included.
    pub(crate) fn run(&self, command: &str) -> String {
        let mut stream = self.connect(SHELL);
        writeln!(stream, "{command}").unwrap();
        let mut output = String::new();
        stream.read_to_string(&mut output).unwrap();
        output
    }

    /// A stream to a port of the guest, greeting done.
    pub(crate) fn connect(&self, port: u32) -> UnixStream {
        self.try_connect(port).expect("the guest refused")
    }

    pub(crate) fn try_connect(&self, port: u32) -> Option<UnixStream> {
        let mut stream = UnixStream::connect(&self.uds_path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        writeln!(stream, "CONNECT {port}").unwrap();
        let answer = line(&stream);
        if answer.is_empty() {
            return None;
        }
        let host_port: u32 = answer.strip_prefix("OK ").expect("an OK").parse().unwrap();
        assert!((1 << 30..1 << 31).contains(&host_port));
        Some(stream)
    }

    pub(crate) fn listen(&self, port: u32) -> UnixListener {
        let mut path = self.uds_path.clone().into_os_string();
        path.push(format!("_{port}"));
        UnixListener::bind(path).unwrap()
    }
}

/// A line without its end, one byte at a time so that nothing after it is taken.
pub(crate) fn line(mut stream: &UnixStream) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    while stream.read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
        line.push(byte[0]);
    }
    String::from_utf8(line).unwrap()
}

/// Bytes without a pattern, the same each time.
pub(crate) fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state.to_le_bytes()[0]
        })
        .collect()
}

/// Sends all of `bytes`, then ends that direction, while reading what comes back to its end.
pub(crate) fn exchange(stream: &UnixStream, bytes: &[u8]) -> Vec<u8> {
    thread::scope(|scope| {
        scope.spawn(|| {
            (&*stream).write_all(bytes).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
        });
        let mut back = Vec::new();
        (&*stream).read_to_end(&mut back).unwrap();
        back
    })
}

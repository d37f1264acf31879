//! One guest, its host's end of the boot dialogue, and its console.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use guest_protocol::frame::{self, Decoder};
use guest_protocol::{
    Config, Entrypoint, Exit, GuestMessage, HostMessage, Interface, Ready, Renewal, Root, VERSION,
};
use images::Task;
use images::bundle::{Bundle, KernelStore, Source};
use rustix::event::{PollFd, PollFlags, Timespec};
use serde_json::json;
use testkit::Sandbox;

/// Long enough for an emulated guest on a host with other work.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

/// What a guest is made of.
pub(crate) struct Plan {
    pub(crate) config: Config,
    /// Files and whether they are read-only, in the order of their names in the guest.
    pub(crate) disks: Vec<(PathBuf, bool)>,
    pub(crate) boot_args: &'static str,
}

impl Plan {
    /// A guest with the built-in image as a read-only base below a fresh disk of its own, in which `script` runs.
    pub(crate) fn overlay(sandbox: &Sandbox, script: &str) -> Self {
        let upper = sandbox.path().join("upper.ext4");
        images::overlay::create_overlay(&store(), &upper, 256 << 20, &Task::new()).unwrap();
        let root = json!({
            "kind": "overlay",
            "base": { "device": "vda", "filesystem": "ext4", "read_only": true },
            "upper": { "device": "vdb", "filesystem": "ext4" },
        });
        let disks = vec![(builtin(), true), (upper, false)];
        Self {
            disks,
            ..Self::new(serde_json::from_value(root).unwrap(), script)
        }
    }

    /// A guest whose only disk is `file`.
    pub(crate) fn disk(file: PathBuf, read_only: bool, script: &str) -> Self {
        let root = json!({
            "kind": "disk",
            "disk": { "device": "vda", "filesystem": "ext4", "read_only": read_only },
        });
        Self {
            disks: vec![(file, read_only)],
            ..Self::new(serde_json::from_value(root).unwrap(), script)
        }
    }

    /// A guest without disks. An empty `script` stands for no entrypoint.
    pub(crate) fn new(root: Root, script: &str) -> Self {
        let entrypoint = Entrypoint {
            argv: ["/bin/sh", "-c", script].map(Into::into).into(),
            user: String::new(),
            workdir: String::new(),
            stop_signal: String::new(),
        };
        let config = Config {
            version: VERSION,
            hostname: "box".into(),
            host_key: host_key(),
            authorized_keys: Vec::new(),
            user_keys: true,
            clock_ns: 1_700_000_000_000_000_000,
            entropy: "5a".repeat(64),
            root,
            network: None,
            entrypoint: (!script.is_empty()).then_some(entrypoint),
            init: guest_protocol::Init::Powerunit,
            stop_grace_ms: 10_000,
            env: BTreeMap::new(),
            read_only: false,
            volumes: Vec::new(),
            health: None,
        };
        Self {
            config,
            disks: Vec::new(),
            boot_args: "",
        }
    }

    pub(crate) fn entrypoint(&mut self) -> &mut Entrypoint {
        self.config.entrypoint.as_mut().unwrap()
    }
}

/// A running guest. Dropping it ends it.
pub(crate) struct Guest {
    folder: PathBuf,
    sparkler: Child,
    messages: Receiver<GuestMessage>,
    listener: UnixListener,
    host: Option<JoinHandle<()>>,
}

impl Guest {
    /// Starts a guest and gives it its config as soon as it asks.
    pub(crate) fn start(sandbox: &Sandbox, plan: &Plan) -> Self {
        let config = plan.config.clone();
        Self::start_with(sandbox, plan, move |_| Answer::Config(Box::new(config.clone())))
    }

    /// Starts a guest whose every hello, counted from 0, is answered by `answer`.
    pub(crate) fn start_with(
        sandbox: &Sandbox,
        plan: &Plan,
        answer: impl FnMut(usize) -> Answer + Send + 'static,
    ) -> Self {
        let folder = sandbox.path().join("vm");
        std::fs::create_dir_all(&folder).unwrap();
        let listener = UnixListener::bind(folder.join("vsock.sock_1024")).unwrap();
        let (sender, messages) = channel();
        let host = std::thread::spawn({
            let listener = listener.try_clone().unwrap();
            move || host(&listener, &sender, answer)
        });
        let console = std::fs::File::create(folder.join("console")).unwrap();
        let sparkler = sandbox
            .command(testkit::sparkler())
            .arg("--api-sock")
            .arg(folder.join("api.sock"))
            .arg("--config-file")
            .arg(vm_file(&folder, plan))
            .arg("--log-path")
            .arg(folder.join("log"))
            .stdin(Stdio::null())
            .stdout(console)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            folder,
            sparkler,
            messages,
            listener,
            host: Some(host),
        }
    }

    /// The next message that `wanted` recognises.
    pub(crate) fn wait<T>(&mut self, mut wanted: impl FnMut(&GuestMessage) -> Option<T>) -> T {
        let start = Instant::now();
        while let Ok(message) = self
            .messages
            .recv_timeout(PATIENCE.saturating_sub(start.elapsed()))
        {
            if let Some(found) = wanted(&message) {
                return found;
            }
        }
        panic!(
            "the guest does not say it. Its console:\n{}\n{}",
            self.console(),
            self.log()
        );
    }

    pub(crate) fn ready(&mut self) -> Ready {
        self.wait(|message| match message {
            GuestMessage::Ready(ready) => Some(ready.clone()),
            _ => None,
        })
    }

    pub(crate) fn exited(&mut self) -> Exit {
        self.wait(|message| match message {
            GuestMessage::Exited(exit) => Some(exit.clone()),
            _ => None,
        })
    }

    /// Waits until the guest has come so far.
    pub(crate) fn phase(&mut self, wanted: &str) {
        self.wait(|message| match message {
            GuestMessage::Phase { name, .. } => (name == wanted).then_some(()),
            _ => None,
        });
    }

    /// Presses the keys, as the VMM's API has it.
    pub(crate) fn ctrl_alt_del(&self) {
        let mut api = UnixStream::connect(self.folder.join("api.sock")).unwrap();
        let body = r#"{"action_type":"SendCtrlAltDel"}"#;
        let request = format!(
            "PUT /actions HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        api.write_all(request.as_bytes()).unwrap();
        let mut status = [0; 12];
        api.read_exact(&mut status).unwrap();
        assert_eq!(&status, b"HTTP/1.1 204");
    }

    /// The step that failed, and why.
    pub(crate) fn failed(&mut self) -> (String, String) {
        self.wait(|message| match message {
            GuestMessage::Failed { step, message } => Some((step.clone(), message.clone())),
            _ => None,
        })
    }

    /// Waits until the machine is off; gives all that its console showed.
    pub(crate) fn off(mut self) -> String {
        let ended = self.ended();
        let patience = Timespec {
            tv_sec: PATIENCE.as_secs().cast_signed(),
            tv_nsec: 0,
        };
        let ready = rustix::event::poll(&mut [PollFd::new(&ended, PollFlags::IN)], Some(&patience)).unwrap();
        assert_eq!(ready, 1, "the machine stays on. Its console:\n{}", self.console());
        assert!(self.sparkler.wait().unwrap().success(), "{}", self.log());
        self.console()
    }

    /// Where its sockets are.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Waits until the console shows that text.
    pub(crate) fn console_when(&self, wanted: &str) {
        let start = Instant::now();
        let ended = self.ended();
        // Nothing announces a console's text: it is looked at until the machine goes off.
        let look_again = Timespec {
            tv_sec: 0,
            tv_nsec: 50_000_000,
        };
        while !self.console().contains(wanted) {
            let off =
                rustix::event::poll(&mut [PollFd::new(&ended, PollFlags::IN)], Some(&look_again)).unwrap();
            assert!(off == 0 && start.elapsed() < PATIENCE, "{}", self.console());
        }
    }

    /// Readable when the machine is off.
    fn ended(&self) -> std::os::fd::OwnedFd {
        let pid = rustix::process::Pid::from_child(&self.sparkler);
        rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap()
    }

    pub(crate) fn console(&self) -> String {
        let bytes = std::fs::read(self.folder.join("console")).unwrap();
        String::from_utf8_lossy(&bytes).replace('\r', "")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// What the SSH server says first.
    pub(crate) fn ssh_banner(&self) -> String {
        let mut stream = UnixStream::connect(self.folder.join("vsock.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"CONNECT 22\n").unwrap();
        let (mut line, mut byte) = (Vec::new(), [0]);
        while line.iter().filter(|byte| **byte == b'\n').count() < 2 && stream.read(&mut byte).unwrap() == 1 {
            line.extend(byte);
        }
        String::from_utf8_lossy(&line)
            .lines()
            .nth(1)
            .unwrap_or_default()
            .trim()
            .into()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.sparkler.kill();
        let _ = self.sparkler.wait();
        // Ends the wait for another connection; the open ones ended with the guest.
        let _ = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both);
        let host = self.host.take().map(JoinHandle::join);
        assert!(
            matches!(host, Some(Ok(()))) || std::thread::panicking(),
            "the host's end panicked"
        );
    }
}

/// What the host does when it is asked.
pub(crate) enum Answer {
    Config(Box<Config>),
    /// As soon as the guest has settled.
    Later(Box<Config>),
    /// These interfaces are to be set up when the guest has settled, and the config comes when it has done so again.
    Prepare(Vec<Interface>, Box<Config>),
    HangUpLater,
    Renew(Box<Renewal>),
    /// With the wall clock set to that.
    Unchanged(u64),
    Refuse(&'static str),
    HangUp,
}

/// The host's end of the dialogues, until the test is over. Each connection lasts as long as the guest wants it to.
fn host(listener: &UnixListener, said: &Sender<GuestMessage>, answer: impl FnMut(usize) -> Answer + Send) {
    let answer = &Mutex::new(answer);
    std::thread::scope(|scope| {
        for (count, stream) in listener.incoming().map_while(Result::ok).enumerate() {
            scope.spawn(move || converse(stream, said, || answer.lock().unwrap()(count)));
        }
    });
}

/// One connection.
fn converse(mut stream: UnixStream, said: &Sender<GuestMessage>, mut answer: impl FnMut() -> Answer) {
    let (mut decoder, mut buffer) = (Decoder::default(), [0; 4096]);
    let mut answered = None;
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        decoder.push(&buffer[..length]);
        while let Some(message) = decoder.message::<GuestMessage>().unwrap() {
            let asks = matches!(message, GuestMessage::Hello(_));
            let settled = matches!(message, GuestMessage::Settled { .. });
            if said.send(message).is_err() {
                return;
            }
            if asks {
                answered = Some(answer());
            }
            let now = match &answered {
                Some(Answer::Later(_) | Answer::Prepare(..) | Answer::HangUpLater) => settled,
                _ => asks,
            };
            let reply = match answered.take_if(|_| now) {
                Some(Answer::Config(config) | Answer::Later(config)) => HostMessage::Config(config),
                Some(Answer::Prepare(interfaces, config)) => {
                    answered = Some(Answer::Later(config));
                    HostMessage::Prepare { interfaces }
                }
                Some(Answer::Refuse(reason)) => HostMessage::Refused {
                    reason: reason.into(),
                },
                Some(Answer::Renew(renewal)) => HostMessage::Renew(renewal),
                Some(Answer::Unchanged(clock_ns)) => HostMessage::Unchanged { clock_ns },
                Some(Answer::HangUp | Answer::HangUpLater) => return,
                None => continue,
            };
            // A guest that is ended meanwhile hears nothing any more.
            let _ = stream.write_all(&frame::encode(&reply).unwrap());
        }
    }
}

/// The machine as Firecracker's configuration file has it.
fn vm_file(folder: &Path, plan: &Plan) -> PathBuf {
    let bundle = kernel();
    let drives: Vec<_> = plan
        .disks
        .iter()
        .enumerate()
        .map(|(index, (path, read_only))| {
            json!({
                "drive_id": format!("disk{index}"),
                "path_on_host": path,
                "is_root_device": false,
                "is_read_only": read_only,
            })
        })
        .collect();
    let machine = json!({
        "boot-source": {
            "kernel_image_path": bundle.vmlinux(),
            "initrd_path": bundle.initrd(&testkit::powerunit()).unwrap(),
            "boot_args": format!("console=ttyS0 quiet loglevel=1 reboot=k panic=-1 {}", plan.boot_args),
        },
        "drives": drives,
        "machine-config": { "vcpu_count": 1, "mem_size_mib": 192 },
        "vsock": { "guest_cid": 3, "uds_path": folder.join("vsock.sock") },
    });
    let path = folder.join("vm.json");
    std::fs::write(&path, machine.to_string()).unwrap();
    path
}

/// What all guests of this suite share, kept between runs.
fn store() -> PathBuf {
    let store = testkit::target().join("powerunit-guests");
    std::fs::create_dir_all(&store).unwrap();
    std::fs::canonicalize(store).unwrap()
}

fn kernel() -> Bundle {
    static KERNEL: OnceLock<Bundle> = OnceLock::new();
    let import = || {
        let store = KernelStore::open(&store()).unwrap();
        let there = store.list().unwrap().into_iter().next();
        there.unwrap_or_else(|| {
            let package = Source::Package(testkit::kernel_package());
            store.import(&package, &Task::new()).unwrap().bundle
        })
    };
    KERNEL.get_or_init(import).clone()
}

/// The built-in image: never to be written to.
pub(crate) fn builtin() -> PathBuf {
    images::builtin::builtin_image(&store(), &Task::new())
        .unwrap()
        .path
}

/// A copy of the built-in image, changed by debugfs.
pub(crate) fn image(sandbox: &Sandbox, commands: &[&str]) -> PathBuf {
    let file = sandbox.path().join("image.ext4");
    std::fs::copy(builtin(), &file).unwrap();
    // It is meant to be shared: it forbids every kernel to write to it, and has no room.
    debugfs(&file, &["feature -read-only"]);
    images::rootfs::grow(&file, 32 << 20).unwrap();
    debugfs(&file, commands);
    file
}

/// As [`image`], with room for 128 MiB.
pub(crate) fn roomy(sandbox: &Sandbox, commands: &[&str]) -> PathBuf {
    let file = image(sandbox, &[]);
    images::rootfs::grow(&file, 128 << 20).unwrap();
    debugfs(&file, commands);
    file
}

/// A copy of a Debian with systemd, changed by debugfs.
pub(crate) fn systemd(sandbox: &Sandbox, commands: &[&str]) -> PathBuf {
    let file = sandbox.path().join("systemd.ext4");
    let copied = Command::new("cp")
        .arg("--sparse=always")
        .args([&testkit::debian(testkit::Debian::Systemd), &file])
        .status();
    assert!(copied.unwrap().success());
    debugfs(&file, commands);
    file
}

/// Runs debugfs(8), which writes to an ext4 file without a mount and without root.
pub(crate) fn debugfs(file: &Path, commands: &[&str]) -> String {
    let mut child = Command::new("debugfs")
        .args(["-w", "-f", "-"])
        .arg(file)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let script = commands.join("\n") + "\n";
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// An image that holds what `fill` puts into a folder; root's, whoever runs the tests.
pub(crate) fn tree(sandbox: &Sandbox, fill: impl FnOnce(&Path)) -> PathBuf {
    let (folder, file) = (sandbox.path().join("tree"), sandbox.path().join("tree.ext4"));
    std::fs::create_dir(&folder).unwrap();
    fill(&folder);
    let status = Command::new("mke2fs")
        .args(["-q", "-t", "ext4", "-E", "root_owner=0:0", "-d"])
        .arg(&folder)
        .arg(&file)
        .arg("32M")
        .status();
    assert!(status.unwrap().success());
    file
}

/// A disk with an empty file system.
pub(crate) fn blank(sandbox: &Sandbox, name: &str) -> PathBuf {
    let file = sandbox.path().join(name).with_extension("ext4");
    images::overlay::create_overlay(&store(), &file, 64 << 20, &Task::new()).unwrap();
    file
}

/// Whether the file system on a disk was unmounted in order, or made read-only.
pub(crate) fn journal_is_closed(disk: &Path) -> bool {
    let state = Command::new("dumpe2fs").arg("-h").arg(disk).output().unwrap();
    assert!(state.status.success());
    !String::from_utf8_lossy(&state.stdout).contains("needs_recovery")
}

/// A host key, made once.
fn host_key() -> String {
    static KEY: OnceLock<String> = OnceLock::new();
    KEY.get_or_init(|| make_key().0).clone()
}

/// A key pair: the private key's file and the public key's line.
pub(crate) fn make_key() -> (String, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(&file)
        .status();
    assert!(made.unwrap().success());
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    (read(&file), read(&file.with_extension("pub")))
}

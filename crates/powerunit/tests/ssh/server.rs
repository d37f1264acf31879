//! A server of this process, and what stock clients need to reach it.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use powerunit::listen::Listener;
use powerunit::machine::{Call, Handle, Root};
use powerunit::ssh::{Settings, serve};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};

/// The number of the tests' user, which only root can become: one that this machine's own programs know, too.
pub(crate) const ALICE: u32 = 65534;

/// A running server with its keys and accounts in a folder of its own. It ends with the test's process.
pub(crate) struct Server {
    pub folder: TempDir,
    pub port: u16,
    pub root: watch::Sender<Root>,
    /// What clients ask of the guest's init.
    pub calls: mpsc::Receiver<Call>,
    pub settings: watch::Sender<Arc<Settings>>,
}

/// Runs a command to its end and gives its standard output.
pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Must have ended well.
#[track_caller]
pub(crate) fn success(output: Output) -> Output {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{}: {text}", output.status);
    output
}

/// Makes a key pair at `path` and gives the public key's line.
pub(crate) fn keygen(path: &Path, kind: &str, bits: &str) -> String {
    let mut keygen = Command::new("ssh-keygen");
    let status = keygen
        .args(["-q", "-N", "", "-C", "test", "-t", kind, "-b", bits, "-f"])
        .arg(path)
        .status();
    assert!(status.unwrap().success());
    std::fs::read_to_string(path.with_extension("pub")).unwrap()
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

impl Server {
    /// With one key for all accounts, a root file system that is up, and limits as they are.
    pub(crate) fn start() -> Self {
        Self::start_with(|_| {})
    }

    /// The same after `change` of the settings.
    pub(crate) fn start_with(change: impl FnOnce(&mut Settings)) -> Self {
        Self::start_with_root(Root::Up, change)
    }

    /// The same with a root file system in that state.
    pub(crate) fn start_with_root(root: Root, change: impl FnOnce(&mut Settings)) -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
        keygen(&path.join("host"), "ed25519", "256");
        let public = keygen(&path.join("id"), "ed25519", "256");
        accounts(path);
        let host = std::fs::read_to_string(path.join("host")).unwrap();
        let mut settings = Settings::new(&host, &[public]).unwrap();
        settings.etc = path.join("etc");
        settings.sftp_server.0 = env!("CARGO_BIN_EXE_powerunit").into();
        change(&mut settings);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let host = std::fs::read_to_string(path.join("host.pub")).unwrap();
        std::fs::write(path.join("known_hosts"), format!("[127.0.0.1]:{port} {host}")).unwrap();
        let (root, seen) = watch::channel(root);
        let settings = watch::Sender::new(Arc::new(settings));
        let current = settings.subscribe();
        let (sender, calls) = mpsc::channel(8);
        let machine = Handle::new(seen, sender);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime
                .block_on(serve(vec![Listener::Tcp(listener)], current, machine))
                .unwrap();
        });
        Self {
            folder,
            port,
            root,
            calls,
            settings,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The account that commands run as: the made-up one where the tests may become it.
    pub(crate) fn user(&self) -> &'static str {
        if is_root() { "alice" } else { "me" }
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.path("home")
    }

    /// What every client is told: no configuration but this, and no keys but one.
    pub(crate) fn options(&self) -> Vec<String> {
        let path = |name: &str| self.path(name).display().to_string();
        vec![
            "-F".into(),
            "none".into(),
            "-i".into(),
            path("id"),
            format!("-oUserKnownHostsFile={}", path("known_hosts")),
            "-oStrictHostKeyChecking=yes".into(),
            "-oIdentitiesOnly=yes".into(),
            "-oBatchMode=yes".into(),
        ]
    }

    /// The options and the port as one string, for programs that start ssh themselves.
    pub(crate) fn ssh_line(&self) -> String {
        format!("ssh {} -p {}", self.options().join(" "), self.port)
    }

    /// `ssh` with more options before the host.
    pub(crate) fn ssh_with<A: AsRef<OsStr>>(&self, options: &[A]) -> Command {
        let mut command = Command::new("ssh");
        command
            .env_remove("SSH_AUTH_SOCK")
            .args(self.options())
            .args(["-p", &self.port.to_string()])
            .args(options)
            .arg(format!("{}@127.0.0.1", self.user()))
            .stdin(Stdio::null());
        command
    }

    /// `ssh`, to which the remote command is still to be added.
    pub(crate) fn ssh(&self) -> Command {
        self.ssh_with::<&str>(&[])
    }

    /// Runs a remote command, which must succeed, and gives its output.
    #[track_caller]
    pub(crate) fn run(&self, command: &str) -> String {
        stdout(&success(self.ssh().arg(command).output().unwrap()))
    }
}

impl Server {
    /// Reads a client's log until a line holds `wanted`, which is given; what comes later is read away.
    pub(crate) fn await_line(&self, log: impl Read + Send + 'static, wanted: &str) -> String {
        let mut lines = BufReader::new(log).lines();
        let mut seen = Vec::new();
        for line in lines.by_ref() {
            let line = line.unwrap();
            if line.contains(wanted) {
                std::thread::spawn(move || lines.for_each(drop));
                return line;
            }
            seen.push(line);
        }
        panic!("the client has ended without {wanted:?}:\n{}", seen.join("\n"));
    }
}

/// `etc` with root and the user, and the user's home.
fn accounts(path: &Path) {
    let etc = path.join("etc");
    let home = path.join("home");
    for folder in [&etc, &home] {
        std::fs::create_dir(folder).unwrap();
    }
    let own = rustix::process::geteuid().as_raw();
    let home_text = home.display();
    let passwd = format!(
        "root:x:0:0:root:{home_text}:/bin/sh\nalice:x:{ALICE}:{ALICE}::{home_text}:/bin/sh\nme:x:{own}:{own}::{home_text}:/bin/sh\n\
         guest:x:{ALICE}:{ALICE}::{home_text}:/usr/sbin/nologin\n"
    );
    std::fs::write(etc.join("passwd"), passwd).unwrap();
    std::fs::write(
        etc.join("group"),
        format!("tty:x:5:\nalice:x:{ALICE}:\nextra:x:4343:alice\n"),
    )
    .unwrap();
    std::fs::write(etc.join("environment"), "FROM_FILE=\"yes\"\n").unwrap();
    if is_root() {
        chown(&home, Some(ALICE), Some(ALICE)).unwrap();
    }
}

/// Sends `data` to the command, which is to send it all back while it comes.
pub(crate) fn echoes(command: &mut Command, data: &[u8]) {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut received = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(data).unwrap());
        child.stdout.take().unwrap().read_to_end(&mut received).unwrap();
    });
    assert!(child.wait().unwrap().success());
    let (came, sent) = (received.len(), data.len());
    assert!(received == data, "{came} of {sent} bytes came back");
}

/// `length` bytes that no compression or repetition hides a fault in.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

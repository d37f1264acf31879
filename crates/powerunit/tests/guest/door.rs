//! The way into a guest: its SSH server over vsock, for a stock client on this machine's loopback.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;

use guest_protocol::control::{Reply, Request, Status};
use guest_protocol::exec::Exec;

use crate::guest::{PATIENCE, Plan, make_key};

/// A port of this machine that leads to a guest's SSH server, and the key that opens it. Closed when dropped.
pub(crate) struct Door {
    listener: TcpListener,
    port: u16,
    key: PathBuf,
}

/// The client's key: private and public.
fn key() -> &'static (String, String) {
    static KEY: OnceLock<(String, String)> = OnceLock::new();
    KEY.get_or_init(make_key)
}

/// Lets the key of every [`Door`] in.
pub(crate) fn with_key(mut plan: Plan) -> Plan {
    plan.config.authorized_keys.push(key().1.clone());
    plan
}

impl Door {
    /// To the guest whose files are in `folder`.
    pub(crate) fn open(folder: &Path) -> Self {
        Self::open_with(folder, "key", &key().0)
    }

    /// The same with another private key, for which a file of that name is made.
    pub(crate) fn open_with(folder: &Path, name: &str, key: &str) -> Self {
        let file = folder.join(name);
        std::fs::write(&file, key).unwrap();
        rustix::fs::chmod(&file, rustix::fs::Mode::RUSR).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (accepting, vsock) = (listener.try_clone().unwrap(), folder.join("vsock.sock"));
        std::thread::spawn(move || {
            for client in accepting.incoming().map_while(Result::ok) {
                let vsock = vsock.clone();
                std::thread::spawn(move || connect(&client, &vsock));
            }
        });
        Self {
            listener,
            port,
            key: file,
        }
    }

    /// `ssh` to root of the guest with more options; what it is to run is still to be added.
    pub(crate) fn ssh(&self, options: &[&str]) -> Command {
        let mut ssh = Command::new("ssh");
        ssh.env_remove("SSH_AUTH_SOCK")
            .args([
                "-F",
                "none",
                "-oUserKnownHostsFile=/dev/null",
                "-oStrictHostKeyChecking=no",
            ])
            .args([
                "-oLogLevel=ERROR",
                "-oIdentitiesOnly=yes",
                "-oBatchMode=yes",
                "-p",
                &self.port.to_string(),
                "-i",
            ])
            .arg(&self.key)
            .args(options)
            .arg("root@127.0.0.1")
            .stdin(Stdio::null());
        ssh
    }

    /// Runs `sftp` with a batch of commands.
    pub(crate) fn sftp(&self, batch: &Path) -> Output {
        let mut sftp = Command::new("sftp");
        sftp.env_remove("SSH_AUTH_SOCK")
            .args([
                "-F",
                "none",
                "-oUserKnownHostsFile=/dev/null",
                "-oStrictHostKeyChecking=no",
            ])
            .args(["-oIdentitiesOnly=yes", "-P", &self.port.to_string(), "-i"])
            .arg(&self.key)
            .arg("-b")
            .arg(batch)
            .arg("root@127.0.0.1");
        sftp.output().unwrap()
    }

    /// Runs a command line.
    pub(crate) fn run(&self, command: &str) -> Output {
        self.ssh(&[]).arg(command).output().unwrap()
    }

    /// Runs a program as the image's own would be.
    pub(crate) fn exec(&self, exec: &Exec) -> Output {
        self.ssh(&["-s"]).arg(exec.subsystem().unwrap()).output().unwrap()
    }

    pub(crate) fn status(&self) -> Status {
        self.control().status()
    }

    /// A conversation with the guest's init.
    pub(crate) fn control(&self) -> Control {
        let ssh = self
            .ssh(&["-s"])
            .arg(guest_protocol::CONTROL_SUBSYSTEM)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut ssh = ssh.unwrap();
        let answers = BufReader::new(ssh.stdout.take().unwrap());
        Control { ssh, answers }
    }

    /// The host key that the guest shows: what stands behind its type in a `.pub` file.
    pub(crate) fn host_key(&self) -> String {
        let scan = Command::new("ssh-keyscan")
            .args([
                "-T",
                "60",
                "-t",
                "ed25519",
                "-p",
                &self.port.to_string(),
                "127.0.0.1",
            ])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&scan.stdout).into_owned();
        text.split_whitespace().last().unwrap_or_default().to_owned()
    }

    /// The guest's status as soon as `wanted` says so.
    pub(crate) fn status_when(&self, wanted: impl Fn(&Status) -> bool) -> Status {
        let start = std::time::Instant::now();
        loop {
            let status = self.status();
            if wanted(&status) {
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "{status:?}");
        }
    }
}

/// The control subsystem, over a connection of its own that breaks when this is dropped.
pub(crate) struct Control {
    ssh: Child,
    answers: BufReader<std::process::ChildStdout>,
}

impl Control {
    pub(crate) fn ask(&mut self, request: &Request) -> Reply {
        let line = serde_json::to_string(request).unwrap() + "\n";
        self.ssh
            .stdin
            .as_mut()
            .unwrap()
            .write_all(line.as_bytes())
            .unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        serde_json::from_str(&answer).unwrap_or_else(|e| panic!("{answer:?}: {e}"))
    }

    pub(crate) fn status(&mut self) -> Status {
        match self.ask(&Request::Status) {
            Reply::Status(status) => status,
            other => panic!("{other:?}"),
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = self.ssh.kill();
        let _ = self.ssh.wait();
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        let _ = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both);
    }
}

/// Joins a client and the guest's port 22, to the end of both.
fn connect(client: &TcpStream, vsock: &Path) {
    let Ok(mut guest) = UnixStream::connect(vsock) else {
        return;
    };
    let mut answer = Vec::new();
    let asked = guest.write_all(b"CONNECT 22\n");
    let mut byte = [0];
    while asked.is_ok() && !answer.ends_with(b"\n") && guest.read(&mut byte).is_ok_and(|length| length == 1) {
        answer.extend(byte);
    }
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _ = std::io::copy(&mut &*client, &mut &guest);
            let _ = guest.shutdown(Shutdown::Write);
        });
        let _ = std::io::copy(&mut &guest, &mut &*client);
        let _ = client.shutdown(Shutdown::Both);
    });
}

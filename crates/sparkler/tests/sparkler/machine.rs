//! A sparkler under test.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use testkit::Sandbox;

use super::guest;
use super::http;

/// Long enough for an emulated guest on a host with other work.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);

/// Arguments with which the test guests boot fast.
pub(crate) const BOOT_ARGS: &str = "console=ttyS0 quiet loglevel=1 reboot=k panic=-1 cryptomgr.notests random.trust_cpu=on i8042.noaux i8042.nomux i8042.dumbkbd";

/// A running sparkler in a sandbox. Dropping it kills the process, and fails the test if anything is left.
pub(crate) struct Machine {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    /// Everything on standard output so far.
    pub(crate) output: String,
    commands: u32,
    // Last, since its drop looks for what the others left.
    pub(crate) sandbox: Sandbox,
}

impl Machine {
    /// Starts sparkler and waits until it listens.
    pub(crate) fn start(args: &[&str]) -> Self {
        let sandbox = Sandbox::new();
        let program = sandbox.command(env!("CARGO_BIN_EXE_sparkler"));
        let mut machine = Self::spawn(sandbox, program, args, true);
        machine.wait_for("Listening on API socket");
        machine
    }

    /// Starts sparkler with another program in QEMU's place.
    pub(crate) fn with_qemu(script: &str) -> Self {
        use std::os::unix::fs::PermissionsExt;
        let sandbox = Sandbox::new();
        let qemu = sandbox.path().join("qemu");
        std::fs::write(&qemu, script).unwrap();
        std::fs::set_permissions(&qemu, std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut program = sandbox.command(env!("CARGO_BIN_EXE_sparkler"));
        program.env("QEMU", qemu);
        let mut machine = Self::spawn(sandbox, program, &[], true);
        machine.wait_for("Listening on API socket");
        machine
    }

    /// Starts sparkler with a machine that is described in a file.
    pub(crate) fn from_config(config: &Value, args: &[&str]) -> Self {
        let sandbox = Sandbox::new();
        let file = sandbox.path().join("config.json");
        std::fs::write(&file, config.to_string()).unwrap();
        let args: Vec<&str> = [&["--config-file", file.to_str().unwrap()], args].concat();
        let api = !args.contains(&"--no-api");
        let program = sandbox.command(env!("CARGO_BIN_EXE_sparkler"));
        Self::spawn(sandbox, program, &args, api)
    }

    /// Starts sparkler in a network namespace of its own, where the host is 172.16.0.1 at the TAP `tap0`.
    pub(crate) fn in_namespace(args: &[&str]) -> Self {
        let sandbox = Sandbox::new();
        let mut program = sandbox.command("unshare");
        let script = "ip tuntap add tap0 mode tap && ip addr add 172.16.0.1/24 dev tap0 && ip link set tap0 up && exec \"$@\"";
        program.args(["--user", "--map-root-user", "--net", "sh", "-c", script, "sh"]);
        program.arg(env!("CARGO_BIN_EXE_sparkler"));
        let mut machine = Self::spawn(sandbox, program, args, true);
        machine.wait_for("Listening on API socket");
        machine
    }

    /// Starts one whose standard output is a file: nothing of it is seen here.
    pub(crate) fn start_into(file: std::fs::File, args: &[&str]) -> Self {
        let sandbox = Sandbox::new();
        let command = sandbox.command(env!("CARGO_BIN_EXE_sparkler"));
        let machine = Self::spawn_into(sandbox, command, args, true, file.into());
        while std::os::unix::net::UnixStream::connect(machine.socket()).is_err() {
            std::thread::yield_now();
        }
        machine
    }

    fn spawn(sandbox: Sandbox, command: Command, args: &[&str], api: bool) -> Self {
        Self::spawn_into(sandbox, command, args, api, Stdio::piped())
    }

    fn spawn_into(sandbox: Sandbox, mut command: Command, args: &[&str], api: bool, stdout: Stdio) -> Self {
        if api {
            command.arg("--api-sock").arg(sandbox.path().join("api.sock"));
        }
        let mut child = command
            .args(args)
            .stdin(Stdio::piped())
            .stdout(stdout)
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let stdout: Box<dyn std::io::Read + Send> = match child.stdout.take() {
            Some(stdout) => Box::new(stdout),
            None => Box::new(std::io::empty()),
        };
        let stdout = BufReader::new(stdout);
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in stdout.split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).trim_end().to_owned();
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        let stdin = child.stdin.take();
        Self {
            child,
            stdin,
            lines,
            output: String::new(),
            commands: 0,
            sandbox,
        }
    }

    /// The API's socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.sandbox.path().join("api.sock")
    }

    /// A file in the sandbox.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.sandbox.path().join(name)
    }

    /// A file in the sandbox with these contents.
    pub(crate) fn file(&self, name: &str, contents: &[u8]) -> String {
        let path = self.path(name);
        std::fs::write(&path, contents).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Asks the API.
    pub(crate) fn get(&self, path: &str) -> Value {
        let (status, body) = http::call(&self.socket(), "GET", path, None);
        assert_eq!(status, 200, "GET {path}: {body}");
        body
    }

    /// Tells the API, which must take it.
    pub(crate) fn put(&self, path: &str, body: &Value) {
        let answer = http::call(&self.socket(), "PUT", path, Some(body));
        assert_eq!(answer, (204, Value::Null), "PUT {path} {body}");
    }

    /// Changes something, which the API must take.
    pub(crate) fn patch(&self, path: &str, body: &Value) {
        let answer = http::call(&self.socket(), "PATCH", path, Some(body));
        assert_eq!(answer, (204, Value::Null), "PATCH {path} {body}");
    }

    /// Asks for something that must be refused with status 400; returns the words.
    pub(crate) fn refused(&self, method: &str, path: &str, body: &Value) -> String {
        let body = (!body.is_null()).then_some(body);
        let (status, answer) = http::call(&self.socket(), method, path, body);
        assert_eq!(status, 400, "{method} {path}: {answer}");
        answer["fault_message"].as_str().unwrap().to_owned()
    }

    /// Configures the test guest's kernel with these arguments.
    pub(crate) fn boot_source(&self, args: &str) {
        let boot = guest::boot();
        self.put(
            "/boot-source",
            &json!({ "kernel_image_path": boot.vmlinux, "initrd_path": boot.initrd, "boot_args": args }),
        );
    }

    /// Starts what is configured and waits until the guest takes commands.
    pub(crate) fn go(&mut self) {
        self.action("InstanceStart");
        self.wait_for("guest: ready");
    }

    /// A guest that takes commands.
    pub(crate) fn booted(args: &[&str]) -> Self {
        let mut machine = Self::start(args);
        machine.boot_source(BOOT_ARGS);
        machine.go();
        machine
    }

    /// `PUT /actions`
    pub(crate) fn action(&self, action: &str) {
        self.put("/actions", &json!({ "action_type": action }));
    }

    /// Waits for a line of the output that contains `text`, and returns it.
    pub(crate) fn wait_for(&mut self, text: &str) -> String {
        let start = Instant::now();
        loop {
            let left = PATIENCE.saturating_sub(start.elapsed());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("no {text:?} in the output:\n{}", self.output);
            };
            self.output += &line;
            self.output += "\n";
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Types a line.
    pub(crate) fn type_line(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().unwrap();
        writeln!(stdin, "{line}").unwrap();
    }

    /// Runs a command in the guest: its output and exit code.
    pub(crate) fn run(&mut self, command: &str) -> (String, i32) {
        self.commands += 1;
        let number = self.commands;
        self.type_line(command);
        self.wait_for(&format!("guest: begin {number}"));
        let mark = self.output.len();
        let end = self.wait_for(&format!("guest: end {number} "));
        let output = self.output[mark..]
            .strip_suffix(&format!("{end}\n"))
            .unwrap()
            .trim_end()
            .to_owned();
        (output, end.rsplit(' ').next().unwrap().parse().unwrap())
    }

    /// Runs a command in the guest that must succeed; its output.
    pub(crate) fn sh(&mut self, command: &str) -> String {
        let (output, code) = self.run(command);
        assert_eq!(code, 0, "{command}: {output}");
        output
    }

    /// How many commands the guest has run.
    pub(crate) fn commands(&self) -> u32 {
        self.commands
    }

    /// From here on the guest is another's, that had run so many commands.
    pub(crate) fn go_on_after(&mut self, commands: u32) {
        self.commands = commands;
    }

    /// Waits until sparkler has ended and everything it wrote is in `output`.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            match self.lines.recv_timeout(PATIENCE.saturating_sub(start.elapsed())) {
                Ok(line) => {
                    self.output += &line;
                    self.output += "\n";
                }
                Err(RecvTimeoutError::Disconnected) => return self.child.wait().unwrap(),
                Err(RecvTimeoutError::Timeout) => panic!("sparkler goes on:\n{}", self.output),
            }
        }
    }

    /// Waits until sparkler has ended by itself.
    pub(crate) fn exit_code(&mut self) -> i32 {
        let status = self.wait();
        assert_eq!(status.signal(), None, "{}", self.output);
        status.code().unwrap()
    }

    /// Sends sparkler a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(pid(self.child.id()), signal).unwrap();
    }

    /// QEMU's process id.
    pub(crate) fn qemu(&self) -> Pid {
        let id = self.child.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
        pid(children
            .split_whitespace()
            .next()
            .expect("QEMU runs")
            .parse()
            .unwrap())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn pid(id: u32) -> Pid {
    Pid::from_raw(id.cast_signed()).unwrap()
}

/// Whether a file is there.
pub(crate) fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

//! One user's view of a host: folders, a kernel, the command.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};

use serde_json::Value;
use testkit::{ORDINARY_USER, PATIENCE, Ran, Sandbox, give_away, is_root};

/// The words of a start that every test wants: little memory, in the background.
pub(crate) const SMALL: [&str; 3] = ["--detach", "--memory", "128M"];

/// A host with a kernel, for one user.
pub(crate) struct World {
    pub(crate) sandbox: Sandbox,
    /// What stands before every command line.
    prefix: Vec<OsString>,
    /// The folder of copies of the programs, for a user who may not see the originals.
    programs: Option<PathBuf>,
}

impl World {
    /// For whoever runs the tests.
    pub(crate) fn new() -> Self {
        let world = Self::without_kernel();
        testkit::import_kernel(&world.sandbox);
        world
    }

    pub(crate) fn without_kernel() -> Self {
        Self {
            sandbox: Sandbox::new(),
            prefix: Vec::new(),
            programs: None,
        }
    }

    /// For an ordinary user: an id of its own where the tests run as root.
    pub(crate) fn of_ordinary_user() -> Self {
        let mut world = Self::new();
        if !is_root() {
            return world;
        }
        let programs = world.sandbox.path().join("bin");
        std::fs::create_dir(&programs).unwrap();
        for program in [
            testkit::knaller(),
            testkit::sparkler(),
            testkit::netns_helper(),
            testkit::powerunit(),
        ] {
            std::fs::copy(&program, programs.join(program.file_name().unwrap())).unwrap();
        }
        world.programs = Some(programs);
        give_away(world.sandbox.path());
        let id = ORDINARY_USER.to_string();
        world.prefix = ["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups"]
            .map(OsString::from)
            .to_vec();
        world
    }

    /// Has every command run by another, whose own words these are.
    pub(crate) fn through<S: Into<OsString>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        let mut prefix: Vec<OsString> = words.into_iter().map(Into::into).collect();
        prefix.append(&mut self.prefix);
        self.prefix = prefix;
        self
    }

    /// As [`Self::through`], but it is the user who runs the other.
    pub(crate) fn inside<S: Into<OsString>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.prefix.extend(words.into_iter().map(Into::into));
        self
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let plain = self.sandbox.knaller(words);
        let program = match &self.programs {
            None => plain.get_program().to_owned(),
            Some(folder) => folder.join("knaller").into(),
        };
        let mut line = self.prefix.iter().cloned().chain([program]);
        let mut command = self.sandbox.command(line.next().unwrap());
        command.args(line).args(words);
        for (name, value) in plain.get_envs() {
            if let Some(value) = value {
                command.env(name, value);
            }
        }
        if let Some(folder) = &self.programs {
            for (variable, program) in [
                ("KNALLER_POWERUNIT", "powerunit"),
                ("KNALLER_NETNS", "knaller-netns"),
                ("SPARKLER", "sparkler"),
            ] {
                command.env(variable, folder.join(program));
            }
        }
        command
    }

    pub(crate) fn run(&self, words: &[&str]) -> Ran {
        testkit::run(&mut self.command(words))
    }

    /// Of what must succeed: its standard output.
    #[track_caller]
    pub(crate) fn ok(&self, words: &[&str]) -> String {
        self.run(words).ok()
    }

    /// Starts a small machine in the background, and gives what `inspect` says of it.
    #[track_caller]
    pub(crate) fn start(&self, name: &str, words: &[&str]) -> Value {
        self.ok(&[&["start", name][..], &SMALL, words].concat());
        self.inspect(name)
    }

    #[track_caller]
    pub(crate) fn inspect(&self, name: &str) -> Value {
        serde_json::from_str(&self.ok(&["inspect", name, "-o", "json"])).unwrap()
    }

    /// Runs a line in a guest's shell: its standard output.
    #[track_caller]
    pub(crate) fn shell(&self, name: &str, line: &str) -> String {
        self.ok(&["exec", name, "sh", "-c", line])
    }

    /// Starts it and goes on; its lines can be waited for.
    pub(crate) fn spawn(&self, words: &[&str]) -> Running {
        Running::new(&mut self.command(words))
    }

    #[track_caller]
    pub(crate) fn stop_and_remove(&self, name: &str) {
        let _ = self.ok(&["stop", name]);
        let _ = self.ok(&["rm", name]);
        self.sandbox.assert_clean();
    }

    /// A copy of a file that this world's user may read.
    pub(crate) fn adopt(&self, file: &Path) -> PathBuf {
        let copy = self.sandbox.home().join(file.file_name().unwrap());
        let mut cp = Command::new("cp");
        let _ = testkit::run(cp.args(["--reflink=auto", "--sparse=always"]).args([file, &copy])).ok();
        self.hand_over(&copy);
        copy
    }

    fn hand_over(&self, path: &Path) {
        if self.programs.is_some() {
            give_away(path);
        }
    }

    /// A file of the test's own.
    pub(crate) fn file(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.sandbox.home().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, contents).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        self.hand_over(&self.sandbox.home());
        path
    }
}

/// A command under way. Dropped, it is killed.
pub(crate) struct Running {
    pub(crate) child: Child,
    lines: Receiver<String>,
    /// What was read so far.
    heard: Vec<String>,
}

impl Running {
    pub(crate) fn new(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let streams: [Box<dyn Read + Send>; 2] = [
            Box::new(child.stdout.take().unwrap()),
            Box::new(child.stderr.take().unwrap()),
        ];
        for stream in streams {
            let sender = sender.clone();
            std::thread::spawn(move || {
                let lines = BufReader::new(stream).lines().map_while(Result::ok);
                lines.for_each(|line| drop(sender.send(line)));
            });
        }
        Self {
            child,
            lines,
            heard: Vec::new(),
        }
    }

    /// The next line, of either stream, that has `text` in it.
    #[track_caller]
    pub(crate) fn line(&mut self, text: &str) -> String {
        match self.try_line(text) {
            Some(line) => line,
            None => panic!("no {text:?} in:\n{}", self.heard.join("\n")),
        }
    }

    /// As [`Self::line`]; nothing if it ends without saying so.
    pub(crate) fn try_line(&mut self, text: &str) -> Option<String> {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    self.heard.push(line.clone());
                    if line.contains(text) {
                        return Some(line);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => panic!("silence after:\n{}", self.heard.join("\n")),
            }
        }
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        testkit::signal(&self.child, signal);
    }

    /// Waits until it no longer ignores the signal, as what is started by `env --default-signal` does at first.
    pub(crate) fn heeds(&self, signal: rustix::process::Signal) {
        let status = format!("/proc/{}/status", self.child.id());
        let ignored = || {
            let status = std::fs::read_to_string(&status).unwrap();
            let mask = status
                .lines()
                .find_map(|line| line.strip_prefix("SigIgn:"))
                .unwrap();
            u64::from_str_radix(mask.trim(), 16).unwrap() & (1 << (signal.as_raw() - 1)) != 0
        };
        while ignored() {
            std::thread::yield_now();
        }
    }

    /// Waits for its end: the exit code (-1 for a signal) and all it said.
    pub(crate) fn end(mut self) -> (i32, String) {
        let status = testkit::end(&mut self.child, "a command");
        self.heard.extend(self.lines.try_iter());
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            self.heard.push(line);
        }
        (status.code().unwrap_or(-1), self.heard.join("\n"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The host's port of a machine's forward.
#[track_caller]
pub(crate) fn host_port(machine: &Value, index: usize) -> u16 {
    let port = machine["forwards"][index]["host_port"].as_u64().unwrap();
    u16::try_from(port).unwrap()
}

/// What a server says to a GET of `path`.
pub(crate) fn http_get(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

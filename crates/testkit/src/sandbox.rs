use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::leaks::{self, Leak, Process};
use crate::programs;

/// How long processes that are ending may take to be gone: the kernel tears down a guest's memory and namespaces after
/// the last answer, and this machine may be busy.
const SETTLE: Duration = Duration::from_secs(10);

/// A test's own data and runtime folders. Dropped, it fails the test if a process, mount, socket or VM is left.
#[derive(Debug)]
pub struct Sandbox {
    folder: TempDir,
    allowed: Vec<PathBuf>,
}

/// Names another folder for the sandboxes than /tmp.
const PLACE: &str = "PITWALL_SANDBOXES";

impl Default for Sandbox {
    fn default() -> Self {
        Self::new()
    }
}

impl Sandbox {
    /// New and empty, in the folder that `$PITWALL_SANDBOXES` names, else in /tmp. Its path is short, since socket paths end
    /// at 108 bytes.
    ///
    /// # Panics
    /// When no temporary folder can be made.
    #[must_use]
    pub fn new() -> Self {
        let place = std::env::var_os(PLACE).unwrap_or_else(|| "/tmp".into());
        let folder = tempfile::Builder::new()
            .prefix("pw-")
            .tempdir_in(place)
            .expect("a temporary folder");
        for part in ["data", "run", "home"] {
            let part = folder.path().join(part);
            std::fs::create_dir(&part).expect("a folder in a fresh folder");
            rustix::fs::chmod(&part, rustix::fs::Mode::RWXU).expect("a mode of our own folder");
        }
        Self {
            folder,
            allowed: Vec::new(),
        }
    }

    /// The folder of all the others.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// What `XDG_DATA_HOME` is in here.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    /// What `XDG_RUNTIME_DIR` is in here.
    #[must_use]
    pub fn runtime(&self) -> PathBuf {
        self.path().join("run")
    }

    /// What `HOME` is in here.
    #[must_use]
    pub fn home(&self) -> PathBuf {
        self.path().join("home")
    }

    /// A command whose folders are these. It and all its children carry the sandbox's mark in their environment.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env("XDG_DATA_HOME", self.data())
            .env("XDG_RUNTIME_DIR", self.runtime())
            .env("XDG_CONFIG_HOME", self.path().join("config"))
            .env("HOME", self.home())
            .env("PITWALL_SANDBOX", self.path())
            .env("NO_COLOR", "1");
        command
    }

    /// The `knaller` command in here.
    #[must_use]
    pub fn knaller(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(programs::knaller());
        command
            .args(arguments)
            .env("KNALLER_POWERUNIT", programs::powerunit())
            .env("KNALLER_NETNS", programs::netns_helper())
            .env("SPARKLER", programs::sparkler());
        command
    }

    /// What a variable of the environment is for [`Self::knaller`].
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<OsString> {
        let command = self.knaller(&[]);
        let mut own = command.get_envs();
        let set = own.find(|(key, _)| *key == name).map(|(_, value)| value);
        set.map_or_else(|| std::env::var_os(name), |value| value.map(OsStr::to_owned))
    }

    /// What runs in here now: the test's own commands and what they started.
    #[must_use]
    pub fn processes(&self) -> Vec<Process> {
        leaks::processes(self.path())
    }

    /// Waits until nothing is left of any VM.
    ///
    /// # Panics
    /// When something stays.
    #[track_caller]
    pub fn assert_clean(&self) {
        let list: Vec<_> = self.settle().iter().map(ToString::to_string).collect();
        assert!(list.is_empty(), "left behind:\n  {}", list.join("\n  "));
    }

    /// Everything below `path` may stay when the test ends.
    pub fn allow(&mut self, path: PathBuf) {
        self.allowed.push(path);
    }

    /// What is left of this sandbox's VMs now, without waiting.
    #[must_use]
    pub fn leaks(&self) -> Vec<Leak> {
        let mut leaks = leaks::find(self.path());
        for folder in [self.runtime().join("knaller"), self.data().join("knaller/vms")] {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                // What serves all VMs of a user (a lock file) is no VM's leftover.
                let path = entry.path();
                if path.is_dir() && !self.allowed.iter().any(|allowed| path.starts_with(allowed)) {
                    leaks.push(Leak::Path(path));
                }
            }
        }
        leaks
    }

    /// What is left of this sandbox's VMs once it has had time to go. A child of this process, forked for another test,
    /// has all open that this one has until it becomes another program, and looks like a leak for that moment.
    #[must_use]
    pub fn settle(&self) -> Vec<Leak> {
        let start = Instant::now();
        loop {
            let leaks = self.leaks();
            if leaks.is_empty() || start.elapsed() > SETTLE {
                return leaks;
            }
            leaks::wait_for_any(&leaks);
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let leaks = self.settle();
        leaks::end(&leaks);
        let list: Vec<_> = leaks.iter().map(ToString::to_string).collect();
        if !list.is_empty() {
            let text = format!("left behind:\n  {}", list.join("\n  "));
            // A second panic would abort and hide the first.
            assert!(std::thread::panicking(), "{text}");
            eprintln!("{text}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use super::*;

    #[test]
    fn a_process_with_the_mark_is_a_leak_until_it_ends() {
        let sandbox = Sandbox::new();
        let mut child = sandbox
            .command("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        assert!(
            sandbox
                .leaks()
                .iter()
                .any(|leak| matches!(leak, Leak::Process(p, _) if *p == pid))
        );
        drop(child.stdin.take());
        child.wait().unwrap();
        assert_eq!(sandbox.leaks(), []);
    }

    #[test]
    fn a_listening_socket_and_a_vm_folder_are_leaks() {
        let sandbox = Sandbox::new();
        let vm = sandbox.runtime().join("knaller/one");
        std::fs::create_dir_all(&vm).unwrap();
        let socket = vm.join("api.sock");
        let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let leaks = sandbox.leaks();
        assert!(
            leaks.contains(&Leak::Socket(socket.to_string_lossy().into_owned())),
            "{leaks:?}"
        );
        assert!(leaks.contains(&Leak::Path(vm.clone())), "{leaks:?}");
        drop(listener);
        std::fs::remove_dir_all(&vm).unwrap();
        assert_eq!(sandbox.leaks(), []);
    }
}

//! The processes of a boot: pasta, the helper, the VMM; or the VMM alone without a network. The invariant: they hang on
//! nothing of the caller's. They have a session of their own, no terminal, none of its open files and little of its
//! environment, and write to the machine's logs.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::process::Stdio;

use tokio::process::{Child, Command};

use crate::layout::Files;
use crate::network::pasta::Pasta;
use crate::vmm::{Chosen, SPARKLER};
use crate::{Error, Options, Result, inherit, keep, leash};

/// All that a boot's processes are made from.
pub(super) struct Launch<'a> {
    pub(super) files: &'a Files,
    pub(super) vmm: &'a Chosen,
    pub(super) instance: &'a str,
    pub(super) pasta: Option<&'a Pasta>,
    /// What they write `0` to, to enter the machine's control group, if it has one.
    pub(super) group: Option<File>,
    pub(super) options: &'a Options,
}

impl Launch<'_> {
    /// Starts them, and gives the first of them: it ends when all have.
    pub(super) fn spawn(self) -> Result<Child> {
        let (program, arguments) = self.command_line()?;
        let log = self.files.vmm_log();
        let leash = leash::fasten(&log).map_err(Error::io("lock", &log))?;
        let mut command = Command::new(&program);
        command
            .args(arguments)
            // What the VMM has as a relative path is in there: see `configure::machine`.
            .current_dir(&self.files.runtime)
            .env_clear()
            .env("PATH", &self.options.search_path)
            .envs(self.options.environment.iter().map(|(name, value)| (name, value)))
            .envs(self.vmm.qemu.as_ref().map(|qemu| ("QEMU", qemu)))
            .stdin(Stdio::null())
            .stdout(self.console()?)
            .stderr(leash);
        let group = self.group;
        // SAFETY: `detach` makes three system calls and nothing else, as is right between fork and exec.
        unsafe { command.pre_exec(move || detach(group.as_ref())) };
        command.spawn().map_err(Error::io("run", &program))
    }

    fn command_line(&self) -> Result<(PathBuf, Vec<OsString>)> {
        let mut vmm: Vec<OsString> = vec![
            self.vmm.program.clone().into(),
            "--api-sock".into(),
            self.files.api_socket().into(),
            "--id".into(),
            self.instance.into(),
            // Without it Firecracker logs to its standard output, which is the guest's console here.
            "--log-path".into(),
            self.files.vmm_log().into(),
            "--level".into(),
            "Warn".into(),
        ];
        if self.vmm.name == SPARKLER {
            vmm.extend(["--keep-output".into(), keep::LIMIT.to_string().into()]);
        }
        match self.pasta {
            Some(pasta) => Ok((pasta.program.clone(), pasta.arguments(&vmm)?)),
            None => Ok((self.vmm.program.clone(), vmm.split_off(1))),
        }
    }

    /// The guest's console, emptied. Appended to, so that it can be read from the start at any time.
    fn console(&self) -> Result<File> {
        let path = self.files.console();
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path);
        let emptied = file.and_then(|file| file.set_len(0).map(|()| file));
        emptied.map_err(Error::io("open", &path))
    }
}

/// Leaves the caller's control group for the machine's; the caller's session, so that neither its terminal's end nor a Ctrl-C
/// there reaches the machine; and its open files: a pipe of the caller's, held open by a machine, would never come to its end.
fn detach(group: Option<&File>) -> std::io::Result<()> {
    if let Some(procs) = group {
        // The number 0 is whoever writes it (cgroup-v2: `cgroup.procs`).
        rustix::io::write(procs, b"0")?;
    }
    rustix::process::setsid()?;
    inherit::standard_files_only()
}

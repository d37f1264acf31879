//! The processes of a boot: pasta, the helper, the VMM; or the last two alone without pasta. The invariant: they hang on
//! nothing of the caller's. They have a session of their own, no terminal, none of its open files and little of its
//! environment, and write to the machine's logs. A VMM in a jail runs once the caller has sent its plan.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::{Child, Command};

use super::first::First;
use super::gate::{Gate, line};
use crate::helper::{Network, Orders, OwnersDisk};
use crate::layout::Files;
use crate::network::Wire;
use crate::network::lean::Lean;
use crate::user::Switch;
use crate::vmm::{Chosen, SPARKLER};
use crate::{Error, Options, Result, detach, folder, keep, leash};

/// All that a boot's processes are made from.
pub(super) struct Launch<'a> {
    pub(super) files: &'a Files,
    pub(super) vmm: &'a Chosen,
    pub(super) instance: &'a str,
    /// How they are connected, with the forwards' ports.
    pub(super) wire: Option<&'a Wire>,
    /// The namespace of a network that was made before.
    pub(super) network: Option<File>,
    /// What they write `0` to, to enter the machine's control group, if it has one.
    pub(super) group: Option<File>,
    pub(super) options: &'a Options,
    /// The helper, where the VMM is to be in a jail.
    pub(super) jail: Option<&'a Path>,
    /// What the VMM is to have for itself.
    pub(super) disk: Option<OwnersDisk>,
    /// Whom they are to be, if not whoever starts them.
    pub(super) user: Option<Switch>,
}

impl Launch<'_> {
    /// Starts them, and gives the first of them, with the gate that the VMM waits behind if it is to be in a jail.
    pub(super) async fn spawn(self) -> Result<(First, Option<Gate>)> {
        if self.jail.is_none() {
            return Ok((First::Started(self.run(Stdio::null())?), None));
        }
        let (input, tells, gate) = line()?;
        let splits = !matches!(self.wire, Some(Wire::Pasta(_)));
        let child = self.run(input.into())?;
        if !splits {
            return Ok((First::Started(child), Some(gate)));
        }
        let first = First::left_by(child, tells).await;
        Ok((
            first.map_err(Error::system("find the helper's child"))?,
            Some(gate),
        ))
    }

    fn run(self, input: Stdio) -> Result<Child> {
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
            .stdin(input)
            .stdout(self.console()?)
            .stderr(leash);
        let pasta = matches!(self.wire, Some(Wire::Pasta(_)));
        let lean = pasta.then(|| Lean::within(&mut command));
        let (group, network, user) = (self.group, self.network, self.user);
        let prepare = move || {
            detach::from_caller(group.as_ref(), network.as_ref())?;
            lean.as_ref().map_or(Ok(()), Lean::apply)?;
            user.map_or(Ok(()), Switch::take)
        };
        // SAFETY: all of it makes system calls and nothing else, as is right between fork and exec.
        unsafe { command.pre_exec(prepare) };
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
            let accel = if self.vmm.kvm { "kvm" } else { "tcg" };
            let keep = keep::LIMIT.to_string();
            vmm.extend(["--keep-output", &keep, "--accel", accel].map(OsString::from));
        }
        let network = match self.wire {
            Some(Wire::Pasta(pasta)) => {
                let arguments = pasta.arguments(&vmm, self.jail.is_some(), self.disk.clone())?;
                return Ok((pasta.program.clone(), arguments));
            }
            // It is root's: without a jail too the helper takes from the VMM what could change its network.
            Some(Wire::Direct(_)) => Network::Ready,
            None if self.jail.is_none() && self.disk.is_none() => {
                return Ok((self.vmm.program.clone(), vmm.split_off(1)));
            }
            None => Network::None,
        };
        let orders = Orders {
            network,
            jail: self.jail.is_some(),
            disk: self.disk.clone(),
        };
        vmm.insert(0, orders.argument()?);
        let helper = match (self.wire, self.jail) {
            (Some(Wire::Direct(direct)), _) => direct.helper.clone(),
            (_, Some(helper)) => helper.to_owned(),
            (_, None) => self.options.netns()?,
        };
        Ok((helper, vmm))
    }

    /// A new file for the guest's console: whoever reads how the last boot ended has that one's. Appended to, so that it can be
    /// read from the start at any time.
    fn console(&self) -> Result<File> {
        let path = self.files.console();
        folder::remove_file(&path)?;
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path);
        file.map_err(Error::io("open", &path))
    }
}

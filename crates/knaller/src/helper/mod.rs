//! What `knaller-netns` does before it becomes a machine's VMM (and, in `errand`, for one that runs): the network, the
//! jail, and then nothing that could be taken back. The invariant: nothing of it stays but the VMM, and a step that
//! fails ends it.
//!
//! ```text
//! pasta:    pasta ─ its namespaces: this ─ TAP, addresses, rules ─┐
//! direct:   this, in a network that is ready ─┐                   │
//! none:     this ─────────────────────────────┴─ namespaces, a child in them
//!                                                                 └─ the jail's plan comes ─ jail ─ exec of the VMM
//! ```
//!
//! The network is set up while the starting process still makes the machine's disks: the plan of the jail, in which they
//! are, comes by standard input when they are there.

use std::convert::Infallible;
use std::ffi::OsString;
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use images::raw_disk;
use serde::{Deserialize, Serialize};

use crate::network::lean;
use crate::{inherit, jail, netns};

mod errand;
mod incoming;
mod privileges;

pub(crate) use errand::Errand;
pub use errand::run as run_errand;
pub(crate) use incoming::MAX_AT_ONCE;
pub(crate) use privileges::give_up;

/// The first argument of a helper that is on an errand in a machine that runs; by whatever comes behind it is found.
pub const ERRAND: &str = "errand";

/// What the starting process says: one argument, JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Orders {
    pub network: Network,
    /// Whether the plan of a jail, JSON too, comes by standard input, with mounts if it has any handed over.
    pub jail: bool,
    /// A disk of its caller's that the VMM is to have for itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<OwnersDisk>,
}

/// A disk that belongs to somebody else and is used as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnersDisk {
    /// Without links on the way.
    pub path: PathBuf,
    /// Whether others may read it as well.
    pub read_only: bool,
}

/// What becomes of the VMM's network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// It is to be set up in the namespaces that it is in, which are pasta's.
    Pasta(netns::Plan),
    /// It is in the namespace that has it; those of a jail beside are of its own.
    Ready,
    /// There is none: the namespaces of a jail are all of its own.
    None,
}

impl Orders {
    /// As an argument for the helper.
    pub(crate) fn argument(&self) -> crate::Result<OsString> {
        let json = serde_json::to_string(self);
        let failed =
            |error: serde_json::Error| crate::Error::system("write the helper's orders")(error.into());
        json.map(OsString::from).map_err(failed)
    }
}

/// Which step failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The network.
    #[error(transparent)]
    Network(#[from] netns::Error),
    /// The jail.
    #[error("jail: {0}")]
    Jail(#[from] jail::Error),
    /// What the starting process has sent, or has not.
    #[error("jail: no plan: {0}")]
    Plan(#[source] io::Error),
    /// The disk of the caller's cannot be had.
    #[error("disk: {}: {reason}", path.display())]
    Disk {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A step of its own.
    #[error("{step}: {source}")]
    Step {
        /// What it concerns.
        step: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// The VMM.
    #[error("VMM: cannot run {}: {source}", program.display())]
    Program {
        /// Its path.
        program: PathBuf,
        /// Why it does not run.
        source: io::Error,
    },
}

impl Error {
    fn step(step: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Step { step, source }
    }
}

/// Follows the orders and becomes `program`.
///
/// # Errors
/// Only returns if something failed; nothing needs undoing, since the namespaces go with their last process.
pub fn run(orders: &Orders, program: &Path, arguments: &[OsString]) -> Result<Infallible, Error> {
    match &orders.network {
        Network::Pasta(network) => {
            // The VMM is of no use without pasta, so it ends with it.
            privileges::die_with_parent().map_err(Error::step("parent-death signal"))?;
            lean::huge_pages_again();
            netns::set_up(network)?;
        }
        // Says its process's number to whoever holds the other end of its standard input.
        Network::Ready if orders.jail => jail::apart(io::stdin(), true)?,
        Network::None if orders.jail => jail::apart(io::stdin(), false)?,
        Network::Ready | Network::None => {}
    }
    // pasta of 2023-03 leaves the sockets open on which it listens for the forwards.
    inherit::standard_files_only().map_err(Error::step("open files"))?;
    // The claim is on an open file, which is the VMM's from its exec on.
    let _claimed = orders.disk.as_ref().map(claim).transpose()?;
    if orders.jail {
        let (plan, handed): (jail::Plan, _) = incoming::received().map_err(Error::Plan)?;
        let mut without = jail::enter(&plan, handed)?;
        no_input().map_err(Error::step("standard input"))?;
        privileges::give_up().map_err(Error::step("privileges"))?;
        without.extend(jail::shut(&plan)?);
        for missing in without {
            // Nobody reads it but by chance if the log is full.
            let _ = writeln!(io::stderr(), "{}{missing}", jail::WITHOUT);
        }
    } else {
        privileges::give_up().map_err(Error::step("privileges"))?;
    }
    let mut becomes = Command::new(program);
    if orders.jail {
        // SAFETY: it makes system calls and nothing else; and there is no fork before this exec.
        unsafe { becomes.pre_exec(jail::fail_instead_of_ending) };
    }
    // The variable was meant for pasta.
    let source = becomes.args(arguments).env_remove(preload::VARIABLE).exec();
    let program = program.to_owned();
    Err(Error::Program { program, source })
}

fn claim(disk: &OwnersDisk) -> Result<raw_disk::Claimed, Error> {
    let refused = |reason| Error::Disk {
        path: disk.path.clone(),
        reason,
    };
    let claimed = raw_disk::claim(&disk.path, disk.read_only).map_err(|error| refused(error.to_string()))?;
    let claimed = claimed.ok_or_else(|| refused(raw_disk::OTHERS.to_owned()))?;
    inherit::to_program(claimed.file()).map_err(Error::step("open files"))?;
    Ok(claimed)
}

/// The VMM has none.
fn no_input() -> io::Result<()> {
    Ok(rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?)?)
}

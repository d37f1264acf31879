//! The jail around a VMM. The invariant: from its first instruction on a jailed program sees only the files of its plan,
//! under the names that they have outside, and no process but its own; it has no privilege, no way to one, and nothing of
//! the host's network. Whoever takes over a VMM from inside its guest holds that, and not the user's account.
//!
//! No root is needed: all of it is what the kernel lets an ordinary user do inside a user namespace. The layers, each
//! of which would do for most of it alone:
//!
//! | layer | what it takes away |
//! |---|---|
//! | mount namespace (`root`) | every file but those of the plan; writing to all but the machine's own |
//! | PID, IPC and UTS namespaces (`namespaces`) | other processes, their shared memory, the host's name |
//! | network namespace (pasta's, or an empty one) | the host's loopback and abstract sockets |
//! | no capabilities, no new privileges, no user namespaces | the ways back |
//! | limits (`limits`) | processes, descriptors and files without end, core dumps of a guest's memory |
//! | a filter of system calls (`calls`) | what of the kernel no VMM needs |
//! | landlock (`rules`), where the kernel has it | the same files once more; TCP; signals to others |
//!
//! The names are those of outside because the API speaks of paths: what the VMM is told, what it answers and what it writes
//! into snapshots is the same with and without a jail.
//!
//! The starting process makes the [`Plan`], `knaller-netns` carries it out and becomes the VMM; nothing stays of either.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::fs::Mode;
use serde::{Deserialize, Serialize};

mod calls;
mod hand;
mod limits;
mod loads;
mod namespaces;
mod root;
mod rules;

pub(crate) use calls::refuse as refuse_calls;
pub(crate) use hand::{can_make_devices, can_show, hand, others_may};
pub(crate) use limits::fail_instead_of_ending;
pub(crate) use loads::of as loads;
pub(crate) use namespaces::apart;
pub(crate) use rules::is_of_an_older_kernel;

/// Before each line of the log that tells of a part of the jail that is not there.
pub(crate) const WITHOUT: &str = "knaller: the jail is without ";

/// What a jailed program has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Whether it has a user namespace of its own.
    pub users: bool,
    /// Its working folder, one of the entries.
    pub home: PathBuf,
    /// The most bytes of a file that it makes longer.
    pub file_size: u64,
    /// What it sees, beside its own processes in /proc.
    pub entries: Vec<Entry>,
    /// What it sees beside these, of which mounts come with the plan, in this order: it may not open them by itself.
    pub handed: Vec<Entry>,
}

/// A file or folder of the jail, under the path that it has outside.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Absolute. It may be, or lead through, a symbolic link: what it leads to outside is there inside.
    pub path: PathBuf,
    pub access: Access,
}

/// What may be done with an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Read.
    Read,
    /// Read and run: programs and what they load.
    Run,
    /// A file that is read and written. It can neither be replaced nor removed.
    Write,
    /// A device that is opened and spoken to. Left out where the host has none.
    Device,
    /// A block device that is read and written as a disk.
    Disk,
    /// A block device that is read as a disk.
    ReadDisk,
    /// A folder in which sockets are made and removed.
    Sockets,
    /// A folder in which the files that are put there are written, and none is made.
    Files,
}

/// What of the jail could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A step that does not concern one entry.
    #[error("cannot {step}: {source}")]
    Step {
        /// What was to be done.
        step: &'static str,
        /// Why it was not.
        source: io::Error,
    },
    /// An entry.
    #[error("cannot show {} in it: {source}", path.display())]
    Entry {
        /// Its path outside.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Landlock is there and refuses.
    #[error("landlock: {0}")]
    Rules(#[from] landlock::RulesetError),
    /// The filter of system calls cannot be set.
    #[error("cannot refuse system calls: {0}")]
    Calls(#[source] seccompiler::Error),
}

impl Plan {
    /// For whoever runs this process: root has no user namespace.
    pub(crate) fn new(home: PathBuf, file_size: u64, entries: Vec<Entry>) -> Self {
        Self {
            users: !rustix::process::geteuid().is_root(),
            home,
            file_size,
            entries,
            handed: Vec::new(),
        }
    }

    /// For a user that root has made up.
    pub(crate) fn of_its_own_user(self) -> Self {
        Self { users: true, ..self }
    }

    /// Everything that it sees.
    fn all(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().chain(&self.handed)
    }
}

impl Error {
    fn step<E: Into<io::Error>>(step: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::Step {
            step,
            source: source.into(),
        }
    }
}

/// Puts this process into the jail. It must be the first of its PID namespace, have one thread and every capability over
/// its namespaces, which it keeps until it gives them up; [`shut`] is for afterwards.
///
/// Gives what this kernel or its surroundings do not have for it, in words.
///
/// # Errors
/// What could not be made; the process is then in no state to go on.
pub(crate) fn enter(plan: &Plan, handed: Vec<OwnedFd>) -> Result<Vec<String>, Error> {
    namespaces::complete()?;
    if plan.users {
        namespaces::allow_no_more()?;
    }
    let without = root::build(plan, handed)?;
    limits::set(plan.file_size)?;
    Ok(without)
}

/// The last step, when the capabilities are gone: what landlock forbids stays forbidden whatever happens. Gives the same as
/// [`enter`].
///
/// # Errors
/// As [`enter`].
pub(crate) fn shut(plan: &Plan) -> Result<Option<String>, Error> {
    let without = rules::apply(plan)?;
    // A VMM can change no mode afterwards, of its sockets neither.
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    calls::refuse()?;
    Ok(without)
}

/// What a jail was said to be without in the log of its VMM, up to now. That is for people to know: whoever has taken over
/// the VMM writes there what it likes.
pub(crate) fn told(log: &str) -> Vec<String> {
    log.lines()
        .filter_map(|line| line.strip_prefix(WITHOUT))
        .map(str::to_owned)
        .collect()
}

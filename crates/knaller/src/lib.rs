//! microVMs on one Linux machine, without root and without a daemon.
//!
//! The invariant: the process is the state. No file and no process of ours says what runs; a machine runs if its VMM answers
//! on its API socket, and what runs is pasta and the VMM alone. Any number of processes may use the same folders at once:
//! names and ports are claimed by locks that the kernel gives back when their holder dies, and every command first puts
//! right what a killed one left.
//!
//! ```
//! use knaller::{ExecRequest, Knaller, MachineSpec, Options, StartOptions, StopOptions};
//!
//! # let sandbox = testkit::Sandbox::new();
//! # testkit::import_kernel(&sandbox);
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//! # runtime.block_on(async {
//! let options = Options::from_env();
//! # let options = Options::from_lookup(&|name| sandbox.variable(name), None);
//! let knaller = Knaller::open(options)?;
//! let spec = MachineSpec::new().cpus(2).memory_mib(512);
//! let (machine, timeline) = knaller.start(spec, StartOptions::default(), &mut |_| {}).await?;
//! let output = machine.output(ExecRequest::argv(["uname", "-a"])).await?;
//! assert!(String::from_utf8_lossy(&output.stdout).starts_with("Linux"));
//! machine.stop(StopOptions::default()).await?;
//! machine.remove().await?;
//! # assert!(!timeline.steps.is_empty());
//! # Ok::<(), knaller::Error>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What can be asked without a machine:
//!
//! ```
//! use knaller::{Knaller, Paths};
//!
//! # let folder = tempfile::tempdir()?;
//! # let base = folder.path();
//! let knaller = Knaller::with_paths(Paths { data: base.join("data"), runtime: base.join("run") })?;
//! let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//! runtime.block_on(async {
//!     assert!(knaller.list().await?.is_empty());
//!     assert_eq!(knaller.get("web").await.unwrap_err().class().code(), 3);
//!     Ok::<_, knaller::Error>(())
//! })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod attendance;
mod cgroup;
mod claim;
mod copy;
mod damage;
mod detach;
mod disk;
pub mod doctor;
mod error;
mod exec;
mod exit;
mod filter;
mod flocked;
mod folder;
mod forwarding;
#[cfg(fuzzing)]
pub mod fuzzing;
mod handover;
mod heal;
pub mod helper;
mod holes;
mod image;
mod info;
mod inherit;
pub mod jail;
mod keep;
mod knaller;
mod layout;
mod leash;
mod life;
mod list;
mod logs;
mod machine;
mod memory;
mod name;
pub mod netns;
mod network;
mod options;
mod pager;
mod process;
mod programs;
mod readable;
mod record;
mod relay;
mod remove_on_drop;
mod runtime_folder;
mod sealed;
mod snapshot;
mod spec;
mod ssh;
mod start;
mod stop;
mod supervise;
mod system;
mod tail;
mod task;
mod template;
mod text_form;
mod unix_time;
mod user;
mod vmm;
mod volume;
mod vsock;
mod watch;

pub use copy::{CopyEvent, CopyOptions};
pub use damage::Damaged;
pub use error::{Class, Error, Result};
pub use exec::{Command, ExecExit, ExecRequest, Output, Pty, Session, SessionEvent, SessionInput};
pub use exit::Exit;
pub use filter::{Filter, Filtered, InvalidFilter};
pub use forwarding::Forwarding;
pub use image::{ImageEvent, ImageObserver};
pub use info::{JailInfo, MachineInfo, NextStart, Origin, State};
pub use knaller::Knaller;
pub use life::{Adopted, Adoption, Change, Event, EventKind, Events, Stats, Traffic, Update, Updated, Usage};
pub use logs::{LogSource, Logs};
pub use machine::{Machine, StopOptions, StopOutcome};
pub use name::{InvalidName, MAX_LEN as MAX_NAME_LEN, Name};
pub use network::direct::Pool;
pub use options::{Options, Paths, Programs};
pub use snapshot::{
    Imported, MemoryBackend, Paused, RawSnapshot, RawTaken, RestoreSpec, SnapshotInfo, SnapshotOptions, Taken,
};
pub use spec::{
    CpuQuota, CpuSet, EgressRule, Forward, Init, InvalidCpus, InvalidEgress, InvalidForward, InvalidLimits,
    InvalidMac, InvalidRestart, InvalidSlice, InvalidSpec, InvalidVolume, Kernel, Limits, Mac, MachineSpec,
    Network, Prefix, Protocol, Rate, Restart, Root, Slice, Vmm, Volume, VolumeSource,
};
pub use start::{Side, StartEvent, StartOptions, Step, Timeline, Wait};
pub use supervise::{Supervised, SupervisedKind, Supervisor};
pub use system::{About, Disk, DiskUsage, Found, Healed, Possible};
pub use template::TemplateInfo;
pub use user::{UserRange, UserRangeError};
pub use volume::VolumeInfo;

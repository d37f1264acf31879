//! The control group of a machine's processes (cgroup v2), for machines whose spec asks for one.
//!
//! The invariant: a limit that was asked for is kept or refused, never left out. The processes are in their group before they
//! become pasta or the VMM, so there is no moment without it. The group is named in the machine's record before it is made, and
//! whoever finds the machine stopped removes it.
//!
//! | there is | so the group is |
//! |---|---|
//! | `KNALLER_CGROUP` | in that folder, and there in the slice's if there is one |
//! | a slice | in the slice's folder, below the topmost group that is delegated to this user: for root, the top of the tree |
//! | neither | below the caller's own group, or the nearest above it that is delegated to this user and can limit |
//!
//! What is delegated is known by what may be written to. systemd delegates user@UID.service to its user.
//!
//! Source of files and values: the kernel's Documentation/admin-guide/cgroup-v2.rst.

use std::fs::File;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{Error, Limits, MachineSpec, Options, Result};

mod end;
mod folder;
mod hierarchy;
mod setting;

use folder::Parent;
use hierarchy::Hierarchy;
use setting::Setting;

/// A machine's group, by its folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Group(PathBuf);

/// Where a group can be made that does what a spec asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    parent: Parent,
    settings: Vec<Setting>,
}

impl Place {
    /// Finds it, and makes nothing. `None` if the spec asks for no group.
    pub(crate) fn find(options: &Options, spec: &MachineSpec) -> Result<Option<Self>> {
        let settings = setting::of(&spec.limits);
        if settings.is_empty() && spec.slice.is_none() {
            return Ok(None);
        }
        let hierarchy = Hierarchy::of_host()?;
        let needs = setting::controllers(&settings);
        let parent = Parent::find(&hierarchy, options.cgroup.as_deref(), spec.slice.as_ref(), &needs)?;
        if let Some(wanted) = &spec.limits.cpu_set {
            parent.check_cpus(wanted)?;
        }
        Ok(Some(Self { parent, settings }))
    }

    /// The group of this boot, which is not there yet.
    pub(crate) fn group(&self, instance: &str) -> Group {
        Group(self.parent.folder().join(format!("knaller-{instance}")))
    }

    /// Makes the group, with its limits, and gives the file by which a process enters it: it writes `0` there.
    pub(crate) fn make(&self, group: &Group) -> Result<File> {
        self.parent
            .make(&group.0, &setting::controllers(&self.settings))?;
        group.set(&self.settings)?;
        group.door()
    }
}

/// The folder in which groups with every limit can be made.
pub(crate) fn for_all_limits(options: &Options) -> Result<PathBuf> {
    let needs = setting::controllers(&setting::none());
    let parent = Parent::find(&Hierarchy::of_host()?, options.cgroup.as_deref(), None, &needs)?;
    Ok(parent.folder().to_owned())
}

impl Group {
    /// The file by which a process enters it: it writes `0` there.
    pub(crate) fn door(&self) -> Result<File> {
        let procs = self.0.join("cgroup.procs");
        let file = File::options().write(true).open(&procs);
        file.map_err(Error::io("open", &procs))
    }

    /// Sets every limit anew: one that is not said is taken away. Fails without a trace where the group cannot limit what is to
    /// be limited.
    pub(crate) fn limit(&self, limits: &Limits) -> Result<()> {
        let settings = setting::of(limits);
        let needs = setting::controllers(&settings);
        let parent = Parent::of(&self.0, &needs)?;
        if let Some(wanted) = &limits.cpu_set {
            parent.check_cpus(wanted)?;
        }
        parent.prepare(&needs)?;
        let said = |open: &Setting| settings.iter().any(|setting| setting.file == open.file);
        let there = |open: &Setting| self.0.join(open.file).exists();
        let opened = setting::none().into_iter();
        let opened: Vec<Setting> = opened.filter(|open| !said(open) && there(open)).collect();
        self.set(&opened)?;
        self.set(&settings)
    }

    fn set(&self, settings: &[Setting]) -> Result<()> {
        settings.iter().try_for_each(|setting| {
            let path = self.0.join(setting.file);
            std::fs::write(&path, &setting.value).map_err(Error::io("write", &path))
        })
    }

    /// Ends what is left in it, and removes it. Blocks until that is done, for some seconds at most; what cannot be done now
    /// the next command tries again.
    pub(crate) fn remove(&self) {
        if let Err(error) = end::remove(&self.0) {
            tracing::warn!(group = %self.0.display(), %error, "cannot remove a machine's control group");
        }
    }
}

//! Making a machine of a snapshot.

use std::collections::BTreeMap;
use std::sync::Arc;

use images::Task;

use super::archive;
use super::description::{Description, Written};
use super::store::Held;
use crate::knaller::Inner;
use crate::layout::Files;
use crate::pager;
use crate::start::{self, StartEvent, StartOptions};
use crate::vmm::{self, SPARKLER};
use crate::{
    Error, Forward, Mac, Machine, MachineSpec, Name, Restart, Result, Timeline, VolumeSource, heal, task,
    template, volume,
};

/// What a machine that is made of a snapshot has of its own. All else is as it was when the snapshot was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RestoreSpec {
    /// Two words are chosen if there is none.
    pub name: Option<Name>,
    /// The machine's name if none.
    pub hostname: Option<String>,
    /// What its network interface is called on its link; that of the snapshot's machine if none.
    pub mac: Option<Mac>,
    /// Those of the snapshot's machine on free ports of the host, if none.
    pub forwards: Option<Vec<Forward>>,
    pub labels: BTreeMap<String, String>,
    /// Whether the machine's folder goes when it has stopped.
    pub remove_on_exit: bool,
    /// Whether the VMM keeps an account of changes where that of the snapshot's machine did not.
    pub track_dirty: bool,
    /// Whether a snapshot that this host cannot load is booted instead, with its disks and without its memory.
    pub cold_fallback: bool,
    pub memory: MemoryBackend,
}

/// How a machine that is made of a snapshot comes to the memory of the one it was taken of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MemoryBackend {
    /// It maps the snapshot's file: what it does not change is shared with all others, and is read when it is needed.
    #[default]
    File,
    /// It gets a copy while it starts, by userfaultfd(2): what starts need comes first, as the first of them has shown. It
    /// needs nothing of the snapshot any more when it is up. With Firecracker, where the kernel permits it.
    Userfault,
}

/// A machine to be made of a snapshot.
#[derive(Debug)]
pub(crate) struct Clone {
    pub(crate) of: Arc<Held>,
    pub(crate) spec: MachineSpec,
    /// Whether its memory is of use here.
    pub(crate) fits: bool,
    pub(crate) memory: MemoryBackend,
}

pub(crate) async fn restore(
    inner: &Arc<Inner>,
    held: Held,
    spec: RestoreSpec,
    options: StartOptions,
    observer: &mut (dyn FnMut(StartEvent) + Send),
) -> Result<(Machine, Timeline)> {
    heal::all(inner).await?;
    can_serve(&held.description, spec.memory)?;
    let held = Arc::new(held);
    let checked = Arc::clone(&held);
    let fallback = spec.cold_fallback;
    let ready = task::blocking(move |task| match checked.ready(task) {
        Err(Error::SnapshotDamaged { reason, .. }) if fallback => {
            checked.verify_disks()?;
            Ok(Err(reason))
        }
        ready => ready.map(Ok),
    });
    let ready = ready.await?;
    let clone = clone_of(&held, spec);
    load(inner, clone, ready, fallback, options, observer).await
}

/// Makes the machine, by booting its disks if its memory is not `ready`, or of no use here, and that is wanted.
pub(super) async fn load(
    inner: &Arc<Inner>,
    mut clone: Clone,
    ready: std::result::Result<(), String>,
    cold_fallback: bool,
    options: StartOptions,
    observer: &mut (dyn FnMut(StartEvent) + Send),
) -> Result<(Machine, Timeline)> {
    let held = &clone.of;
    let fits = match ready {
        Ok(()) => fit(inner, held).await,
        damaged => damaged,
    };
    if let Err(reason) = fits {
        if !cold_fallback {
            let name = held.description.name.clone();
            return Err(Error::SnapshotUnfit { name, reason });
        }
        observer(StartEvent::Slower {
            message: format!(
                "{} cannot be loaded here, and its disks are booted instead: {reason}",
                held.description.name
            ),
            class: None,
        });
        clone.fits = false;
    }
    start::clone(inner, clone, options, observer).await
}

/// Refuses to serve a guest's memory where that is asked for and cannot be.
pub(super) fn can_serve(description: &Description, memory: MemoryBackend) -> Result<()> {
    if memory == MemoryBackend::File {
        return Ok(());
    }
    let refused = |reason: String, remedy: &str| {
        Err(Error::Userfault {
            reason,
            remedy: remedy.to_owned(),
        })
    };
    let vmm = &description.record.vmm;
    if vmm == SPARKLER {
        let reason = format!("{vmm} cannot do it; the snapshot was taken with that");
        return refused(reason, "leave --memory-backend out");
    }
    match pager::permitted() {
        Some(_) => Ok(()),
        None => refused(
            "the kernel permits it neither by /dev/userfaultfd nor by vm.unprivileged_userfaultfd".to_owned(),
            "leave --memory-backend out; or (SECURITY.md says what it permits): sudo setfacl -m u:$USER:rw /dev/userfaultfd",
        ),
    }
}

/// What a machine of the snapshot is to be.
pub(super) fn clone_of(held: &Arc<Held>, spec: RestoreSpec) -> Clone {
    let was = &held.description.record.spec;
    let anew = |forward: &Forward| Forward {
        host_port: 0,
        ..*forward
    };
    let mut labels = was.labels.clone();
    labels.extend(spec.labels);
    Clone {
        of: Arc::clone(held),
        fits: true,
        memory: spec.memory,
        spec: MachineSpec {
            name: spec.name,
            hostname: spec.hostname,
            mac: spec.mac.or(was.mac),
            forwards: spec
                .forwards
                .unwrap_or_else(|| was.forwards.iter().map(anew).collect()),
            labels,
            remove_on_exit: spec.remove_on_exit,
            track_dirty: was.track_dirty || spec.track_dirty,
            restart: if spec.remove_on_exit {
                Restart::No
            } else {
                was.restart
            },
            ..was.clone()
        },
    }
}

/// Why this host cannot load the snapshot.
async fn fit(inner: &Arc<Inner>, held: &Held) -> std::result::Result<(), String> {
    let description = &held.description;
    let (cpu, _) = template::host().map_err(|error| error.to_string())?;
    if description.cpu != cpu {
        return Err("it was taken on another processor".to_owned());
    }
    let volumes = &description.record.spec.volumes;
    let copies = held.parts();
    let only_read = volumes.iter().enumerate().filter(|(_, volume)| volume.read_only);
    for (number, volume) in only_read.filter(|(number, _)| !copies.contains(&volume_file(*number))) {
        let path = volume::path(&inner.options.paths, &volume.source);
        // Earlier snapshots do not say.
        let had = description.read.get(&number);
        let fate = match Written::at(&path) {
            Err(_) => "is gone",
            Ok(now) if had.is_some_and(|had| *had != now) => "was written to since",
            Ok(_) => continue,
        };
        return Err(format!(
            "its volume {} {fate}, and the guest knows what was on it",
            volume.source
        ));
    }
    let (options, mut of) = (inner.options.clone(), description.clone());
    let settled = task::blocking(move |task| match of.base {
        Some(_) => of.settle_base(&archive::base_of(&options, &of.record, task)?),
        None => Ok(true),
    });
    if !settled.await.map_err(|error| error.to_string())? {
        return Err("the root file system of its image was made anew since".to_owned());
    }
    let (options, wish) = (inner.options.clone(), description.record.spec.vmm);
    let was = description.record.vmm.clone();
    let chosen = task::blocking(move |_| {
        let vmm = vmm::choose(wish, &options)?;
        // Asked where it matters: that is a process.
        let version = (vmm.name == was).then(|| vmm.version()).flatten();
        Ok((vmm.name, version))
    });
    let (vmm, version) = chosen.await.map_err(|error| error.to_string())?;
    same_vmm(description, vmm, version.as_deref())
}

/// Refuses a VMM that may not understand what another has written. One that does not tell its version is tried.
fn same_vmm(description: &Description, vmm: &str, version: Option<&str>) -> std::result::Result<(), String> {
    let (was, had) = (&description.record.vmm, &description.vmm_version);
    if vmm != was {
        return Err(format!("it was taken with {was}, and machines run on {vmm} here"));
    }
    match version {
        Some(version) if version != had => Err(format!(
            "it was taken with {was} {had}, and {vmm} is {version} here"
        )),
        _ => Ok(()),
    }
}

/// The name of the copy of a volume, in a snapshot and in a machine that was made of one.
pub(super) fn volume_file(number: usize) -> String {
    format!("volume{number}.ext4")
}

/// Copies the snapshot's disks into the machine's folder, and says in the spec where its volumes are now. Blocks.
pub(crate) fn copy_disks(held: &Held, files: &Files, spec: &mut MachineSpec, task: &Task) -> Result<()> {
    if held.is_owners() {
        return Ok(());
    }
    let copy = |name: &str| -> Result<bool> {
        let Some(layers) = held.layers(name)? else {
            return Ok(false);
        };
        layers.write_to(&files.data.join(name), task)?;
        Ok(true)
    };
    for path in [files.overlay(), files.rootfs()] {
        copy(
            path.file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default(),
        )?;
    }
    for (number, volume) in spec.volumes.iter_mut().enumerate() {
        let name = volume_file(number);
        if copy(&name)? {
            volume.source = VolumeSource::File(files.data.join(name));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Record;

    #[test]
    fn another_vmm_or_version_is_refused_by_name() {
        let mut record = Record::new("db".parse().unwrap(), "/run".into(), MachineSpec::new());
        record.vmm = SPARKLER.to_owned();
        let of = Description::new(
            "ready".parse().unwrap(),
            record,
            "1.2.3".to_owned(),
            "cpu".to_owned(),
        );
        assert_eq!(same_vmm(&of, SPARKLER, Some("1.2.3")), Ok(()));
        assert_eq!(same_vmm(&of, SPARKLER, None), Ok(()));
        assert_eq!(
            same_vmm(&of, SPARKLER, Some("1.2.4")).unwrap_err(),
            "it was taken with sparkler 1.2.3, and sparkler is 1.2.4 here"
        );
        assert_eq!(
            same_vmm(&of, "firecracker", Some("1.2.3")).unwrap_err(),
            "it was taken with sparkler, and machines run on firecracker here"
        );
    }
}

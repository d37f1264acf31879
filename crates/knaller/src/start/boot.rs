//! One boot, from a claimed name to the last step asked for.

use std::fs::File;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use images::oci::RunConfig;
use tokio::time::timeout;

use super::clock::Clock;
use super::failure::Post;
use super::first::First;
use super::launch::Launch;
use super::means::Means;
use super::undo::Undo;
use super::way::Way;
use super::work::{Place, Signs, Trouble};
use super::{StartEvent, StartOptions, Timeline};
use crate::claim::Claim;
use crate::error::with_causes;
use crate::helper::OwnersDisk;
use crate::knaller::Inner;
use crate::layout::Files;
use crate::network::direct::Owner;
use crate::network::ports::{self, Reserved};
use crate::network::{Connection, Wire};
use crate::record::{Jailed, Record};
use crate::snapshot::{Baseline, Held};
use crate::template::Template;
use crate::volume::{self, Hold};
use crate::watch::Watch;
use crate::{
    Error, MachineSpec, MemoryBackend, Result, folder, handover, image, jail, list, runtime_folder, stop,
    tail, task,
};

/// How long the processes have to end after one of them was found not to answer, before that is blamed instead.
const AFTERMATH: Duration = Duration::from_secs(2);

/// A start under way.
pub(super) struct Start<'a> {
    pub(super) inner: &'a Arc<Inner>,
    pub(super) means: Means,
    pub(super) clock: Clock<'a>,
    pub(super) options: StartOptions,
    /// What its guest is loaded from.
    pub(super) from: Option<(Arc<Held>, MemoryBackend)>,
    /// Which boot a supervisor starts it again after.
    pub(super) after: Option<String>,
}

impl Start<'_> {
    pub(super) async fn boot(self, claim: Claim, mut record: Record) -> Result<Timeline> {
        let files = claim.files().clone();
        let mut undo = Undo::new(claim);
        let claimed = StartEvent::Claimed {
            name: record.name.clone(),
            instance: record.instance.clone(),
        };
        self.clock.tell(claimed);
        if !record.spec.jail {
            let message = format!(
                "{} runs without a jail: a guest that breaks out of its VMM has all of this user's rights",
                record.name
            );
            self.clock.tell(StartEvent::Exposed { message });
        }
        let mut way = if let Some((held, memory)) = &self.from {
            Way::Restored(Arc::clone(held), *memory)
        } else if self.options.cold {
            Way::Cold
        } else {
            Way::find(self.inner, &self.means, &record.spec, &self.clock).await
        };
        let signs = Signs::default();
        if let Err(error) = self.try_boot(&files, &mut record, &mut undo, &way, &signs).await {
            let error = match way {
                Way::Warm(template) if !signs.asked() && blames_the_template(&error) => {
                    way = Way::Cold;
                    self.give_up(template, &error, &mut record, &mut undo).await?;
                    self.try_boot(&files, &mut record, &mut undo, &way, &Signs::default())
                        .await
                        .err()
                }
                _ => Some(error),
            };
            if let Some(error) = error {
                return Err(list::blame(self.inner, Some(&record.name), error).await);
            }
        }
        if let Way::Restored(held, _) = &way {
            Baseline::loaded(&files, &record, held)?;
        }
        // From here on a kill leaves a machine that runs, or the mark of an unfinished start; never a half of either.
        // A mark that cannot be removed would have the next command end the machine.
        folder::remove_file(&files.config_socket())?;
        folder::remove_file(&files.creating())?;
        undo.nothing();
        if let Way::Making(maker) = way
            && signs.kept()
        {
            // The machine is up; without a template the next one is only slower.
            if let Err(error) = task::blocking(move |_| maker.finish()).await {
                self.slower("no template is kept for warm starts", &error);
            }
        }
        Ok(self.clock.finish())
    }

    /// Takes back a warm start that came to nothing, for a cold one.
    async fn give_up(
        &self,
        template: Template,
        error: &Error,
        record: &mut Record,
        undo: &mut Undo,
    ) -> Result<()> {
        self.slower("the warm start failed, and the machine boots instead", error);
        if !undo.end_processes().map_err(Error::system("end processes"))? {
            return Err(Error::Timeout {
                what: format!("the processes of {}", record.name),
                after: AFTERMATH,
            });
        }
        *record = record.clone().again(record.runtime.clone());
        task::blocking(move |_| {
            template.discard();
            Ok(())
        })
        .await
    }

    pub(super) fn slower(&self, what: &str, error: &Error) {
        let message = format!("{what}: {}", with_causes(error));
        let class = Some(error.class());
        self.clock.tell(StartEvent::Slower { message, class });
    }

    async fn try_boot(
        &self,
        files: &Files,
        record: &mut Record,
        undo: &mut Undo,
        way: &Way,
        signs: &Signs,
    ) -> Result<()> {
        runtime_folder::make(files)?;
        handover::make(files)?;
        let mut ports = self.reserve(record).await?;
        record.vmm = self.means.vmm.name.to_owned();
        record.origin = way.origin();
        record.kernel = match way {
            Way::Restored(held, _) => held.description.record.kernel.clone(),
            _ => self.means.kernel_id.clone(),
        };
        record.image = self.means.base.as_ref().map(|base| base.disk.id.clone());
        record.tells = image::tells(&record.spec, &self.run());
        record.checked = image::health(&record.spec, &self.run()).is_some();
        record.jail = self.means.jail.as_ref().map(|_| Jailed::new(files.handover()));
        record.ipv6 = self.means.connection.as_ref().is_some_and(Connection::ipv6);
        if let Some(ports) = &ports {
            record.forwards.clone_from(&ports.forwards);
        }
        let volumes = self.volumes(record).await?;
        let place = self.means.cgroup.as_ref();
        record.cgroup = place.map(|place| place.group(&record.instance));
        let user = self.user(files, record).await?;
        record.save(&files.record())?;
        // Who looks from here on sees in the record what this machine has.
        drop(volumes);
        let socket = files.config_socket();
        let listener = runtime_folder::listen(files, &socket)?;
        let watch = Watch::folder(&files.runtime).map_err(Error::io("watch", &files.runtime))?;
        let group = self.group(record, undo).await?;
        let mut wire = self
            .means
            .connection
            .as_ref()
            .map(|connection| connection.wire.clone());
        if let Some(Wire::Pasta(pasta)) = &mut wire {
            pasta.forwards.clone_from(&record.forwards);
            pasta.root &= user.is_none();
        }
        let network = self.network(wire.as_ref(), record, undo).await?;
        let launch = Launch {
            group,
            files,
            vmm: &self.means.vmm,
            instance: &record.instance,
            wire: wire.as_ref(),
            network,
            options: &self.inner.options,
            jail: self.means.jail.as_deref(),
            disk: owners_disk(&record.spec)?,
            user: Self::switch(user.as_ref(), record),
        };
        let since = self.clock.now();
        undo.processes_of(record.boot());
        if let (Some(ports), Some(Wire::Pasta(_))) = (&mut ports, &wire) {
            ports.let_go();
        }
        let (mut first, gate) = launch.spawn().await?;
        // A process has its number now.
        drop(user);
        if let Some(before) = &self.after
            && stop::is_called_off(files, record, before)?
        {
            return Err(Error::NotRunning(record.name.clone()));
        }
        self.clock.host("spawn", since);
        let place = Place {
            files,
            listener: &listener,
            watch: &watch,
            way,
            signs,
        };
        let work = self.work(&place, record, ports, gate);
        let post = |status: ExitStatus| {
            let started = signs.started();
            Post {
                files,
                vmm: self.means.vmm.name,
                forwards: &record.forwards,
                started,
            }
            .processes_ended(status)
        };
        let trouble = tokio::select! {
            biased;
            done = work => match done {
                Ok(()) => return self.without(files, record),
                Err(trouble) => trouble,
            },
            status = first.wait() => Trouble::Certain(post(status.map_err(Error::system("wait for the VMM"))?)),
        };
        Err(match trouble {
            Trouble::Certain(error) => error,
            Trouble::Apparent(error) => ended_meanwhile(&mut first).await.map_or(error, post),
        })
    }

    /// Notes what the machine's jail turned out to be without.
    fn without(&self, files: &Files, record: &mut Record) -> Result<()> {
        let Some(jail) = &mut record.jail else {
            return Ok(());
        };
        jail.without.extend(jail::told(&tail::of(&files.vmm_log())));
        if jail.without.is_empty() {
            return Ok(());
        }
        let said: Vec<_> = jail
            .without
            .iter()
            .filter(|lack| !jail::is_of_an_older_kernel(lack))
            .map(String::as_str)
            .collect();
        if !said.is_empty() {
            let message = format!(
                "the jail of {} is without {}",
                record.name,
                said.join("; without ")
            );
            self.clock.tell(StartEvent::Exposed { message });
        }
        record.save(&files.record())
    }

    async fn reserve(&self, record: &Record) -> Result<Option<Reserved>> {
        // What was chosen for an earlier boot is chosen anew.
        let forwards = image::published(&record.spec, &self.run());
        let connection = self.means.connection.as_ref();
        let Some(connection) = connection.filter(|_| !forwards.is_empty()) else {
            return Ok(None);
        };
        let ipv6 = connection.ipv6();
        let lock = ports::lock_of(&self.inner.options.paths);
        task::blocking(move |_| ports::reserve(&forwards, ipv6, &lock))
            .await
            .map(Some)
    }

    /// Makes the machine's network, if that is this process's to make.
    async fn network(&self, wire: Option<&Wire>, record: &Record, undo: &mut Undo) -> Result<Option<File>> {
        let Some(Wire::Direct(direct)) = wire.cloned() else {
            return Ok(None);
        };
        let since = self.clock.now();
        undo.network(&direct, &record.instance);
        let owner = Owner {
            instance: record.instance.clone(),
            name: record.name.clone(),
            folder: self.inner.options.paths.data.clone(),
        };
        let forwards = record.forwards.clone();
        let made = task::blocking(move |_| Ok((direct.connect(&owner, &forwards)?, direct.obstacle())));
        let (namespace, obstacle) = made.await?;
        if let Some(message) = obstacle {
            self.clock.tell(StartEvent::Hindered { message });
        }
        self.clock.host("network", since);
        Ok(Some(namespace))
    }

    /// Makes the machine's volumes ready.
    async fn volumes(&self, record: &Record) -> Result<Option<Hold>> {
        let (inner, record) = (Arc::clone(self.inner), record.clone());
        task::blocking(move |task| volume::prepare(&inner, &record, task)).await
    }

    /// Makes the machine's control group, if it is to have one.
    async fn group(&self, record: &Record, undo: &mut Undo) -> Result<Option<File>> {
        let (Some(place), Some(group)) = (self.means.cgroup.clone(), record.cgroup.clone()) else {
            return Ok(None);
        };
        undo.group(&group);
        task::blocking(move |_| place.make(&group)).await.map(Some)
    }

    /// What the image says of itself.
    pub(super) fn run(&self) -> RunConfig {
        let base = self.means.base.as_ref();
        base.map(|base| base.run.clone()).unwrap_or_default()
    }
}

/// What the VMM is to have for itself.
fn owners_disk(spec: &MachineSpec) -> Result<Option<OwnersDisk>> {
    let Some((path, read_only)) = volume::raw_root(spec) else {
        return Ok(None);
    };
    let path = path.canonicalize().map_err(Error::io("find", path))?;
    Ok(Some(OwnersDisk { path, read_only }))
}

/// Whether a thawed guest may have failed where one that boots does not.
fn blames_the_template(error: &Error) -> bool {
    matches!(
        error,
        Error::VmmRefused { .. }
            | Error::VmmDied { .. }
            | Error::NoAnswer { .. }
            | Error::NeverAsked { .. }
            | Error::GuestPanicked { .. }
            | Error::GuestFailed { .. }
    )
}

async fn ended_meanwhile(first: &mut First) -> Option<ExitStatus> {
    timeout(AFTERMATH, first.wait()).await.ok()?.ok()
}

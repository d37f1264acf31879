//! One boot, from a claimed name to the last step asked for.

use std::fs::File;
use std::io;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use firecracker_api::Client;
use guest_protocol::HostMessage;
use images::oci::RunConfig;
use tokio::net::UnixListener;
use tokio::time::{Instant, timeout, timeout_at};

use super::clock::Clock;
use super::dialogue::{self, End};
use super::disks::{self, Disks};
use super::failure::{self, Post};
use super::first::First;
use super::gate::Gate;
use super::inside::Inside;
use super::keys::{self, Keys};
use super::launch::Launch;
use super::means::Means;
use super::undo::Undo;
use super::way::{self, Way};
use super::{StartEvent, StartOptions, Timeline, api, configure, guest, limits};
use crate::claim::Claim;
use crate::handover;
use crate::knaller::Inner;
use crate::layout::Files;
use crate::network::pasta::Pasta;
use crate::network::ports::{self, Reserved};
use crate::record::{Jailed, Record};
use crate::snapshot::Held;
use crate::template::{Maker, Template};
use crate::volume::{self, Hold};
use crate::watch::Watch;
use crate::{Error, Result, list, runtime_folder, tail, task};
use crate::{image, jail};

/// How long the processes have to end after one of them was found not to answer, before that is blamed instead.
const AFTERMATH: Duration = Duration::from_secs(2);

/// How long a thawed guest may take to ask for its config.
const THAW: Duration = Duration::from_secs(20);

/// One attempt: where it happens, by which way, and how far it has come.
struct Place<'a> {
    files: &'a Files,
    listener: &'a UnixListener,
    watch: &'a Watch,
    way: &'a Way,
    signs: &'a Signs,
}

/// How far an attempt has come.
#[derive(Debug, Default)]
struct Signs {
    started: AtomicBool,
    kept: AtomicBool,
    asked: AtomicBool,
}

impl Signs {
    /// The guest runs.
    fn start(&self) {
        self.started.store(true, Ordering::Relaxed);
    }

    fn started(&self) -> bool {
        self.started.load(Ordering::Relaxed)
    }

    /// The guest was kept.
    fn keep(&self) {
        self.kept.store(true, Ordering::Relaxed);
    }

    fn kept(&self) -> bool {
        self.kept.load(Ordering::Relaxed)
    }

    /// Whether the guest has asked for its config.
    fn asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }
}

/// A start under way.
pub(super) struct Start<'a> {
    pub(super) inner: &'a Arc<Inner>,
    pub(super) means: Means,
    pub(super) clock: Clock<'a>,
    pub(super) options: StartOptions,
    /// What its guest is loaded from.
    pub(super) from: Option<Arc<Held>>,
}

/// Why a step failed.
enum Trouble {
    Certain(Error),
    /// Unless the processes are about to end, which says more.
    Apparent(Error),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Certain(error)
    }
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
            tracing::warn!("{message}");
            self.clock.tell(StartEvent::Exposed { message });
        }
        let mut way = if let Some(held) = &self.from {
            Way::Restored(Arc::clone(held))
        } else if self.options.cold {
            Way::Cold
        } else {
            Way::find(self.inner, &self.means, &record.spec).await
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
        // From here on a kill leaves a machine that runs, or the mark of an unfinished start; never a half of either.
        let _ = std::fs::remove_file(files.config_socket());
        if let Err(error) = std::fs::remove_file(files.creating())
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(Error::io("remove", files.creating())(error));
        }
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

    fn slower(&self, what: &str, error: &dyn std::error::Error) {
        let chain = std::iter::successors(Some(error), |error| error.source());
        let why = chain.map(ToString::to_string).collect::<Vec<_>>().join(": ");
        let message = format!("{what}: {why}");
        self.clock.tell(StartEvent::Slower { message });
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
        record.warm = way.is_warm();
        record.kernel = match way {
            Way::Restored(held) => held.description.record.kernel.clone(),
            _ => self.means.kernel_id.clone(),
        };
        record.image = self.means.base.as_ref().map(|base| base.disk.id.clone());
        record.tells = image::tells(&record.spec, &self.run());
        record.checked = image::health(&record.spec, &self.run()).is_some();
        record.jail = self.means.jail.as_ref().map(|_| Jailed::new(files.handover()));
        record.ipv6 = self.means.pasta.as_ref().is_some_and(|pasta| pasta.ipv6);
        if let Some(ports) = &ports {
            record.forwards.clone_from(&ports.forwards);
        }
        let volumes = self.volumes(record).await?;
        let place = self.means.cgroup.as_ref();
        record.cgroup = place.map(|place| place.group(&record.instance));
        record.save(&files.record())?;
        // Who looks from here on sees in the record what this machine has.
        drop(volumes);
        let socket = files.config_socket();
        let listener = UnixListener::bind(&socket).map_err(Error::io("listen on", &socket))?;
        let watch = Watch::folder(&files.runtime).map_err(Error::io("watch", &files.runtime))?;
        let pasta = self.means.pasta.as_ref();
        let pasta = pasta.map(|pasta| Pasta {
            forwards: record.forwards.clone(),
            ..pasta.clone()
        });
        let group = self.group(record, undo).await?;
        let launch = Launch {
            group,
            files,
            vmm: &self.means.vmm,
            instance: &record.instance,
            pasta: pasta.as_ref(),
            options: &self.inner.options,
            jail: self.means.jail.as_deref(),
        };
        let since = self.clock.now();
        undo.processes_of(&record.instance);
        if let Some(ports) = &mut ports {
            ports.let_go();
        }
        let (mut first, gate) = launch.spawn().await?;
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
        jail.without = jail::told(&tail::of(&files.vmm_log()));
        if jail.without.is_empty() {
            return Ok(());
        }
        let message = format!(
            "the jail of {} is without {}",
            record.name,
            jail.without.join("; without ")
        );
        tracing::warn!("{message}");
        self.clock.tell(StartEvent::Exposed { message });
        record.save(&files.record())
    }

    async fn reserve(&self, record: &Record) -> Result<Option<Reserved>> {
        // What was chosen for an earlier boot is chosen anew.
        let forwards = image::published(&record.spec, &self.run());
        let Some(pasta) = self.means.pasta.as_ref().filter(|_| !forwards.is_empty()) else {
            return Ok(None);
        };
        let ipv6 = pasta.ipv6;
        let lock = self.inner.options.paths.runtime.join("ports.lock");
        task::blocking(move |_| ports::reserve(&forwards, ipv6, &lock))
            .await
            .map(Some)
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
    fn run(&self) -> RunConfig {
        let base = self.means.base.as_ref();
        base.map(|base| base.run.clone()).unwrap_or_default()
    }

    /// Everything that happens while the processes run.
    async fn work(
        &self,
        place: &Place<'_>,
        record: &Record,
        ports: Option<Reserved>,
        gate: Option<Gate>,
    ) -> std::result::Result<(), Trouble> {
        let after = Duration::from_millis(record.spec.boot_timeout_ms);
        let deadline = Instant::now() + after;
        let machine = async {
            let answered = timeout_at(deadline, self.machine(place, record, ports)).await;
            answered.unwrap_or_else(|_| Err(self.silence(place, after).into()))
        };
        let material = async {
            let made = timeout_at(deadline, self.material(place, record, gate)).await;
            let what = || format!("making the disks and keys of {}", record.name);
            made.map_err(|_| Error::Timeout { what: what(), after })?
        };
        let (client, (keys, disks)) = tokio::try_join!(machine, material)?;
        let since = self.clock.now();
        let refused = |error| self.refused(&error);
        configure::metadata(&client, &record.spec)
            .await
            .map_err(refused)?;
        disks::link(place.files, &disks.disks)?;
        if let Way::Cold = place.way {
            configure::disks(&client, &disks.disks).await.map_err(refused)?;
        }
        if let Way::Restored(held) = place.way {
            way::load(&client, held.state(), held.memory())
                .await
                .map_err(refused)?;
        }
        let answer = match place.way {
            Way::Restored(_) => HostMessage::Renew(Box::new(guest::renewal(record, &keys)?)),
            _ => HostMessage::Config(Box::new(guest::config(
                record,
                &self.run(),
                &keys,
                disks.root,
                disks.volumes,
            )?)),
        };
        self.clock.guest_runs();
        place.signs.start();
        match place.way {
            Way::Cold => {
                configure::go(&client).await.map_err(refused)?;
                limits::hold(&client, &record.spec).await.map_err(refused)?;
                self.clock.host("boot", since);
            }
            Way::Making(_) | Way::Warm(_) => {
                way::attach(&client, &disks.disks, &record.spec)
                    .await
                    .map_err(refused)?;
                way::resume(&client).await.map_err(refused)?;
                self.clock.host("resume", since);
            }
            Way::Restored(_) => {
                // Its limits and its balloon are part of the state.
                way::resume(&client).await.map_err(refused)?;
                self.clock.host("resume", since);
            }
        }
        self.talk(place, answer, deadline, after).await
    }

    /// Why the first part of a start ran out of time.
    fn silence(&self, place: &Place<'_>, after: Duration) -> Error {
        if place.signs.started() {
            return Error::NeverAsked {
                after,
                console: tail::lines(&tail::of(&place.files.console())),
            };
        }
        Error::NoAnswer {
            what: format!("{}'s API", self.means.vmm.name),
            after,
        }
    }

    /// The VMM with all but the machine's disks: told what to boot, or with a guest that waits for its config, paused.
    async fn machine(
        &self,
        place: &Place<'_>,
        record: &Record,
        ports: Option<Reserved>,
    ) -> std::result::Result<Client, Trouble> {
        let since = self.clock.now();
        let client = api::answers(place.files, place.watch)
            .await
            .map_err(|e| Trouble::Apparent(Error::io("reach", place.files.api_socket())(e)))?;
        // The VMM runs, so pasta has bound its ports.
        drop(ports);
        self.clock.host("api", since);
        let since = self.clock.now();
        if let Way::Restored(_) = place.way {
            // Its disks come first.
            return Ok(client);
        }
        if let Way::Warm(template) = place.way {
            disks::link(place.files, &way::blanks(place.files, &record.spec)?)?;
            way::load(&client, template.state(), template.memory())
                .await
                .map_err(|e| self.refused(&e))?;
            self.clock.host("load", since);
            return Ok(client);
        }
        let text = |path: &std::path::Path| path.to_string_lossy().into_owned();
        let boot = configure::Boot {
            kernel: text(&self.means.kernel),
            initrd: text(&self.means.initrd),
        };
        // A guest that is to be kept keeps all of its memory.
        let balloon = match place.way {
            Way::Cold => record.spec.limits.balloon_mib(record.spec.memory_mib),
            _ => 0,
        };
        configure::machine(&client, &record.spec, boot, balloon)
            .await
            .map_err(|e| self.refused(&e))?;
        self.clock.host("machine", since);
        if let Way::Making(maker) = place.way {
            self.keep(place, record, &client, maker).await?;
        }
        Ok(client)
    }

    /// Boots a guest with blank drives until it waits for its config, and keeps it. It is paused then.
    async fn keep(
        &self,
        place: &Place<'_>,
        record: &Record,
        client: &Client,
        maker: &Maker,
    ) -> std::result::Result<(), Trouble> {
        let refused = |error| self.refused(&error);
        let since = self.clock.now();
        let blanks = way::blanks(place.files, &record.spec)?;
        disks::link(place.files, &blanks)?;
        configure::disks(client, &blanks).await.map_err(refused)?;
        self.clock.guest_runs();
        place.signs.start();
        configure::go(client).await.map_err(refused)?;
        self.clock.host("boot", since);
        let guest = match dialogue::settled(place.listener, &self.clock, &way::interfaces(&self.means)).await
        {
            Ok(Ok(guest)) => guest,
            Ok(Err(end)) => return self.ended(place, Ok(end)).await,
            Err(error) => return self.ended(place, Err(error)).await,
        };
        let since = self.clock.now();
        let less = "no template is kept for warm starts";
        let kept = way::keep(client, &record.handover(place.files)).await;
        drop(guest);
        if let Err(error) = kept {
            self.slower(less, &error);
            // Half a guest takes room that the machine may need.
            handover::clear(place.files)?;
            return Ok(());
        }
        let (files, to) = (place.files.clone(), maker.folder().to_owned());
        match task::blocking(move |_| handover::take(&files, &to)).await {
            Ok(()) => {
                place.signs.keep();
                self.clock.host("keep", since);
            }
            Err(error) => {
                self.slower(less, &error);
                handover::clear(place.files)?;
            }
        }
        Ok(())
    }

    /// Keys and disks; and with the disks, the jail for the VMM, if it waits for one.
    async fn material(
        &self,
        place: &Place<'_>,
        record: &Record,
        gate: Option<Gate>,
    ) -> std::result::Result<(Keys, Disks), Trouble> {
        let since = self.clock.now();
        let (options, files, spec) = (self.inner.options.clone(), place.files.clone(), record.clone());
        let base = self.means.base.as_ref().map(|base| base.disk.clone());
        let inside = gate
            .is_some()
            .then(|| Inside::new(&files, &self.means, place.way));
        let made = task::blocking(move |task| {
            let disks = disks::prepare(&options, &files, &spec, base.as_ref(), task)?;
            let plan = inside.map(|inside| inside.plan(&disks.disks)).transpose()?;
            Ok((disks, plan))
        });
        let (disks, plan) = made.await?;
        if let (Some(gate), Some(plan)) = (gate, plan) {
            gate.open(&plan).await?;
        }
        self.clock.host("disks", since);
        let (files, name) = (place.files.clone(), record.name.clone());
        let keys = task::blocking(move |_| keys::prepare(&files, &name)).await?;
        Ok((keys, disks))
    }

    async fn talk(
        &self,
        place: &Place<'_>,
        answer: HostMessage,
        deadline: Instant,
        after: Duration,
    ) -> std::result::Result<(), Trouble> {
        let never = |after| Error::NeverAsked {
            after,
            console: tail::lines(&tail::of(&place.files.console())),
        };
        let boots = matches!(place.way, Way::Cold);
        let wait = self.options.wait;
        let dialogue = dialogue::hold(
            place.listener,
            answer,
            wait,
            &self.clock,
            boots,
            &place.signs.asked,
        );
        tokio::pin!(dialogue);
        if place.way.is_warm() {
            // One that does not come back to life soon never will.
            tokio::select! {
                end = &mut dialogue => return self.ended(place, end).await,
                () = tokio::time::sleep(THAW) => if !place.signs.asked() {
                    return Err(never(THAW).into());
                },
            }
        }
        match timeout_at(deadline, dialogue).await {
            Ok(end) => self.ended(place, end).await,
            Err(_) if place.signs.asked() => Err(Error::SshTimeout {
                after,
                console: tail::lines(&tail::of(&place.files.console())),
            }
            .into()),
            Err(_) => Err(never(after).into()),
        }
    }

    /// What the end of the dialogue means for the start.
    async fn ended(&self, place: &Place<'_>, end: io::Result<End>) -> std::result::Result<(), Trouble> {
        match end {
            Ok(End::Done | End::Exited(_)) => Ok(()),
            Ok(End::Failed { step, message }) => Err(Error::GuestFailed {
                console: failure::console_that_says(place.files, &message).await,
                step,
                message,
            }
            .into()),
            Ok(End::Version(guest)) => Err(Error::GuestVersion {
                guest,
                host: guest_protocol::VERSION,
            }
            .into()),
            Err(error) => Err(Trouble::Apparent(Error::GuestFailed {
                step: "boot dialogue".to_owned(),
                message: error.to_string(),
                console: tail::lines(&tail::of(&place.files.console())),
            })),
        }
    }

    fn refused(&self, error: &firecracker_api::Error) -> Trouble {
        let vmm = self.means.vmm.name;
        match error.fault_message() {
            Some(message) => Trouble::Certain(Error::VmmRefused {
                vmm: vmm.to_owned(),
                message: message.to_owned(),
            }),
            None => Trouble::Apparent(Error::VmmRefused {
                vmm: vmm.to_owned(),
                message: error.to_string(),
            }),
        }
    }
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

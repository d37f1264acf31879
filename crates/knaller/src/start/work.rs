//! What happens while the processes of a boot run: from the VMM's first answer to the guest's last word.
//!
//! ```text
//! VMM ── API answers ─ machine, network │ load ─┐
//!                                               ├─ drives ─ start │ resume ─ hello ─ config ─ … ready
//! helper's gate ─ disks, keys ──────────────────┘
//! ```

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use firecracker_api::Client;
use firecracker_api::models::MemoryBackend as MemorySource;
use guest_protocol::HostMessage;
use tokio::net::UnixListener;
use tokio::time::{Instant, timeout_at};

use super::boot::Start;
use super::dialogue::{self, End};
use super::disks::{self, Disks};
use super::gate::Gate;
use super::inside::Inside;
use super::keys::{self, Keys};
use super::way::{self, Way};
use super::{api, configure, failure, guest, limits};
use crate::layout::Files;
use crate::network::ports::Reserved;
use crate::pager::Pager;
use crate::record::Record;
use crate::snapshot::Held;
use crate::template::Maker;
use crate::watch::Watch;
use crate::{Error, MemoryBackend, handover, tail, task};

/// How long a thawed guest may take to ask for its config.
const THAW: Duration = Duration::from_secs(20);

/// One attempt: where it happens, by which way, and how far it has come.
pub(super) struct Place<'a> {
    pub(super) files: &'a Files,
    pub(super) listener: &'a UnixListener,
    pub(super) watch: &'a Watch,
    pub(super) way: &'a Way,
    pub(super) signs: &'a Signs,
}

/// How far an attempt has come.
#[derive(Debug, Default)]
pub(super) struct Signs {
    started: AtomicBool,
    kept: AtomicBool,
    asked: AtomicBool,
}

impl Signs {
    /// The guest runs.
    pub(super) fn start(&self) {
        self.started.store(true, Ordering::Relaxed);
    }

    pub(super) fn started(&self) -> bool {
        self.started.load(Ordering::Relaxed)
    }

    /// The guest was kept.
    pub(super) fn keep(&self) {
        self.kept.store(true, Ordering::Relaxed);
    }

    pub(super) fn kept(&self) -> bool {
        self.kept.load(Ordering::Relaxed)
    }

    /// Whether the guest has asked for its config.
    pub(super) fn asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }
}

/// What is there when the guest comes up.
struct Up<'a> {
    place: &'a Place<'a>,
    record: &'a Record,
    client: &'a Client,
    keys: &'a Keys,
    disks: &'a Disks,
    deadline: Instant,
    /// How long until then, from the beginning.
    after: Duration,
}

/// A step of a boot.
type Attempt<T> = Result<T, Trouble>;

/// Why a step failed.
pub(super) enum Trouble {
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
    /// Everything that happens while the processes run.
    pub(super) async fn work(
        &self,
        place: &Place<'_>,
        record: &Record,
        ports: Option<Reserved>,
        gate: Option<Gate>,
    ) -> Attempt<()> {
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
        let up = Up {
            place,
            record,
            client: &client,
            keys: &keys,
            disks: &disks,
            deadline,
            after,
        };
        match place.way {
            Way::Restored(held, MemoryBackend::File) => {
                let memory = way::in_file(held.memory());
                Box::pin(self.bring_up(up, Some((held, memory)))).await
            }
            Way::Restored(held, MemoryBackend::Userfault) => {
                let pager = Pager::listen(place.files, held.memory(), held.working_set())?;
                let served = way::served(pager.socket());
                let start = Box::pin(self.bring_up(up, Some((held, served))));
                // A VMM that ends is what there is to tell of.
                Box::pin(pager.beside((deadline, after), start, Trouble::Apparent)).await
            }
            _ => Box::pin(self.bring_up(up, None)).await,
        }
    }

    /// From a VMM that knows its machine, and material that is there, to the guest's last word. `load` is what it is
    /// loaded from.
    async fn bring_up(&self, up: Up<'_>, load: Option<(&Held, MemorySource)>) -> Attempt<()> {
        let Up {
            place,
            record,
            client,
            keys,
            disks,
            deadline,
            after,
        } = up;
        let since = self.clock.now();
        let refused = |error| self.refused(&error);
        configure::metadata(client, &record.spec).await.map_err(refused)?;
        disks::link(place.files, &disks.disks)?;
        if let Way::Cold = place.way {
            configure::disks(client, &disks.disks).await.map_err(refused)?;
        }
        if let Some((held, memory)) = load {
            way::load(client, held.state(), memory, record.spec.track_dirty)
                .await
                .map_err(refused)?;
        }
        let answer = match place.way {
            Way::Restored(..) => HostMessage::Renew(Box::new(guest::renewal(
                record,
                keys,
                self.means.connection.as_ref(),
            )?)),
            _ => HostMessage::Config(Box::new(guest::config(
                record,
                &self.run(),
                keys,
                disks.root.clone(),
                disks.volumes.clone(),
                self.means.connection.as_ref(),
            )?)),
        };
        self.clock.guest_runs();
        place.signs.start();
        match place.way {
            Way::Cold => {
                configure::go(client).await.map_err(refused)?;
                limits::hold(client, &record.spec).await.map_err(refused)?;
                self.clock.host("boot", since);
            }
            Way::Making(_) | Way::Warm(_) => {
                way::attach(client, &disks.disks, &record.spec)
                    .await
                    .map_err(refused)?;
                way::resume(client).await.map_err(refused)?;
                self.clock.host("resume", since);
            }
            Way::Restored(..) => {
                // Its limits and its balloon are part of the state.
                way::resume(client).await.map_err(refused)?;
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
    async fn machine(&self, place: &Place<'_>, record: &Record, ports: Option<Reserved>) -> Attempt<Client> {
        let since = self.clock.now();
        let client = api::answers(place.files, place.watch)
            .await
            .map_err(|e| Trouble::Apparent(Error::io("reach", place.files.api_socket())(e)))?;
        // The VMM runs, so pasta has bound its ports.
        drop(ports);
        self.clock.host("api", since);
        let since = self.clock.now();
        if let Way::Restored(..) = place.way {
            // Its disks come first.
            return Ok(client);
        }
        if let Way::Warm(template) = place.way {
            disks::link(place.files, &way::blanks(place.files, &record.spec)?)?;
            let track = record.spec.track_dirty;
            way::load(&client, template.state(), way::in_file(template.memory()), track)
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
    async fn keep(&self, place: &Place<'_>, record: &Record, client: &Client, maker: &Maker) -> Attempt<()> {
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
        handover::offer(place.files)?;
        let kept = way::keep(client, &record.handover(place.files)).await;
        drop(guest);
        if let Err(error) = kept {
            let refused = Error::refused(self.means.vmm.name, &error);
            self.slower(less, &handover::explain(place.files, refused));
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
    ) -> Attempt<(Keys, Disks)> {
        let since = self.clock.now();
        let (options, files, spec) = (self.inner.options.clone(), place.files.clone(), record.clone());
        let base = self.means.base.as_ref().map(|base| base.disk.clone());
        let inside = gate
            .is_some()
            .then(|| Inside::new(&files, &self.means, place.way, record.spec.memory_mib));
        let user = record.jail.as_ref().and_then(|jail| jail.user);
        let made = task::blocking(move |task| {
            let disks = disks::prepare(&options, &files, &spec, base.as_ref(), task)?;
            let plan = inside.map(|inside| inside.plan(&disks.disks, user)).transpose()?;
            Ok((disks, plan))
        });
        let (disks, plan) = made.await?;
        if let (Some(gate), Some((plan, handed))) = (gate, plan) {
            gate.open(&plan, &handed).await?;
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
    ) -> Attempt<()> {
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
    async fn ended(&self, place: &Place<'_>, end: io::Result<End>) -> Attempt<()> {
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

//! One boot, from a claimed name to the last step asked for.

use std::io;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use firecracker_api::Client;
use images::oci::RunConfig;
use tokio::net::UnixListener;
use tokio::process::Child;
use tokio::time::{Instant, timeout, timeout_at};

use super::clock::Clock;
use super::dialogue::{self, End};
use super::disks::{self, Disks};
use super::failure::{self, Post};
use super::keys::{self, Keys};
use super::launch::Launch;
use super::means::Means;
use super::undo::Undo;
use super::{StartEvent, Timeline, Wait, api, configure, guest};
use crate::claim::Claim;
use crate::image;
use crate::knaller::Inner;
use crate::layout::Files;
use crate::network::pasta::Pasta;
use crate::network::ports::{self, Reserved};
use crate::record::Record;
use crate::volume::{self, Hold};
use crate::watch::Watch;
use crate::{Error, Result, list, runtime_folder, tail, task};

/// How long the processes have to end after one of them was found not to answer, before that is blamed instead.
const AFTERMATH: Duration = Duration::from_secs(2);

/// A start under way.
pub(super) struct Start<'a> {
    pub(super) inner: &'a Arc<Inner>,
    pub(super) means: Means,
    pub(super) clock: Clock<'a>,
    pub(super) wait: Wait,
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
        let result = self.try_boot(&files, &mut record, &mut undo).await;
        if let Err(error) = result {
            return Err(list::blame(self.inner, Some(&record.name), error).await);
        }
        // From here on a kill leaves a machine that runs, or the mark of an unfinished start; never a half of either.
        let _ = std::fs::remove_file(files.config_socket());
        if let Err(error) = std::fs::remove_file(files.creating())
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(Error::io("remove", files.creating())(error));
        }
        undo.nothing();
        Ok(self.clock.finish())
    }

    async fn try_boot(&self, files: &Files, record: &mut Record, undo: &mut Undo) -> Result<()> {
        runtime_folder::make(files)?;
        let mut ports = self.reserve(record).await?;
        record.vmm = self.means.vmm.name.to_owned();
        record.kernel.clone_from(&self.means.kernel_id);
        record.image = self.means.base.as_ref().map(|base| base.disk.id.clone());
        record.tells = image::tells(&record.spec, &self.run());
        record.checked = image::health(&record.spec, &self.run()).is_some();
        record.ipv6 = self.means.pasta.as_ref().is_some_and(|pasta| pasta.ipv6);
        if let Some(ports) = &ports {
            record.forwards.clone_from(&ports.forwards);
        }
        let volumes = self.volumes(record).await?;
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
        let launch = Launch {
            files,
            vmm: &self.means.vmm,
            instance: &record.instance,
            pasta: pasta.as_ref(),
            options: &self.inner.options,
        };
        let since = self.clock.now();
        undo.processes_of(&record.instance);
        if let Some(ports) = &mut ports {
            ports.let_go();
        }
        let mut child = launch.spawn()?;
        self.clock.host("spawn", since);
        let started = AtomicBool::new(false);
        let work = self.work(files, record, &listener, &watch, ports, &started);
        let post = |status: ExitStatus| {
            let started = started.load(Ordering::Relaxed);
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
                Ok(()) => return Ok(()),
                Err(trouble) => trouble,
            },
            status = child.wait() => Trouble::Certain(post(status.map_err(Error::system("wait for the VMM"))?)),
        };
        Err(match trouble {
            Trouble::Certain(error) => error,
            Trouble::Apparent(error) => ended_meanwhile(&mut child).await.map_or(error, post),
        })
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

    /// What the image says of itself.
    fn run(&self) -> RunConfig {
        let base = self.means.base.as_ref();
        base.map(|base| base.run.clone()).unwrap_or_default()
    }

    /// Everything that happens while the processes run.
    async fn work(
        &self,
        files: &Files,
        record: &Record,
        listener: &UnixListener,
        watch: &Watch,
        ports: Option<Reserved>,
        started: &AtomicBool,
    ) -> std::result::Result<(), Trouble> {
        let after = Duration::from_millis(record.spec.boot_timeout_ms);
        let deadline = Instant::now() + after;
        let machine = async {
            let answered = timeout_at(deadline, self.machine(files, record, watch, ports)).await;
            let what = || format!("{}'s API", self.means.vmm.name);
            answered.map_err(|_| Error::NoAnswer { what: what(), after })?
        };
        let material = async {
            let made = timeout_at(deadline, self.material(files, record)).await;
            let what = || format!("making the disks and keys of {}", record.name);
            made.map_err(|_| Error::Timeout { what: what(), after })?
        };
        let (client, (keys, disks)) = tokio::try_join!(machine, material)?;
        let since = self.clock.now();
        configure::disks(&client, &disks.disks)
            .await
            .map_err(|e| self.refused(&e))?;
        let config = guest::config(record, &self.run(), &keys, disks.root, disks.volumes)?;
        self.clock.guest_runs();
        started.store(true, Ordering::Relaxed);
        configure::go(&client).await.map_err(|e| self.refused(&e))?;
        self.clock.host("boot", since);
        self.talk(files, listener, config, deadline, after).await
    }

    /// The VMM, told all but its disks.
    async fn machine(
        &self,
        files: &Files,
        record: &Record,
        watch: &Watch,
        ports: Option<Reserved>,
    ) -> std::result::Result<Client, Trouble> {
        let since = self.clock.now();
        let client = api::answers(files, watch)
            .await
            .map_err(|e| Trouble::Apparent(Error::io("reach", files.api_socket())(e)))?;
        // The VMM runs, so pasta has bound its ports.
        drop(ports);
        self.clock.host("api", since);
        let since = self.clock.now();
        let text = |path: &std::path::Path| path.to_string_lossy().into_owned();
        let boot = configure::Boot {
            kernel: text(&self.means.kernel),
            initrd: text(&self.means.initrd),
        };
        configure::machine(&client, &record.spec, files, boot)
            .await
            .map_err(|e| self.refused(&e))?;
        self.clock.host("machine", since);
        Ok(client)
    }

    /// Keys and disks.
    async fn material(&self, files: &Files, record: &Record) -> std::result::Result<(Keys, Disks), Trouble> {
        let since = self.clock.now();
        let (options, files, record) = (self.inner.options.clone(), files.clone(), record.clone());
        let base = self.means.base.as_ref().map(|base| base.disk.clone());
        let made = task::blocking(move |task| {
            let keys = keys::prepare(&files, &record.name)?;
            Ok((
                keys,
                disks::prepare(&options, &files, &record, base.as_ref(), task)?,
            ))
        });
        let made = made.await?;
        self.clock.host("disks", since);
        Ok(made)
    }

    async fn talk(
        &self,
        files: &Files,
        listener: &UnixListener,
        config: guest_protocol::Config,
        deadline: Instant,
        after: Duration,
    ) -> std::result::Result<(), Trouble> {
        let console = || tail::lines(&tail::of(&files.console()));
        let mut asked = false;
        let dialogue = dialogue::hold(listener, config, self.wait, &self.clock, &mut asked);
        match timeout_at(deadline, dialogue).await {
            Ok(Ok(End::Done | End::Exited(_))) => Ok(()),
            Ok(Ok(End::Failed { step, message })) => Err(Error::GuestFailed {
                console: failure::console_that_says(files, &message).await,
                step,
                message,
            }
            .into()),
            Ok(Ok(End::Version(guest))) => Err(Error::GuestVersion {
                guest,
                host: guest_protocol::VERSION,
            }
            .into()),
            Ok(Err(error)) => Err(Trouble::Apparent(Error::GuestFailed {
                step: "boot dialogue".to_owned(),
                message: error.to_string(),
                console: console(),
            })),
            Err(_) if asked => Err(Error::SshTimeout {
                after,
                console: console(),
            }
            .into()),
            Err(_) => Err(Error::NeverAsked {
                after,
                console: console(),
            }
            .into()),
        }
    }

    fn refused(&self, error: &firecracker_api::Error) -> Trouble {
        let vmm = self.means.vmm.name;
        match error.fault_message() {
            Some(message) => Trouble::Certain(Error::VmmRefused {
                vmm,
                message: message.to_owned(),
            }),
            None => Trouble::Apparent(Error::VmmRefused {
                vmm,
                message: error.to_string(),
            }),
        }
    }
}

async fn ended_meanwhile(child: &mut Child) -> Option<ExitStatus> {
    timeout(AFTERMATH, child.wait()).await.ok()?.ok()
}

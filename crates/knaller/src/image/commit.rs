//! A machine's disk as a new image.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use firecracker_api::Client;
use guest_protocol::names;
use images::commit::{self, CommitError, IsOwn, Own, OwnContents};
use images::convert::{Limits, root_file_system};
use images::ext4::read::replay_journal;
use images::oci::{Descriptor, Reference, media_type};
use images::rootfs::Rootfs;
use images::store::{Adding, Image, NewLayer, Origin, Store};
use images::{Progress, Superblock, Task};
use jiff::Timestamp;

use super::{ImageEvent, of_digest, store::ImageObserver};
use crate::claim::Claim;
use crate::layout::{self, Files};
use crate::record::Record;
use crate::remove_on_drop::RemoveOnDrop;
use crate::snapshot::Frozen;
use crate::{Error, Machine, Name, Options, Result, Root, heal, task};

impl Machine {
    /// Makes an image of what the machine was started from and what it has changed since, its volumes left out, and calls it
    /// `name`. The machine stays as it is: one that runs stands still while its disk is copied.
    ///
    /// # Errors
    /// It was not started from an image, its disk is damaged, or its guest does not answer.
    pub async fn commit(&self, name: &Reference, observer: ImageObserver) -> Result<Image> {
        let inner = Arc::clone(self.inner());
        heal::one(&inner, self.name()).await?;
        let files = layout::files(&inner.options.paths, self.name());
        let claim = Claim::take(&files, self.name()).await?;
        let record = Record::load(&files.record())?;
        let of = Of::the(&record)?;
        let report = {
            let observer = Arc::clone(&observer);
            move |step| observer(ImageEvent::Work(step))
        };
        let (claim, disk) = if heal::lives(&files)? {
            let disk = running(&files, &record, report.clone(), &observer).await?;
            // What is done with the copy is no concern of the machine's.
            drop(claim);
            (None, Some(disk))
        } else {
            (Some(claim), None)
        };
        let name = name.clone();
        task::watched(report, move |task| {
            let disk = disk.map_or_else(|| stopped(&files, task), Ok)?;
            let image = commit(&inner.options, &of, &disk, &name, task);
            drop(claim);
            image
        })
        .await
    }
}

/// What is to be known of a machine for its image.
struct Of {
    machine: Name,
    hostname: String,
    image: String,
    digest: String,
}

impl Of {
    fn the(record: &Record) -> Result<Self> {
        let (Root::Image(image), Some(digest)) = (&record.spec.root, &record.image) else {
            return Err(Error::NoImageToCommit(record.name.clone()));
        };
        Ok(Self {
            machine: record.name.clone(),
            hostname: record.hostname(),
            image: image.clone(),
            digest: digest.clone(),
        })
    }
}

/// The overlay of a machine that runs, copied while its guest stands still.
async fn running(
    files: &Files,
    record: &Record,
    report: impl Fn(Progress) + Send + Sync + 'static,
    observer: &ImageObserver,
) -> Result<File> {
    let client = Client::new(files.api_socket());
    let frozen = Frozen::begin(client, files, record).await?;
    for warning in &frozen.warnings {
        observer(ImageEvent::Warning(warning.clone()));
    }
    let files = files.clone();
    let copied = task::watched(report, move |task| copy(&files, task)).await;
    frozen.end().await?;
    copied
}

fn commit(options: &Options, of: &Of, disk: &File, name: &Reference, task: &Task) -> Result<Image> {
    let store = Store::open(&options.paths.data)?;
    let hold = store.adding(task)?;
    let base = of_digest(&store, &of.image, &of.digest)?;
    let image = make(options, of, disk, name, &hold, &base, task);
    drop(hold);
    if image.is_err()
        && let Err(error) = store.collect_if_idle()
    {
        tracing::warn!(%error, "what was packed in vain is left to the next command");
    }
    image
}

fn make(
    options: &Options,
    of: &Of,
    disk: &File,
    name: &Reference,
    hold: &Adding,
    base: &Image,
    task: &Task,
) -> Result<Image> {
    let limits = &options.image_limits;
    let root = root_file_system(hold, base, limits, task)?;
    let layer = layer(hold, disk, &root.path, &own(of.hostname.clone()), limits, task)?;
    let origin = Origin {
        created_by: format!("knaller commit {}", of.machine),
        created: Some(Timestamp::now()),
    };
    let manifest = hold.image_on(base, layer, &origin)?;
    let convert = |image: &Image| -> Result<()> {
        root_file_system(hold, image, limits, task)?;
        Ok(())
    };
    hold.enter(&manifest, &[name.stored()], convert)
}

/// What the guest's init writes: it tells of the machine, whose name, id and network another one has not.
fn own(hostname: String) -> [Own; 5] {
    let text = |path, is_own: IsOwn| Own {
        path,
        contents: OwnContents::Text(is_own),
    };
    let own_name = names::hostname_file(&hostname);
    [
        text(names::HOSTNAME, Box::new(move |_, now| now == own_name)),
        text(
            names::HOSTS,
            Box::new(move |base, now| names::unpinned(now) == names::hosts(base, &hostname, &[])),
        ),
        text(
            names::MACHINE_ID,
            Box::new(|_, now| names::is_machine_id(now.trim_end())),
        ),
        text(names::RESOLV_CONF, Box::new(|_, now| names::is_resolv_conf(now))),
        Own {
            path: names::MTAB.0,
            contents: OwnContents::Link(names::MTAB.1),
        },
    ]
}

fn layer(
    hold: &Adding,
    disk: &File,
    base: &Path,
    own: &[Own],
    limits: &Limits,
    task: &Task,
) -> Result<NewLayer> {
    let base = File::open(base).map_err(Error::io("open", base))?;
    let mut blob = hold.new_blob()?;
    let written = commit::layer(disk, &base, own, limits, &mut blob, task);
    let written = written.map_err(|error| match error {
        CommitError::Cancelled(_) => Error::system("commit")(std::io::ErrorKind::Interrupted.into()),
        error => Error::Commit(Box::new(error)),
    })?;
    let (digest, size) = blob.commit()?;
    Ok(NewLayer {
        blob: Descriptor::new(media_type::LAYER_GZIP, digest, size),
        diff_id: written.diff_id,
    })
}

/// The overlay of a machine that is stopped: a copy where it was not unmounted, and its journal must be replayed.
fn stopped(files: &Files, task: &Task) -> Result<File> {
    let path = files.overlay();
    let disk = File::open(&path).map_err(Error::io("open", &path))?;
    match needs_replay(&disk, &path)? {
        true => copy(files, task),
        false => Ok(disk),
    }
}

/// A copy of the overlay with its journal replayed, which has no name any more.
fn copy(files: &Files, task: &Task) -> Result<File> {
    let path = files.commit();
    // Of one who was killed.
    let _ = fs::remove_file(&path);
    let _remove = RemoveOnDrop(path.clone());
    Rootfs::open(&files.overlay())?.copy_to(&path, task)?;
    let open = || File::open(&path).map_err(Error::io("open", &path));
    if needs_replay(&open()?, &path)? {
        replay_journal(&path).map_err(|error| Error::Replay(Box::new(error)))?;
    }
    open()
}

fn needs_replay(disk: &File, path: &Path) -> Result<bool> {
    let superblock = Superblock::read(disk).map_err(Error::io("read", path))?;
    Ok(superblock.is_ok_and(|superblock| superblock.needs_recovery))
}

//! A machine's disk as a new image.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use guest_protocol::names;
use images::Superblock;
use images::Task;
use images::commit::{self, CommitError, IsOwn, Own, OwnContents};
use images::convert::{Limits, root_file_system};
use images::ext4::read::replay_journal;
use images::oci::{Descriptor, Reference, media_type};
use images::rootfs::Rootfs;
use images::store::{Adding, Image, NewLayer, Origin, Store};
use jiff::Timestamp;

use super::{ImageEvent, of_digest, store::ImageObserver};
use crate::claim::Claim;
use crate::layout::{self, Files};
use crate::record::Record;
use crate::{Error, Machine, Options, Result, Root, heal, task};

impl Machine {
    /// Makes an image of what the machine was started from and what it has changed since, its volumes left out, and calls it
    /// `name`. The machine is stopped, and stays as it is.
    ///
    /// # Errors
    /// It runs, was not started from an image, or its disk is damaged.
    pub async fn commit(&self, name: &Reference, observer: ImageObserver) -> Result<Image> {
        let inner = std::sync::Arc::clone(self.inner());
        heal::one(&inner, self.name()).await?;
        let files = layout::files(&inner.options.paths, self.name());
        let claim = Claim::take(&files, self.name()).await?;
        let record = Record::load(&files.record())?;
        if heal::lives(&files) {
            return Err(Error::Running(self.name().clone()));
        }
        let name = name.clone();
        let report = move |step| observer(ImageEvent::Work(step));
        task::watched(report, move |task| {
            let image = commit(&inner.options, &files, &record, &name, task);
            drop(claim);
            image
        })
        .await
    }
}

fn commit(options: &Options, files: &Files, record: &Record, name: &Reference, task: &Task) -> Result<Image> {
    let (Root::Image(of), Some(digest)) = (&record.spec.root, &record.image) else {
        return Err(Error::NoImageToCommit(record.name.clone()));
    };
    let store = Store::open(&options.paths.data)?;
    let hold = store.adding(task)?;
    let base = of_digest(&store, of, digest)?;
    let image = make(options, files, record, name, &hold, &base, task);
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
    files: &Files,
    record: &Record,
    name: &Reference,
    hold: &Adding,
    base: &Image,
    task: &Task,
) -> Result<Image> {
    let limits = &options.image_limits;
    let root = root_file_system(hold, base, limits, task)?;
    let disk = Disk::open(files, task)?;
    let layer = layer(hold, &disk, &root.path, &own(record.hostname()), limits, task)?;
    let origin = Origin {
        created_by: format!("knaller commit {}", record.name),
        created: Some(Timestamp::now()),
    };
    let manifest = hold.image_on(base, layer, &origin)?;
    let convert = |image: &Image| -> Result<()> {
        root_file_system(hold, image, limits, task)?;
        Ok(())
    };
    hold.enter(&manifest, &[name.stored()], convert)
}

/// What the guest's init writes: it tells of the machine, whose name and network another one has not.
fn own(hostname: String) -> [Own; 4] {
    let text = |path, is_own: IsOwn| Own {
        path,
        contents: OwnContents::Text(is_own),
    };
    let own_name = names::hostname_file(&hostname);
    [
        text(names::HOSTNAME, Box::new(move |_, now| now == own_name)),
        text(
            names::HOSTS,
            Box::new(move |base, now| now == names::hosts(base, &hostname)),
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
    disk: &Disk,
    base: &Path,
    own: &[Own],
    limits: &Limits,
    task: &Task,
) -> Result<NewLayer> {
    let base = File::open(base).map_err(Error::io("open", base))?;
    let mut blob = hold.new_blob()?;
    let written = commit::layer(&disk.file, &base, own, limits, &mut blob, task);
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

/// The machine's overlay, fit to be read.
struct Disk {
    file: File,
    /// Where it is a copy: of a disk that was not unmounted, and whose journal had to be replayed.
    copy: Option<PathBuf>,
}

impl Disk {
    fn open(files: &Files, task: &Task) -> Result<Self> {
        let path = files.overlay();
        let open = |path: &Path| File::open(path).map_err(Error::io("open", path));
        let file = open(&path)?;
        let superblock = Superblock::read(&file).map_err(Error::io("read", &path))?;
        if !superblock.is_ok_and(|superblock| superblock.needs_recovery) {
            return Ok(Self { file, copy: None });
        }
        let copy = files.data.join("commit.ext4");
        let _ = fs::remove_file(&copy);
        Rootfs::open(&path)?.copy_to(&copy, task)?;
        let mut disk = Self {
            file,
            copy: Some(copy.clone()),
        };
        replay_journal(&copy).map_err(|error| Error::Replay(Box::new(error)))?;
        disk.file = open(&copy)?;
        Ok(disk)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Some(copy) = &self.copy {
            let _ = fs::remove_file(copy);
        }
    }
}

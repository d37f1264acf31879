//! The images of one user, as the machines use them.
//!
//! The invariant: an image that a machine was made of is not removed while the machine is there.

use std::collections::HashSet;
use std::sync::Arc;

use images::Progress;
use images::convert::root_file_system;
use images::import::{self, CheckError, Imported, Source};
use images::oci::{Digest, Platform, Reference};
use images::registry::{self, Registries};
use images::store::{Adding, Collected, Image, Prune, Removed, Store};

use crate::knaller::Inner;
use crate::snapshot::Snapshots;
use crate::{Error, Filter, Knaller, Result, heal, list, task};

/// What happens to an image on its way.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ImageEvent {
    /// Between a registry and the store.
    Transfer(registry::Event),
    /// A step of the work on this machine.
    Work(Progress),
    /// What is not as it should be, and was done without: a sentence.
    Warning(String),
}

/// Hears of what happens, from several threads.
pub type ImageObserver = Arc<dyn Fn(ImageEvent) + Send + Sync>;

impl Knaller {
    /// The store of images. Its functions block.
    ///
    /// # Errors
    /// Its folder cannot be made or is not this user's alone.
    pub fn images(&self) -> Result<Store> {
        Ok(Store::open(&self.options().paths.data)?)
    }

    /// Fetches an image and makes it ready to be started from. Dropped, it leaves only what a later pull goes on with.
    ///
    /// # Errors
    /// No registry serves it right, or it cannot be kept or used.
    pub async fn pull_image(
        &self,
        registries: &Registries,
        reference: &Reference,
        platform: &Platform,
        observer: ImageObserver,
    ) -> Result<Image> {
        let store = self.images()?;
        let tell = {
            let observer = Arc::clone(&observer);
            move |event| observer(ImageEvent::Transfer(event))
        };
        let call = task::CallOff::watched(move |step| observer(ImageEvent::Work(step)));
        let (task, limits) = (call.task().clone(), self.options().image_limits.clone());
        let make = move |adding: &Adding, image: &Image| -> std::result::Result<(), CheckError> {
            root_file_system(adding, image, &limits, &task)?;
            Ok(())
        };
        Ok(registries
            .pull_into(&store, reference, platform, make, &tell)
            .await?)
    }

    /// Sends the image that `what` names to the tag `reference`, and says the digest that the tag now leads to.
    ///
    /// # Errors
    /// There is no such image, or the registry does not take it.
    pub async fn push_image(
        &self,
        registries: &Registries,
        what: &str,
        reference: &Reference,
        observer: ImageObserver,
    ) -> Result<Digest> {
        let store = self.images()?;
        let tell = move |event| observer(ImageEvent::Transfer(event));
        let (from, what) = (store.clone(), what.to_owned());
        let image = task::blocking(move |_| Ok(from.resolve(&what)?)).await?;
        Ok(registries.push_from(&store, &image, reference, &tell).await?)
    }

    /// Brings an image in from elsewhere than a registry and makes it ready to be started from. Its limits are those that the
    /// library was opened with ([`Options::image_limits`](crate::Options)), whatever `options` says of them.
    ///
    /// # Errors
    /// The source is no image, damaged or beyond the limits. Nothing of it is kept then.
    pub async fn import_image(
        &self,
        source: Source,
        options: import::Options,
        observer: ImageObserver,
    ) -> Result<Imported> {
        let store = self.images()?;
        let report = move |step| observer(ImageEvent::Work(step));
        let limits = self.options().image_limits.clone();
        let options = options.within(&limits);
        task::watched(report, move |task| {
            let imported = import::import(&store, source, &options, task, |adding, image| {
                root_file_system(adding, image, &limits, task)?;
                Ok(())
            })?;
            Ok(imported)
        })
        .await
    }

    /// Removes a name of an image, and with its last name the image.
    ///
    /// # Errors
    /// There is none, or machines use it.
    pub async fn remove_image(&self, what: &str) -> Result<Removed> {
        let (store, inner, what) = (self.images()?, Arc::clone(&self.inner), what.to_owned());
        task::blocking(move |_| Ok(store.remove(&what, |image| users(&inner, image))?)).await
    }

    /// Removes what no machine needs; of the images only those that meet all of `filters`. `None`: an image is being pulled
    /// or imported just now.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub async fn prune_images(&self, what: Prune, filters: &[Filter]) -> Result<Option<Collected>> {
        let (store, inner) = (self.images()?, Arc::clone(&self.inner));
        let filters = filters.to_vec();
        task::blocking(move |_| {
            let meant = match filters.as_slice() {
                [] => None,
                filters => Some(meant(&store, filters)?),
            };
            let in_use = |image: &Digest| match &meant {
                Some(meant) if !meant.contains(image) => vec!["one that is not meant".to_owned()],
                _ => users(&inner, image),
            };
            Ok(store.prune(what, in_use)?)
        })
        .await
    }

    /// The machines that were made of an image, by name, and the snapshots of such.
    #[must_use]
    pub fn image_users(&self, image: &Digest) -> Vec<String> {
        users(&self.inner, image)
    }
}

/// The images that meet all of `filters`.
fn meant(store: &Store, filters: &[Filter]) -> Result<HashSet<Digest>> {
    let listed = store.list()?.into_iter();
    let meant = listed.filter(|listed| Filter::all_match(filters, &listed.image));
    Ok(meant.map(|listed| listed.image.digest).collect())
}

/// The machines and snapshots whose disks lie over an image. One whose record cannot be read counts: nobody knows what
/// it needs.
fn users(inner: &Arc<Inner>, image: &Digest) -> Vec<String> {
    let id = image.to_string();
    let names = match heal::names(&inner.options.paths) {
        Ok(names) => names,
        Err(error) => return vec![format!("machines that cannot be listed: {error}")],
    };
    let uses = names.into_iter().filter(|name| match list::load(inner, name) {
        Ok((_, record)) => record.image.as_ref() == Some(&id),
        Err(error) => !matches!(error, Error::NotFound(_)),
    });
    let machines = uses.map(|name| name.to_string());
    let snapshots = Snapshots::open(&inner.options.paths).and_then(|snapshots| snapshots.of_image(&id));
    let snapshots = match snapshots {
        Ok(names) => names.into_iter().map(|name| format!("snapshot {name}")).collect(),
        Err(error) => vec![format!("snapshots that cannot be listed: {error}")],
    };
    machines.chain(snapshots).collect()
}

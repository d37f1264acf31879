//! What a machine is made of when it is made of an image: the file system that it shares with others, and what runs.
//!
//! The invariant: a machine keeps the image that it was first started from, whatever becomes of the image's name; and from
//! when an image is looked up until a machine's record names it, nothing of it can be removed.

mod commit;
mod program;
mod store;

use images::Task;
use images::builtin::{BaseImage, builtin_image, find_image};
use images::convert::root_file_system;
use images::oci::{Platform, RunConfig};
use images::store::{Adding, Image, Store, StoreError};

pub(crate) use program::{attached, entrypoint, env, health, published, tells, volumes};
pub use store::{ImageEvent, ImageObserver};

use crate::{Error, Options, Result, Root};

/// What a machine's disk lies over.
#[derive(Debug)]
pub(crate) struct Base {
    pub(crate) disk: BaseImage,
    /// What the image says of itself; nothing if it is the built-in one.
    pub(crate) run: RunConfig,
    /// While this lives, nothing of the image is removed.
    _hold: Option<Adding>,
}

/// The base of a machine that has one: that of its earlier boots, `kept`, else what its spec names. What has to be made
/// for it is made. Blocks.
pub(crate) fn base(options: &Options, root: &Root, kept: Option<&str>, task: &Task) -> Result<Option<Base>> {
    match root {
        Root::Builtin => builtin(options, kept, task).map(Some),
        Root::Image(name) => stored(options, name, kept, task).map(Some),
        Root::Initramfs | Root::File(_) | Root::Raw(_) => Ok(None),
    }
}

fn builtin(options: &Options, kept: Option<&str>, task: &Task) -> Result<Base> {
    let data = &options.paths.data;
    let disk = match kept {
        None => builtin_image(data, task)?,
        Some(id) => match find_image(data, id) {
            Some(disk) => disk,
            // Of a snapshot of another host, on which no machine of the built-in image was started yet.
            None => Some(builtin_image(data, task)?)
                .filter(|disk| disk.id == id)
                .ok_or_else(|| Error::NoImage(id.to_owned()))?,
        },
    };
    Ok(Base {
        disk,
        run: RunConfig::default(),
        _hold: None,
    })
}

fn stored(options: &Options, name: &str, kept: Option<&str>, task: &Task) -> Result<Base> {
    let store = Store::open(&options.paths.data)?;
    let hold = store.adding(task)?;
    let image = match kept {
        None => store.resolve(name)?,
        Some(digest) => of_digest(&store, name, digest)?,
    };
    check_platform(name, &image)?;
    let rootfs = root_file_system(&hold, &image, &options.image_limits, task)?;
    Ok(Base {
        disk: BaseImage {
            id: image.digest.to_string(),
            path: rootfs.path,
            filesystem: "ext4",
        },
        run: image.config.run,
        _hold: Some(hold),
    })
}

/// Refuses programs that no processor here executes. An image that says nothing of its platform is believed to be for any.
fn check_platform(name: &str, image: &Image) -> Result<()> {
    let platform = &image.config.platform;
    if platform.architecture.is_empty() || platform.runs_on(&Platform::host()) {
        return Ok(());
    }
    Err(Error::ForeignImage {
        image: name.to_owned(),
        platform: platform.clone(),
    })
}

/// What the image of a machine says of itself, by what its record names. Blocks.
pub(crate) fn run_config(options: &Options, root: &Root, kept: Option<&str>) -> Result<RunConfig> {
    let (Root::Image(name), Some(digest)) = (root, kept) else {
        return Ok(RunConfig::default());
    };
    let store = Store::open(&options.paths.data)?;
    Ok(of_digest(&store, name, digest)?.config.run)
}

/// The image that a machine belongs to, whatever its name stands for by now.
fn of_digest(store: &Store, name: &str, digest: &str) -> Result<Image> {
    store.resolve(digest).map_err(|error| match error {
        StoreError::Unknown(_) => Error::NoImage(name.to_owned()),
        other => other.into(),
    })
}

#[cfg(test)]
mod tests {
    use images::import::{self, Source, verify};

    use super::*;
    use crate::Paths;

    /// Options of a store with an image of a folder, which says that it is for `platform`.
    fn with_image(folder: &std::path::Path, name: &str, platform: &str) -> Options {
        let [data, tree] = ["data", "tree"].map(|part| folder.join(part));
        std::fs::create_dir(&tree).unwrap();
        let options = Options::new(Paths {
            runtime: folder.join("run"),
            data,
        });
        let store = Store::open(&options.paths.data).unwrap();
        let import = import::Options {
            name: Some(name.parse().unwrap()),
            platform: platform.parse().unwrap(),
            ..import::Options::default()
        };
        let task = Task::new();
        import::import(&store, Source::Path(tree), &import, &task, |adding, image| {
            verify(adding, image, &import.layer, &task)
        })
        .unwrap();
        options
    }

    #[test]
    fn an_image_for_other_processors_is_no_base() {
        let folder = tempfile::tempdir().unwrap();
        let options = with_image(folder.path(), "far:1", "linux/mips");
        let refused = base(&options, &Root::Image("far:1".into()), None, &Task::new()).unwrap_err();
        assert_eq!(refused.class(), crate::Class::Image);
        assert_eq!(
            refused.to_string(),
            format!(
                "the image far:1 is for linux/mips, and this machine is {}",
                Platform::host()
            )
        );
        // Nor when the machine has been started from it before, elsewhere.
        let digest = Store::open(&options.paths.data)
            .unwrap()
            .resolve("far:1")
            .unwrap()
            .digest;
        let kept = Some(digest.to_string());
        let refused = base(
            &options,
            &Root::Image("far:1".into()),
            kept.as_deref(),
            &Task::new(),
        );
        assert!(matches!(refused, Err(Error::ForeignImage { .. })), "{refused:?}");
    }
}

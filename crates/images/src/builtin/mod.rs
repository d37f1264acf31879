//! The built-in image: a small userland out of the host's busybox, so that a VM works with nothing pulled.
//!
//! The invariant: an image is named by the digest of all that it is made of, appears whole, and is never changed or removed
//! here: the overlay of a VM that was made over it is of no use over any other.
//!
//! It is made as all images are: of a layer, which here is one in memory (`docs/adr/0001-builtin-image-format.md`).

mod busybox;
mod tree;

use std::fs::File;
use std::io::Cursor;
use std::path::{Path, PathBuf};

pub use busybox::{BUSYBOX_VARIABLE, BusyboxError};

use crate::convert::{ConvertError, Limits, convert};
use crate::files::{
    ReadError, StageError, Staging, TrustError, check_owner, open, private_folder, read_open, set_stamp,
    short_digest, stamp_name, stamped,
};
use crate::layer::{self, Expected, Layer};
use crate::task::{Cancelled, Task};

/// Why there is no built-in image.
#[derive(Debug, thiserror::Error)]
pub enum BuiltinError {
    #[error(transparent)]
    Busybox(#[from] BusyboxError),
    #[error("the built-in image cannot be made")]
    Make(#[source] ConvertError),
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Stage(#[from] StageError),
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// A read-only root file system that many VMs share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseImage {
    /// Names it for good: `builtin-` and 32 hexadecimal digits.
    pub id: String,
    pub path: PathBuf,
    /// As in mount(2).
    pub filesystem: &'static str,
}

const IMAGES: &str = "images";
const PREFIX: &str = "builtin-";
const STAMP: &str = "busybox-";
const FILESYSTEM: &str = "ext4";

/// Counted up when the file system is made in another way. What is in it is part of the digest anyway.
const FORM: u32 = 2;

/// The built-in image of this version of busybox and of this crate, made if it is not there. Images are kept in the folder
/// `images` of the user's data folder `data`. Blocks: some milliseconds the first time, else less than one.
///
/// # Errors
/// busybox-static is missing, the disk is full, or `task` is called off. Nothing is left behind then.
pub fn builtin_image(data: &Path, task: &Task) -> Result<BaseImage, BuiltinError> {
    let folder = data.join(IMAGES);
    private_folder(data)?;
    private_folder(&folder)?;
    let busybox = busybox::find()?;
    let (file, size) = open(&busybox)?;
    let metadata = file
        .metadata()
        .map_err(|source| ReadError::new(&busybox, source))?;
    // The stamp holds for this crate's part of the image as well.
    let stamp = stamp_name(&format!("{STAMP}{}-", recipe()), &metadata);
    if let Some((path, _)) = stamped(&folder, &stamp, PREFIX) {
        return Ok(image(&path));
    }

    task.at("making the built-in image", 0, None)?;
    let bytes = read_open(file, &busybox, busybox::MAX_SIZE)?;
    busybox::check(&busybox, &bytes)?;
    let id = format!(
        "{PREFIX}{}",
        short_digest(format!("{} {}", recipe(), short_digest(&bytes)).as_bytes())
    );
    let name = format!("{id}.{FILESYSTEM}");
    let path = folder.join(&name);
    if !path.is_file() {
        let applets = busybox::applets(&busybox)?;
        let staging = Staging::new(&folder)?;
        let file = staging.path().join(&name);
        let out = File::create_new(&file).map_err(|source| StageError::new(&file, size, source))?;
        make(&tree::tree(&applets), &bytes, &id, &out, task).map_err(|error| match error {
            ConvertError::Full(source) | ConvertError::Io(source) => {
                StageError::new(&file, size, source).into()
            }
            ConvertError::Cancelled(cancelled) => cancelled.into(),
            other => BuiltinError::Make(other),
        })?;
        staging.publish_file(&name, &name)?;
    }
    set_stamp(&folder, &stamp, &name)?;
    Ok(image(&path))
}

/// Writes the file system to `out`, an empty file.
fn make(nodes: &[tree::Node], busybox: &[u8], id: &str, out: &File, task: &Task) -> Result<(), ConvertError> {
    let layer = Cursor::new(tree::layer(nodes, busybox)?);
    let layer = Layer::open(layer, Expected::default(), &layer::Limits::default());
    let mut identity = [0; 16];
    // It is hexadecimal, and as long as that.
    let _ = hex::decode_to_slice(id.strip_prefix(PREFIX).unwrap_or_default(), &mut identity);
    convert([layer], identity, &Limits::default(), out, task)?;
    Ok(())
}

/// The image that `id` names, if it is there: the base of a VM that was made when it was the built-in one.
#[must_use]
pub fn find_image(data: &Path, id: &str) -> Option<BaseImage> {
    let digest = id.strip_prefix(PREFIX)?;
    let fit = digest.len() == 32 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
    let path = data.join(IMAGES).join(format!("{id}.{FILESYSTEM}"));
    let trusted = check_owner(&data.join(IMAGES)).is_ok();
    (fit && trusted && path.is_file()).then(|| image(&path))
}

fn image(path: &Path) -> BaseImage {
    let id = path
        .file_stem()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    BaseImage {
        id,
        path: path.to_owned(),
        filesystem: FILESYSTEM,
    }
}

/// The digest of all that this crate puts into an image.
fn recipe() -> String {
    let nodes = tree::tree(&[]);
    short_digest(format!("{FORM} {nodes:?}").as_bytes())
}

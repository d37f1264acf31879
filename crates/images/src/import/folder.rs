//! Blobs in folders: those of layouts, and what `skopeo copy … dir:` writes.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::layout::{self, Blobs};
use super::{Brought, ImportError, Options};
use crate::files::{ReadError, open, read};
use crate::oci::{Descriptor, Digest, Document, Index, MAX_MANIFEST};
use crate::store::Adding;
use crate::task::Task;
use crate::watched::{Meter, Watched};

const BUFFER: usize = 256 << 10;

/// Blobs in files, each where the function says.
pub(super) struct Files<F>(pub(super) F);

impl<F: Fn(&Digest) -> PathBuf> Blobs for Files<F> {
    fn bring(&self, adding: &Adding, blob: &Descriptor, task: &Task) -> Result<(), ImportError> {
        let Some(mut writer) = adding.blob(&blob.digest, Some(blob.size), task)? else {
            return Ok(());
        };
        writer.restart()?;
        let path = (self.0)(&blob.digest);
        let (file, size) = match open(&path) {
            Err(error) if error.is_absence() => {
                return Err(ImportError::Missing {
                    name: path.display().to_string(),
                });
            }
            opened => opened?,
        };
        let mut file = Watched::new(file, &Meter::new("copying the image", Some(size), task));
        let mut buffer = vec![0; BUFFER];
        loop {
            let count = file.read(&mut buffer).map_err(|source| ReadError::Io {
                path: path.clone(),
                source,
            })?;
            if count == 0 {
                break;
            }
            writer.add(buffer.get(..count).unwrap_or_default())?;
        }
        writer.commit()?;
        Ok(())
    }
}

/// A folder of one image: `manifest.json` is its manifest, and blobs lie beside it under their hexadecimal digits
/// (containers/image, `directory/directory_transport.go`).
pub(super) fn from_copy(
    adding: &Adding,
    path: &Path,
    options: &Options,
    task: &Task,
) -> Result<Brought, ImportError> {
    let bytes = read(&path.join("manifest.json"), MAX_MANIFEST)?;
    let files = Files(|digest: &Digest| {
        let name = path.join(digest.hex());
        // Manifests of an index.
        let manifest = path.join(format!("{}.manifest.json", digest.hex()));
        if name.exists() || !manifest.exists() {
            name
        } else {
            manifest
        }
    });
    let index = match Document::parse(&bytes, "").map_err(ImportError::Index)? {
        Document::Index(_) => bytes,
        Document::Manifest(manifest) => {
            adding.put(&bytes)?;
            let index = Index::new(vec![Descriptor::of(&manifest.media_type, &bytes)]);
            serde_json::to_vec(&index).map_err(ImportError::DockerManifest)?
        }
    };
    layout::bring(adding, &index, &files, &[], options, task)
}

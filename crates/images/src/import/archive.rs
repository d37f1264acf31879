//! Archives of images: one pass over the stream, in whatever order it has its files.
//!
//! The invariant: only files' names are believed, and only to find them again: nothing is written but blobs, under the digests
//! that they turn out to have. A file whose name is a digest has that digest, or the archive is refused.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use super::kind::plain;
use super::layout::{self, Blobs};
use super::{Brought, ImportError, Options, docker};
use crate::layer::Compression;
use crate::oci::{Descriptor, Digest, MAX_MANIFEST};
use crate::store::{Adding, BlobWriter, LayerWriter};
use crate::tar::{Kind, Reader};
use crate::task::Task;

/// More than any archive of images has: 512 layers of three files, for some dozens of images.
const MAX_FILES: usize = 65_536;
/// Links to links.
const MAX_LINKS: usize = 8;

/// What the stream held.
#[derive(Default)]
pub(super) struct Contents {
    index: Option<Vec<u8>>,
    manifest: Option<Vec<u8>>,
    /// Files that are no `blobs/…`, by name, with what they turned out to be.
    files: BTreeMap<String, (Digest, u64)>,
    /// Names that stand for others.
    links: BTreeMap<String, String>,
}

/// Reads an archive of `docker save` or of a layout.
pub(super) fn read(
    adding: &Adding,
    stream: impl Read,
    options: &Options,
    task: &Task,
) -> Result<Brought, ImportError> {
    let contents = take_in(adding, stream, options, task)?;
    // Docker's newer archives are both; the layout in them has the manifests as they were pulled.
    let from_manifest = |manifest: &[u8]| docker::bring(adding, manifest, &contents, options);
    match (&contents.index, &contents.manifest) {
        (Some(index), manifest) => {
            let names = manifest
                .as_deref()
                .map(docker::names)
                .transpose()?
                .unwrap_or_default();
            match layout::bring(adding, index, &Stored, &names, options, task) {
                // An index that leads to blobs which are not there was left by a tool that mended only the other.
                Err(ImportError::Missing { .. } | ImportError::Empty) if manifest.is_some() => {
                    from_manifest(manifest.as_deref().unwrap_or_default())
                }
                other => other,
            }
        }
        (None, Some(manifest)) => from_manifest(manifest),
        (None, None) => Err(ImportError::NoIndex),
    }
}

fn take_in(
    adding: &Adding,
    stream: impl Read,
    options: &Options,
    task: &Task,
) -> Result<Contents, ImportError> {
    let mut contents = Contents::default();
    let mut reader = Reader::new(stream, &options.tar);
    while let Some(entry) = reader.next()? {
        task.check()?;
        if contents.files.len().saturating_add(contents.links.len()) > MAX_FILES {
            return Err(ImportError::TooManyFiles(MAX_FILES));
        }
        let name = plain(&entry.path).to_owned();
        match entry.kind {
            Kind::File { size } => match name.as_str() {
                "index.json" => contents.index = Some(document(&mut reader, &name, size)?),
                "manifest.json" => contents.manifest = Some(document(&mut reader, &name, size)?),
                _ if is_idle(&name) => {}
                _ => contents.file(adding, &mut reader, name, size, task)?,
            },
            Kind::Symlink { target } => {
                contents
                    .links
                    .insert(name.clone(), join(&name, plain_target(&target)));
            }
            Kind::HardLink { target, .. } => {
                contents.links.insert(name, plain(&target).to_owned());
            }
            _ => {}
        }
    }
    reader.finish()?;
    Ok(contents)
}

/// Where a file's bytes go.
enum Sink {
    Blob(BlobWriter),
    /// Packed on the way.
    Layer(LayerWriter),
}

/// Whether a file that no digest binds to its bytes is a layer, and not packed: `ID/layer.tar` of older Dockers, `ID.tar` of
/// skopeo and Podman.
fn is_plain_layer(name: &str, start: &[u8]) -> bool {
    name.ends_with(".tar") && Compression::of(start) == Compression::None
}

/// What nothing refers to: Docker's older files beside each layer, and the layout's mark.
fn is_idle(name: &str) -> bool {
    let last = name.rsplit('/').next().unwrap_or_default();
    matches!(last, "VERSION" | "json" | "repositories" | "oci-layout")
}

fn document<R: Read>(reader: &mut Reader<R>, name: &str, size: u64) -> Result<Vec<u8>, ImportError> {
    if size > MAX_MANIFEST {
        return Err(ImportError::TooLarge {
            name: name.to_owned(),
            size,
            limit: MAX_MANIFEST,
        });
    }
    let mut bytes = Vec::new();
    while let Some((_, data)) = reader.data()? {
        bytes.extend_from_slice(data);
    }
    Ok(bytes)
}

impl Contents {
    fn file<R: Read>(
        &mut self,
        adding: &Adding,
        reader: &mut Reader<R>,
        name: String,
        size: u64,
        task: &Task,
    ) -> Result<(), ImportError> {
        let digest = name
            .strip_prefix("blobs/")
            .and_then(|rest| rest.replacen('/', ":", 1).parse::<Digest>().ok());
        let writer = match &digest {
            Some(digest) => adding.blob(digest, Some(size), task)?,
            None => Some(adding.new_blob()?),
        };
        let Some(mut writer) = writer else { return Ok(()) };
        // A part of a download may be there: the archive has all of it.
        writer.restart()?;
        let mut sink = Sink::Blob(writer);
        let mut next = 0;
        while let Some((offset, bytes)) = reader.data()? {
            if offset != next {
                // No tool packs archives of images with holes.
                return Err(ImportError::DockerContent(format!("{name} has holes")));
            }
            if offset == 0 && digest.is_none() && is_plain_layer(&name, bytes) {
                sink = Sink::Layer(adding.layer()?);
            }
            next = offset.saturating_add(bytes.len() as u64);
            match &mut sink {
                Sink::Blob(writer) => writer.add(bytes)?,
                Sink::Layer(writer) => writer.write_all(bytes).map_err(ImportError::Pack)?,
            }
        }
        let stored = match sink {
            Sink::Blob(writer) => writer.commit()?,
            Sink::Layer(writer) => {
                let layer = writer.finish()?.blob;
                adding.note_packed(std::slice::from_ref(&layer));
                (layer.digest, layer.size)
            }
        };
        if digest.is_none() {
            self.files.insert(name, stored);
        }
        Ok(())
    }

    /// The file `name`, through links.
    pub(super) fn find(&self, adding: &Adding, name: &str) -> Result<(Digest, u64), ImportError> {
        let missing = || ImportError::Missing {
            name: name.to_owned(),
        };
        let mut at = plain(name.as_bytes());
        for _ in 0..MAX_LINKS {
            if let Some(found) = self.files.get(at) {
                return Ok(found.clone());
            }
            if let Some(rest) = at.strip_prefix("blobs/") {
                let digest: Digest = rest.replacen('/', ":", 1).parse()?;
                let size = adding.store().blob_size(&digest).ok_or_else(missing)?;
                return Ok((digest, size));
            }
            at = self.links.get(at).ok_or_else(missing)?;
        }
        Err(missing())
    }
}

fn plain_target(target: &[u8]) -> &str {
    std::str::from_utf8(target).unwrap_or_default()
}

/// Where the link `name` with the text `target` leads. Docker links a layer that stands twice: `../OTHER/layer.tar`.
fn join(name: &str, target: &str) -> String {
    let mut parts: Vec<&str> = name.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The blobs of an archive lie in the store already.
struct Stored;

impl Blobs for Stored {
    fn bring(&self, adding: &Adding, blob: &Descriptor, _: &Task) -> Result<(), ImportError> {
        if adding.store().has(blob) {
            Ok(())
        } else {
            Err(ImportError::Missing {
                name: blob.digest.to_string(),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_stay_within_the_archive() {
        for (name, target, leads) in [
            ("a/layer.tar", "../b/layer.tar", "b/layer.tar"),
            ("a/layer.tar", "../b.tar", "b.tar"),
            ("a", "./b", "b"),
            ("a/b", "../../../etc/passwd", "etc/passwd"),
            ("a/b", "/c", "a/c"),
        ] {
            assert_eq!(join(name, target), leads);
        }
    }
}

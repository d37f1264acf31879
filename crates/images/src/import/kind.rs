//! What a source is, told by what is in it.

use std::io::{Chain, Cursor, Read};
use std::path::Path;

use super::ImportError;
use crate::files::read;
use crate::tar::{self, Reader};

/// How much of a stream is looked at: the first names of an archive are in it, with their extension headers.
const HEAD: u64 = 256 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    /// Of `docker save`, or an OCI archive.
    Images,
    /// A root file system.
    Tree,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Folder {
    /// An OCI layout.
    Layout,
    /// What `skopeo copy … dir:` writes.
    Copy,
    /// A root file system.
    Tree,
}

pub(super) fn folder(path: &Path) -> Folder {
    if path.join("oci-layout").is_file() {
        Folder::Layout
    } else if read(&path.join("version"), 1024)
        .is_ok_and(|text| text.starts_with(b"Directory Transport Version:"))
    {
        Folder::Copy
    } else {
        Folder::Tree
    }
}

/// What was looked at, and what follows it.
pub(super) type Whole<R> = Chain<Cursor<Vec<u8>>, R>;

/// Tells what the unpacked stream is, and gives back all of it.
pub(super) fn stream<R: Read>(
    mut stream: R,
    limits: &tar::Limits,
) -> Result<(Stream, Whole<R>), ImportError> {
    let mut head = Vec::new();
    stream
        .by_ref()
        .take(HEAD)
        .read_to_end(&mut head)
        .map_err(unpacking)?;
    let kind = of_head(&head, limits)?;
    Ok((kind, Cursor::new(head).chain(stream)))
}

/// An error of a stream that is being unpacked, as what it was.
pub(super) fn unpacking(error: std::io::Error) -> ImportError {
    match error.downcast() {
        Ok(error) => ImportError::Packed(error),
        Err(error) => ImportError::Packed(crate::layer::LayerError::Read(error)),
    }
}

fn of_head(head: &[u8], limits: &tar::Limits) -> Result<Stream, ImportError> {
    let mut reader = Reader::new(head, limits);
    let mut first = true;
    loop {
        match reader.next() {
            Ok(Some(entry)) => match plain(&entry.path) {
                // The folder itself says nothing.
                "" => {}
                name if is_of_images(name) => return Ok(Stream::Images),
                _ => return Ok(Stream::Tree),
            },
            // Whoever reads it says that there is nothing in it.
            Ok(None) => return Ok(Stream::Tree),
            Err(error) if first => return Err(ImportError::NoTar(error)),
            // Cut off by the limit above, or damaged: whoever reads it says so.
            Err(_) => return Ok(Stream::Tree),
        }
        first = false;
    }
}

/// A name without what it may begin with: `./index.json`, `/index.json`.
pub(super) fn plain(path: &[u8]) -> &str {
    let path = std::str::from_utf8(path).unwrap_or("not text");
    let path = path.trim_start_matches("./").trim_matches('/');
    if path == "." { "" } else { path }
}

/// Whether archives of images begin so, in whatever order they were written.
fn is_of_images(name: &str) -> bool {
    let start = name.split(['/', '.']).next().unwrap_or_default();
    let is_id = start.len() == 64 && start.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id
        || name.starts_with("blobs/")
        || [
            "blobs",
            "oci-layout",
            "index.json",
            "manifest.json",
            "repositories",
        ]
        .contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(names: &[&str]) -> Vec<u8> {
        let mut builder = ::tar::Builder::new(Vec::new());
        for name in names {
            let mut header = ::tar::Header::new_ustar();
            header.set_size(0);
            header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(if name.ends_with('/') {
                ::tar::EntryType::Directory
            } else {
                ::tar::EntryType::Regular
            });
            header.set_cksum();
            builder.append(&header, &[][..]).unwrap();
        }
        builder.into_inner().unwrap()
    }

    #[test]
    fn streams() {
        let id = "0123456789abcdef".repeat(4);
        let (json, layer) = (format!("{id}.json"), format!("{id}/layer.tar"));
        for names in [
            &["oci-layout"][..],
            &["./", "./blobs/"],
            &["blobs/sha256/x"],
            &["index.json"],
            &["/manifest.json"],
            &["repositories"],
            &[&json],
            &[&layer],
        ] {
            assert_eq!(
                of_head(&head(names), &tar::Limits::default()).unwrap(),
                Stream::Images,
                "{names:?}"
            );
        }
        for names in [
            &["./", "./bin/"][..],
            &["etc/hosts"],
            &["./"],
            &[],
            &["blobs.txt"],
            &["./usr/", "index.json"],
        ] {
            assert_eq!(
                of_head(&head(names), &tar::Limits::default()).unwrap(),
                Stream::Tree,
                "{names:?}"
            );
        }
        assert!(matches!(
            of_head(&[7; 1024], &tar::Limits::default()),
            Err(ImportError::NoTar(_))
        ));
    }

    #[test]
    fn folders() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(super::folder(folder.path()), Folder::Tree);
        std::fs::write(folder.path().join("version"), "1.2").unwrap();
        assert_eq!(super::folder(folder.path()), Folder::Tree);
        std::fs::write(
            folder.path().join("version"),
            "Directory Transport Version: 1.1\n",
        )
        .unwrap();
        assert_eq!(super::folder(folder.path()), Folder::Copy);
        std::fs::write(folder.path().join("oci-layout"), "{}").unwrap();
        assert_eq!(super::folder(folder.path()), Folder::Layout);
    }
}

//! OCI layouts: folders, and the same in archives.

use std::path::Path;

use super::folder::Files;
use super::{Brought, ImportError, Options, check_platform};
use crate::files::read;
use crate::oci::{
    Descriptor, Digest, Document, Index, MAX_MANIFEST, REF_NAME, Reference, Walk, WalkError, media_type,
};
use crate::store::Adding;
use crate::task::Task;

/// What containerd and Docker write: the whole name, where the layout's own annotation has the tag alone.
const WHOLE_NAME: &str = "io.containerd.image.name";

/// Where blobs come from.
pub(super) trait Blobs {
    /// Brings one into the store, checked against its digest and size.
    fn bring(&self, adding: &Adding, blob: &Descriptor, task: &Task) -> Result<(), ImportError>;
}

pub(super) fn from_folder(
    adding: &Adding,
    path: &Path,
    options: &Options,
    task: &Task,
) -> Result<Brought, ImportError> {
    let index = read(&path.join("index.json"), MAX_MANIFEST)?;
    let blobs = path.join("blobs");
    let files = Files(|digest: &Digest| blobs.join(digest.algorithm().as_str()).join(digest.hex()));
    bring(adding, &index, &files, &[], options, task)
}

/// What an index calls one image, which may be there for several platforms.
struct Group {
    /// As it stands there.
    called: Vec<String>,
    entries: Vec<Descriptor>,
}

/// Brings the image that is wanted. `names` is what else is known of names, by the configurations' digests.
pub(super) fn bring(
    adding: &Adding,
    index: &[u8],
    blobs: &dyn Blobs,
    names: &[(Digest, Vec<Reference>)],
    options: &Options,
    task: &Task,
) -> Result<Brought, ImportError> {
    let index = match Document::parse(index, "").map_err(ImportError::Index)? {
        Document::Index(index) => index,
        Document::Manifest(_) => return Err(ImportError::NoIndex),
    };
    let groups = groups(index);
    let called: Vec<Vec<String>> = groups.iter().map(Group::shown).collect();
    let chosen = choose(&called, options.image.as_deref())?;
    let group = groups.into_iter().nth(chosen).ok_or(ImportError::Empty)?;
    let mut found: Vec<Reference> = group.called.iter().filter_map(|name| whole(name)).collect();
    let (descriptor, manifest) = walk(adding, group.entries, blobs, options, task)?;
    blobs.bring(adding, &manifest.config, task)?;
    check_platform(adding, &manifest, options)?;
    for layer in &manifest.layers {
        blobs.bring(adding, layer, task)?;
    }
    let also = names
        .iter()
        .filter(|(config, _)| *config == manifest.config.digest);
    found.extend(also.flat_map(|(_, names)| names.clone()));
    Ok(Brought {
        manifest: descriptor,
        names: found,
        notices: Vec::new(),
    })
}

/// A text that is a name by itself. A word alone is a tag, and of what it does not say.
fn whole(text: &str) -> Option<Reference> {
    text.contains([':', '/']).then(|| text.parse().ok()).flatten()
}

/// The images of an index: entries of one name are one image for several machines, and so are all without a name; names of one
/// digest are names of one image.
fn groups(index: Index) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for entry in index.manifests {
        let name = entry
            .annotations
            .get(WHOLE_NAME)
            .or_else(|| entry.annotations.get(REF_NAME));
        let name = name.filter(|name| !name.is_empty()).cloned();
        let same = groups.iter_mut().find(|group| match &name {
            Some(name) => {
                group.called.contains(name)
                    || (!group.called.is_empty()
                        && group.entries.iter().all(|other| other.digest == entry.digest))
            }
            None => group.called.is_empty(),
        });
        match same {
            Some(group) => {
                group
                    .called
                    .extend(name.filter(|name| !group.called.contains(name)));
                group.entries.push(entry);
            }
            None => groups.push(Group {
                called: name.into_iter().collect(),
                entries: vec![entry],
            }),
        }
    }
    groups
}

impl Group {
    fn shown(&self) -> Vec<String> {
        match self.entries.first() {
            Some(entry) if self.called.is_empty() => vec![entry.digest.to_string()],
            _ => self.called.clone(),
        }
    }
}

/// Which of several is wanted, by any of its names. Without a wish, the only one.
pub(super) fn choose(called: &[Vec<String>], wanted: Option<&str>) -> Result<usize, ImportError> {
    let there = || called.iter().map(|names| names.join(" = ")).collect();
    let Some(wanted) = wanted else {
        return match called.len() {
            0 => Err(ImportError::Empty),
            1 => Ok(0),
            _ => Err(ImportError::Several(there())),
        };
    };
    let reference: Option<Reference> = wanted.parse().ok();
    let is_it = |name: &String| name == wanted || (reference.is_some() && name.parse().ok() == reference);
    called
        .iter()
        .position(|names| names.iter().any(is_it))
        .ok_or_else(|| ImportError::NoSuchImage {
            wanted: wanted.to_owned(),
            there: there(),
        })
}

fn walk(
    adding: &Adding,
    entries: Vec<Descriptor>,
    blobs: &dyn Blobs,
    options: &Options,
    task: &Task,
) -> Result<(Descriptor, crate::oci::Manifest), ImportError> {
    let bytes = serde_json::to_vec(&Index::new(entries)).map_err(ImportError::DockerManifest)?;
    let mut walk = Walk::new(
        Descriptor::of(media_type::INDEX, &bytes),
        options.platform.clone(),
    );
    walk.take(&bytes)?;
    loop {
        let wanted = walk.wants().cloned().ok_or(WalkError::Endless)?;
        blobs.bring(adding, &wanted, task)?;
        if let Some(found) = walk.take(&adding.store().read_blob(&wanted, MAX_MANIFEST)?)? {
            return Ok(found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: Option<&str>, number: u8) -> Descriptor {
        let mut entry = Descriptor::of(media_type::MANIFEST, &[number]);
        entry
            .annotations
            .extend(name.map(|name| (REF_NAME.to_owned(), name.to_owned())));
        entry
    }

    #[test]
    fn entries_become_images() {
        let index = Index::new(vec![
            entry(Some("a:1"), 1),
            entry(Some("a:1"), 2),
            entry(Some("b"), 3),
            entry(Some("c"), 3),
            entry(None, 3),
            entry(None, 4),
        ]);
        let groups = groups(index);
        let called: Vec<Vec<String>> = groups.iter().map(Group::shown).collect();
        assert_eq!(
            called[..2],
            [vec!["a:1".to_owned()], vec!["b".to_owned(), "c".to_owned()]]
        );
        assert_eq!(
            groups.iter().map(|group| group.entries.len()).collect::<Vec<_>>(),
            [2, 2, 2]
        );
        for (wanted, chosen) in [
            ("a:1", 0),
            ("docker.io/library/a:1", 0),
            ("c", 1),
            (called[2][0].as_str(), 2),
        ] {
            assert_eq!(choose(&called, Some(wanted)).unwrap(), chosen);
        }
        assert!(matches!(choose(&called, None), Err(ImportError::Several(there)) if there[1] == "b = c"));
        assert!(matches!(
            choose(&called, Some("d")),
            Err(ImportError::NoSuchImage { .. })
        ));
        assert!(matches!(choose(&[], None), Err(ImportError::Empty)));
    }

    #[test]
    fn a_word_alone_is_no_name() {
        assert_eq!(whole("latest"), None);
        assert_eq!(whole("debian:12"), "debian:12".parse().ok());
        assert_eq!(whole("ghcr.io/a/b"), "ghcr.io/a/b".parse().ok());
    }
}

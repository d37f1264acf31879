//! The bundles of one user.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::import::{ImportError, build};
use super::manifest::{Manifest, ManifestError};
use super::{Bundle, Source, known};
use crate::files::{ReadError, StageError, Staging, TrustError, check_owner, private_folder};
use crate::kernel::{Arch, compare_versions};
use crate::task::Task;

/// Why the store cannot do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[error(transparent)]
    Import(#[from] ImportError),
    #[error(transparent)]
    Stage(#[from] StageError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error(
        "guests cannot run on this machine's architecture ({})",
        std::env::consts::ARCH
    )]
    Arch,
    #[error("there is no kernel: import one with `knaller kernel import`")]
    Empty,
    #[error("there is no kernel {0:?}: `knaller kernel ls` lists those there are")]
    Unknown(String),
    #[error("{what:?} stands for more than one kernel: {}", .ids.join(", "))]
    Ambiguous { what: String, ids: Vec<String> },
    #[error(
        "{0:?} cannot be a kernel's name: it must be 1 to 64 letters, digits, dots, dashes or underscores, and start with a letter"
    )]
    Name(String),
}

impl StoreError {
    /// Whether what was named is not there, or cannot be told from others: another name may help.
    #[must_use]
    pub fn is_absence(&self) -> bool {
        match self {
            Self::Unknown(_) | Self::Ambiguous { .. } => true,
            Self::Import(error) => error.is_absence(),
            _ => false,
        }
    }
}

/// The name of the bundle that is taken when none is asked for.
const DEFAULT: &str = "default";
const NAMES: &str = "names";
/// Shorter than this, a beginning of an id is not taken for one.
const SHORTEST: usize = 4;

/// What an import came to.
#[derive(Clone, Debug)]
pub struct Imported {
    pub bundle: Bundle,
    /// Whether it was not there before.
    pub new: bool,
}

/// The folder `kernels` in a user's data folder.
#[derive(Clone, Debug)]
pub struct KernelStore {
    root: PathBuf,
}

impl KernelStore {
    /// Opens the store in the folder `data`, making both where they are missing.
    ///
    /// # Errors
    /// They cannot be made, or others can write to them.
    pub fn open(data: &Path) -> Result<Self, StoreError> {
        private_folder(data)?;
        let root = data.join("kernels");
        private_folder(&root)?;
        private_folder(&root.join(NAMES))?;
        private_folder(&root.join(known::FOLDER))?;
        Ok(Self { root })
    }

    /// Makes a bundle of `source` for guests of this machine. The same kernel makes the same bundle: one that is there already
    /// is kept, and found without reading a package or image whose files are as they were.
    ///
    /// # Errors
    /// The source gives no usable kernel, the disk is full, or `task` is called off. Nothing is left behind then.
    pub fn import(&self, source: &Source, task: &Task) -> Result<Imported, StoreError> {
        let host = Arch::host().ok_or(StoreError::Arch)?;
        let state = known::name(source);
        if let Some(bundle) = state.as_deref().and_then(|state| self.known(state)) {
            return Ok(Imported { bundle, new: false });
        }
        let staging = Staging::new(&self.root)?;
        let manifest = build(source, host, staging.path(), task)?;
        let new = staging.publish(&manifest.id)?;
        let folder = self.root.join(&manifest.id);
        let bundle = if new {
            Bundle { folder, manifest }
        } else {
            load(&folder)?
        };
        // Where a file changed while it was read, what was read is not remembered for it.
        if let Some(state) = state.filter(|state| known::name(source).as_ref() == Some(state)) {
            known::remember(&self.root, &state, bundle.id())?;
        }
        tracing::info!(
            id = bundle.id(),
            version = bundle.manifest.version,
            new,
            "imported a kernel"
        );
        Ok(Imported { bundle, new })
    }

    /// All bundles, the newest version first. What is damaged is left out with a warning in the log.
    ///
    /// # Errors
    /// The store cannot be listed.
    pub fn list(&self) -> Result<Vec<Bundle>, StoreError> {
        let broken = |source| ReadError::new(&self.root, source);
        let mut bundles = Vec::new();
        for entry in fs::read_dir(&self.root).map_err(broken)? {
            let path = entry.map_err(broken)?.path();
            if !path.file_name().and_then(|name| name.to_str()).is_some_and(is_id) {
                continue;
            }
            match load(&path) {
                Ok(bundle) => bundles.push(bundle),
                // Removed by another process since it was listed.
                Err(_) if !path.exists() => {}
                Err(error) => tracing::warn!(path = %path.display(), %error, "left out a kernel bundle"),
            }
        }
        bundles.sort_by(|a, b| {
            let (a, b) = (&a.manifest, &b.manifest);
            compare_versions(&b.version, &a.version)
                .then(b.imported.cmp(&a.imported))
                .then(a.id.cmp(&b.id))
        });
        Ok(bundles)
    }

    /// The bundle that `what` stands for: a name, an id, at least 4 digits of the beginning of one, or a version. Of several
    /// with the same version, the one imported last.
    ///
    /// # Errors
    /// There is none, or `what` is the beginning of several ids.
    pub fn get(&self, what: &str) -> Result<Bundle, StoreError> {
        if is_id(what) && self.root.join(what).is_dir() {
            return Ok(load(&self.root.join(what))?);
        }
        if let Some(bundle) = self.named(what)? {
            return Ok(bundle);
        }
        let bundles = self.list()?;
        if let Some(bundle) = bundles.iter().find(|bundle| bundle.manifest.version == what) {
            return Ok(bundle.clone());
        }
        let is_start = what.len() >= SHORTEST && what.bytes().all(|byte| byte.is_ascii_hexdigit());
        let mut found = bundles
            .into_iter()
            .filter(|bundle| is_start && bundle.id().starts_with(what));
        match (found.next(), found.next()) {
            (Some(bundle), None) => Ok(bundle),
            (None, _) => Err(StoreError::Unknown(what.to_owned())),
            (Some(one), Some(two)) => {
                let ids = [one, two]
                    .into_iter()
                    .chain(found)
                    .map(|bundle| bundle.manifest.id);
                Err(StoreError::Ambiguous {
                    what: what.to_owned(),
                    ids: ids.collect(),
                })
            }
        }
    }

    /// The bundle named `default`; else the newest version made for VMs (`…-cloud-…`), else the newest version.
    ///
    /// # Errors
    /// There is no bundle at all.
    pub fn default_bundle(&self) -> Result<Bundle, StoreError> {
        if let Some(bundle) = self.named(DEFAULT)? {
            return Ok(bundle);
        }
        let bundles = self.list()?;
        let cloud = bundles
            .iter()
            .find(|bundle| bundle.manifest.version.contains("-cloud-"));
        cloud.or(bundles.first()).cloned().ok_or(StoreError::Empty)
    }

    /// Gives the bundle `id` a name, which no other keeps. The name `default` makes it the one that is taken when none is
    /// asked for.
    ///
    /// # Errors
    /// The name is not fit, or the link cannot be made.
    pub fn set_name(&self, bundle: &Bundle, name: &str) -> Result<(), StoreError> {
        let link = self
            .name_link(name)?
            .ok_or_else(|| StoreError::Name(name.to_owned()))?;
        let broken = |source| StageError::new(&link, 0, source);
        let target = Path::new("..").join(bundle.id());
        // A link cannot be replaced in place: a new one is renamed over it.
        let folder = tempfile::tempdir_in(self.root.join(NAMES)).map_err(broken)?;
        let new = folder.path().join(name);
        symlink(target, &new)
            .and_then(|()| fs::rename(&new, &link))
            .map_err(broken)?;
        Ok(())
    }

    /// All names with the ids they stand for, by name.
    ///
    /// # Errors
    /// The store cannot be listed.
    pub fn names(&self) -> Result<Vec<(String, String)>, StoreError> {
        let folder = self.root.join(NAMES);
        let broken = |source| ReadError::new(&folder, source);
        let mut names = Vec::new();
        for entry in fs::read_dir(&folder).map_err(broken)? {
            let entry = entry.map_err(broken)?;
            let target = fs::read_link(entry.path()).ok();
            let id = target
                .as_deref()
                .and_then(Path::file_name)
                .and_then(|id| id.to_str());
            if let (Ok(name), Some(id)) = (entry.file_name().into_string(), id.filter(|id| is_id(id))) {
                names.push((name, id.to_owned()));
            }
        }
        names.sort();
        Ok(names)
    }

    /// Removes a bundle and its names. VMs that run keep what they have loaded.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn remove(&self, bundle: &Bundle) -> Result<(), StoreError> {
        for (name, id) in self.names()? {
            if id == bundle.id() {
                remove_if_there(&self.root.join(NAMES).join(name), |path| fs::remove_file(path))?;
            }
        }
        // First out of sight, in one step: a half-removed bundle must not be found.
        let staging = Staging::new(&self.root)?;
        let folder = &bundle.folder;
        remove_if_there(folder, |path| fs::rename(path, staging.path().join("bundle")))?;
        known::forget_removed(&self.root);
        Ok(())
    }

    /// The intact bundle of a source in this state.
    fn known(&self, state: &str) -> Option<Bundle> {
        let id = known::id(&self.root, state).filter(|id| is_id(id))?;
        load(&self.root.join(id)).ok()
    }

    fn named(&self, name: &str) -> Result<Option<Bundle>, StoreError> {
        let Some(link) = self.name_link(name)? else {
            return Ok(None);
        };
        let Ok(target) = fs::read_link(&link) else {
            return Ok(None);
        };
        let id = target
            .file_name()
            .and_then(|id| id.to_str())
            .filter(|id| is_id(id));
        let folder = id.map(|id| self.root.join(id)).filter(|folder| folder.is_dir());
        folder.map(|folder| load(&folder)).transpose().map_err(Into::into)
    }

    /// Where the link of `name` lies; `None` if it cannot be a name. Names start with a letter, so none is taken for a version.
    fn name_link(&self, name: &str) -> Result<Option<PathBuf>, StoreError> {
        let folder = self.root.join(NAMES);
        check_owner(&folder)?;
        let fit = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let is_name =
            name.len() <= 64 && name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.bytes().all(fit);
        Ok(is_name.then(|| folder.join(name)))
    }
}

fn load(folder: &Path) -> Result<Bundle, ManifestError> {
    Ok(Bundle {
        folder: folder.to_owned(),
        manifest: Manifest::load(folder)?,
    })
}

fn is_id(text: &str) -> bool {
    text.len() == 64
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

fn remove_if_there(path: &Path, remove: impl FnOnce(&Path) -> io::Result<()>) -> Result<(), StoreError> {
    match remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StageError::new(path, 0, error).into()),
        _ => Ok(()),
    }
}

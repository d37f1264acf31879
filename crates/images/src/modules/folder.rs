//! The folder of a kernel's modules, `/lib/modules/VERSION`.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use super::index::{ParseError, module_name, parse_builtin, parse_dep};
use super::{MAX_INDEX, MAX_MODULE, read_info};
use crate::files::{ReadError, read};
use crate::kernel::{Compression, ElfError, Limits, UnpackError, unpack};

/// Why a folder of modules cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("{path} is not UTF-8 text")]
    Text { path: PathBuf },
    #[error("{path} cannot be read as a list of modules")]
    Parse { path: PathBuf, source: ParseError },
    #[error("the folder of modules {path} cannot be listed")]
    List { path: PathBuf, source: io::Error },
    #[error("the folder of modules {path} is nested too deep or holds more than {MAX_FILES} files")]
    TooLarge { path: PathBuf },
    #[error("the module {module} cannot be unpacked")]
    Unpack { module: String, source: UnpackError },
    #[error("the module {module} is damaged")]
    Elf { module: String, source: ElfError },
    #[error("there is no module {module}")]
    Absent { module: String },
}

/// Debian's generic kernel has 4,100.
const MAX_FILES: usize = 50_000;
const MAX_DEPTH: usize = 16;

/// A folder whose modules are known by name, with their dependencies.
#[derive(Debug)]
pub struct ModuleFolder {
    root: PathBuf,
    modules: BTreeMap<String, (String, Vec<String>)>,
    built_in: BTreeSet<String>,
}

impl ModuleFolder {
    /// Reads the folder's `modules.dep` and `modules.builtin`. Without the first, the folder is searched and each
    /// module asked what it depends on.
    ///
    /// # Errors
    /// The folder or a file in it cannot be read or makes no sense.
    pub fn open(root: &Path) -> Result<Self, FolderError> {
        let root = root.to_owned();
        let built_in = match text(&root.join("modules.builtin"))? {
            Some((path, text)) => {
                parse_builtin(&text).map_err(|source| FolderError::Parse { path, source })?
            }
            None => BTreeSet::new(),
        };
        let modules = match text(&root.join("modules.dep"))? {
            Some((path, text)) => parse_dep(&text).map_err(|source| FolderError::Parse { path, source })?,
            None => search(&root)?,
        };
        Ok(Self {
            root,
            modules,
            built_in,
        })
    }

    /// The modules that are linked into the kernel, as far as the folder says.
    #[must_use]
    pub fn built_in(&self) -> &BTreeSet<String> {
        &self.built_in
    }

    /// What the module `name` depends on, or `None` if there is no such module.
    #[must_use]
    pub fn depends(&self, name: &str) -> Option<&[String]> {
        self.modules.get(name).map(|(_, needs)| needs.as_slice())
    }

    /// The module `name`, unpacked.
    ///
    /// # Errors
    /// It is not there, cannot be read, or exceeds [`MAX_MODULE`].
    pub fn read(&self, name: &str) -> Result<Vec<u8>, FolderError> {
        let absent = || FolderError::Absent {
            module: name.to_owned(),
        };
        let (path, _) = self.modules.get(name).ok_or_else(absent)?;
        unpack_module(name, read(&self.root.join(path), MAX_MODULE)?)
    }
}

/// Unpacks a module if its first bytes are those of a compression.
pub(crate) fn unpack_module(name: &str, bytes: Vec<u8>) -> Result<Vec<u8>, FolderError> {
    let Some(kind) = Compression::detect(&bytes) else {
        return Ok(bytes);
    };
    // No limit of ratio: `test_bpf` packs to a hundredth.
    let limits = Limits {
        input: MAX_MODULE,
        output: MAX_MODULE,
        ratio: u64::MAX,
    };
    unpack(kind, &bytes, &limits).map_err(|source| FolderError::Unpack {
        module: name.to_owned(),
        source,
    })
}

fn text(path: &Path) -> Result<Option<(PathBuf, String)>, FolderError> {
    match read(path, MAX_INDEX) {
        Ok(bytes) => {
            let text = String::from_utf8(bytes).map_err(|_| FolderError::Text {
                path: path.to_owned(),
            })?;
            Ok(Some((path.to_owned(), text)))
        }
        Err(error) if error.is_absence() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// All modules below `root`, asked one by one.
fn search(root: &Path) -> Result<BTreeMap<String, (String, Vec<String>)>, FolderError> {
    let mut modules = BTreeMap::new();
    let mut folders = vec![(String::new(), 0)];
    let mut seen = 0;
    while let Some((folder, depth)) = folders.pop() {
        let path = root.join(&folder);
        let list = |source| FolderError::List {
            path: path.clone(),
            source,
        };
        for entry in std::fs::read_dir(&path).map_err(list)? {
            let entry = entry.map_err(list)?;
            seen += 1;
            if seen > MAX_FILES || depth > MAX_DEPTH {
                return Err(FolderError::TooLarge {
                    path: root.to_owned(),
                });
            }
            let Ok(file) = entry.file_name().into_string() else {
                continue;
            };
            let relative = if folder.is_empty() {
                file
            } else {
                format!("{folder}/{file}")
            };
            // Links (`build`, `source`) are not followed.
            let kind = entry.file_type().map_err(list)?;
            if kind.is_dir() {
                folders.push((relative, depth + 1));
            } else if let Some(name) = module_name(&relative).filter(|_| kind.is_file()) {
                let bytes = unpack_module(&name, read(&entry.path(), MAX_MODULE)?)?;
                let info = read_info(&bytes).map_err(|source| FolderError::Elf {
                    module: name.clone(),
                    source,
                })?;
                modules.insert(name, (relative, info.depends));
            }
        }
    }
    Ok(modules)
}

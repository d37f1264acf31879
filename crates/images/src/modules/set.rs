use std::collections::{BTreeMap, BTreeSet};

use super::{FolderError, ModuleFolder};

/// A kernel's modules, wherever they are.
#[derive(Debug)]
pub(crate) enum Modules {
    /// Everything is built in, or nothing works.
    None,
    Folder(ModuleFolder),
    Memory(MemoryModules),
}

/// Modules that came out of a package.
#[derive(Debug, Default)]
pub(crate) struct MemoryModules {
    /// Of all of them.
    pub(crate) depends: BTreeMap<String, Vec<String>>,
    /// Unpacked; only of those that are needed.
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    pub(crate) built_in: BTreeSet<String>,
}

impl Modules {
    /// What `name` depends on, or `None` if it is no module of this kernel.
    pub(crate) fn depends(&self, name: &str) -> Option<Vec<String>> {
        match self {
            Self::None => None,
            Self::Folder(folder) => folder.depends(name).map(<[String]>::to_vec),
            Self::Memory(memory) => memory.depends.get(name).cloned(),
        }
    }

    pub(crate) fn built_in(&self) -> BTreeSet<String> {
        match self {
            Self::None => BTreeSet::new(),
            Self::Folder(folder) => folder.built_in().clone(),
            Self::Memory(memory) => memory.built_in.clone(),
        }
    }

    /// The module `name`, unpacked.
    pub(crate) fn read(&self, name: &str) -> Result<Vec<u8>, FolderError> {
        let absent = || FolderError::Absent {
            module: name.to_owned(),
        };
        match self {
            Self::None => Err(absent()),
            Self::Folder(folder) => folder.read(name),
            Self::Memory(memory) => memory.files.get(name).cloned().ok_or_else(absent),
        }
    }
}

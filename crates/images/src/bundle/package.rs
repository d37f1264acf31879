//! Getting a kernel out of a Debian package.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use super::source::{Gathered, MAX_CONFIG};
use crate::deb::{DebError, PackageFile, visit_package};
use crate::files::{self, ReadError};
use crate::kernel::{Config, ElfError, Limits};
use crate::modules::{
    FolderError, LIKELY, MAX_INDEX, MAX_MODULE, MemoryModules, Modules, NEEDS, ParseError, module_name,
    needed, parse_builtin, read_info, unpack_module,
};
use crate::task::Task;

/// Why a package gives no kernel.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Deb(#[from] DebError),
    #[error(
        "it holds no kernel (/boot/vmlinuz-…): a package like linux-image-cloud-amd64 only names the one that does, linux-image-VERSION-cloud-amd64"
    )]
    NoKernel,
    #[error("{file} in it is larger than {limit} bytes")]
    TooLarge { file: String, limit: u64 },
    #[error("its list of built-in modules cannot be read")]
    Parse(#[from] ParseError),
    #[error(transparent)]
    Module(#[from] FolderError),
    #[error("the module {module} in it is damaged")]
    Elf { module: String, source: ElfError },
}

/// Found so far.
#[derive(Default)]
struct Found {
    image: Option<Vec<u8>>,
    config: Option<Config>,
    modules: MemoryModules,
    /// Modules whose bytes are kept.
    wanted: BTreeSet<String>,
}

/// Reads the package at `path`. Debian's packages have no `modules.dep` (it is made at installation), so every module is
/// asked for its dependencies; where that shows one to be needed whose bytes were not kept, the package is read again.
pub(super) fn gather(path: &Path, limits: &Limits, task: &Task) -> Result<Gathered, PackageError> {
    let wanted = NEEDS.iter().map(|need| need.module).chain(LIKELY.iter().copied());
    let wanted = wanted.map(ToOwned::to_owned).collect();
    let mut found = Found {
        wanted,
        ..Found::default()
    };
    // The first round finds all dependencies, the second one all files.
    for _ in 0..2 {
        let (file, size) = files::open(path)?;
        let file = Watched {
            inner: file,
            done: 0,
            told: 0,
            size,
            task,
        };
        visit_package(BufReader::new(file), task, &mut |file| found.take(file, limits))?;
        let MemoryModules { depends, files, .. } = &found.modules;
        let needed = needed(&|name| depends.get(name).cloned());
        found.wanted = needed
            .into_iter()
            .filter(|name| !files.contains_key(name))
            .collect();
        if found.wanted.is_empty() {
            break;
        }
    }
    Ok(Gathered {
        image: found.image.ok_or(PackageError::NoKernel)?,
        config: found.config,
        modules: Modules::Memory(found.modules),
        description: path.display().to_string(),
    })
}

impl Found {
    fn take(&mut self, file: PackageFile<'_>, limits: &Limits) -> Result<(), PackageError> {
        let path = file.path.to_owned();
        if let Some(rest) = path.strip_prefix("boot/") {
            if rest.starts_with("vmlinuz-") || rest.starts_with("vmlinux-") {
                self.image = Some(whole(file, limits.input)?);
            } else if rest.starts_with("config-") {
                let text = whole(file, MAX_CONFIG)?;
                self.config = Some(Config::parse(&String::from_utf8_lossy(&text)));
            }
        } else if path.starts_with("lib/modules/") {
            if path.ends_with("/modules.builtin") {
                let text = whole(file, MAX_INDEX)?;
                self.modules.built_in = parse_builtin(&String::from_utf8_lossy(&text))?;
            } else if let Some(module) = module_name(&path) {
                let bytes = unpack_module(&module, whole(file, MAX_MODULE)?)?;
                let info = read_info(&bytes).map_err(|source| PackageError::Elf {
                    module: module.clone(),
                    source,
                })?;
                if self.wanted.contains(&module) {
                    self.modules.files.insert(module.clone(), bytes);
                }
                self.modules.depends.insert(module, info.depends);
            }
        }
        Ok(())
    }
}

fn whole(file: PackageFile<'_>, limit: u64) -> Result<Vec<u8>, PackageError> {
    let name = file.path.to_owned();
    file.read(limit)?
        .ok_or(PackageError::TooLarge { file: name, limit })
}

/// Tells how much of the package has been read.
struct Watched<'a> {
    inner: File,
    done: u64,
    told: u64,
    size: u64,
    task: &'a Task,
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.done += count as u64;
        if self.done - self.told >= 1 << 20 {
            self.told = self.done;
            self.task
                .at("reading the package", self.done, Some(self.size))
                .map_err(io::Error::other)?;
        }
        Ok(count)
    }
}

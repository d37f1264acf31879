//! Finding the bundle of a source that was imported before, without reading the source again.
//!
//! The invariant: a stamp's name holds the state of every file that decides what an import makes of the source, as
//! [`crate::files::stamp_name`] has it; so what it leads to was made of the same content. The modules themselves stand behind
//! their list: depmod(8) writes it anew whenever they change.

use std::fs;
use std::path::{Path, PathBuf};

use super::Source;
use super::manifest::FORM;
use super::source::beside;
use crate::files::{StageError, short_digest, stamp_name};

/// The folder of the stamps, in that of the bundles.
pub(super) const FOLDER: &str = "sources";

/// What depmod(8) writes into a folder of modules, of which an import reads the names.
const LISTS: [&str; 2] = ["modules.dep", "modules.builtin"];

/// The name of the stamp for the source as it is now; `None` for one that is looked for anew each time.
pub(super) fn name(source: &Source) -> Option<String> {
    let files = match source {
        Source::Installed { .. } => return None,
        Source::Package(path) => vec![path.clone()],
        Source::Image {
            kernel,
            modules,
            config,
        } => {
            let config = config.clone().or_else(|| beside(kernel));
            let lists = modules
                .iter()
                .flat_map(|folder| LISTS.map(|list| folder.join(list)));
            [kernel.clone()].into_iter().chain(config).chain(lists).collect()
        }
    };
    Some(of(&files))
}

fn of(files: &[PathBuf]) -> String {
    let state = |path: &PathBuf| match fs::metadata(path) {
        Ok(metadata) => stamp_name("", &metadata),
        Err(_) => "none".to_owned(),
    };
    let states: Vec<String> = files.iter().map(state).collect();
    let version = env!("CARGO_PKG_VERSION");
    short_digest(format!("{FORM} {version} {}", states.join(" ")).as_bytes())
}

/// The id that the stamp leads to.
pub(super) fn id(root: &Path, name: &str) -> Option<String> {
    let target = fs::read_link(root.join(FOLDER).join(name)).ok()?;
    Some(target.file_name()?.to_str()?.to_owned())
}

/// Remembers the bundle `id` for the source in the state `name`.
pub(super) fn remember(root: &Path, name: &str, id: &str) -> Result<(), StageError> {
    crate::files::set_stamp(&root.join(FOLDER), name, &format!("../{id}"))
}

/// Forgets whatever leads to a bundle that is no more.
pub(super) fn forget_removed(root: &Path) {
    for entry in fs::read_dir(root.join(FOLDER)).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_symlink() && !path.is_dir() {
            // Left behind it is found to lead nowhere once more.
            let _ = fs::remove_file(path);
        }
    }
}

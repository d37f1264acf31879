//! What a module says of itself: NUL-ended `key=value` texts in its `.modinfo` section (`include/linux/module.h`).

use crate::kernel::{self, ElfError};

/// The part of it that matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModuleInfo {
    /// Names of the modules whose symbols it uses.
    pub depends: Vec<String>,
    /// The release it was built for: the first word of `vermagic`.
    pub release: String,
}

/// Reads a module's information from the unpacked file.
///
/// # Errors
/// The bytes are no ELF file. One without the section gives empty information.
pub fn read_info(module: &[u8]) -> Result<ModuleInfo, ElfError> {
    let section = kernel::section(module, ".modinfo")?.unwrap_or_default();
    let mut info = ModuleInfo::default();
    for text in section
        .split(|byte| *byte == 0)
        .filter_map(|text| std::str::from_utf8(text).ok())
    {
        match text.split_once('=') {
            Some(("depends", names)) => {
                let names = names.split(',').filter(|name| !name.is_empty());
                info.depends.extend(names.map(|name| name.replace('-', "_")));
            }
            Some(("vermagic", magic)) => {
                magic
                    .split(' ')
                    .next()
                    .unwrap_or_default()
                    .clone_into(&mut info.release);
            }
            _ => {}
        }
    }
    Ok(info)
}

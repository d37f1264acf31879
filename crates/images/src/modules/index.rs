//! The text files beside a kernel's modules (modules.dep(5)).

use std::collections::{BTreeMap, BTreeSet};

/// Larger than any kernel's: Debian's generic one has 4,000 modules.
const MAX_LINES: usize = 100_000;

/// Why an index is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    #[error("line {line}: {path:?} is no path of a module below the folder of modules")]
    Path { line: usize, path: String },
    #[error("line {line}: no colon behind the module")]
    Colon { line: usize },
    #[error("more than {MAX_LINES} lines")]
    TooLong,
}

/// The name the kernel knows a module by: its file's, without `.ko` and compression, with `_` for `-`. `None` if the
/// file is no module.
#[must_use]
pub fn module_name(path: &str) -> Option<String> {
    let file = path.rsplit('/').next()?;
    let stem = [".xz", ".zst", ".gz"]
        .iter()
        .find_map(|end| file.strip_suffix(end))
        .unwrap_or(file);
    let name = stem.strip_suffix(".ko")?;
    let fit = |byte: u8| byte.is_ascii_alphanumeric() || b"_-+.".contains(&byte);
    (!name.is_empty() && name.len() <= 64 && name.bytes().all(fit)).then(|| name.replace('-', "_"))
}

/// Reads `modules.dep`: each module's path (relative to the folder of modules) with the names of what it depends on.
///
/// # Errors
/// A line has no colon or names something outside the folder.
pub fn parse_dep(text: &str) -> Result<BTreeMap<String, (String, Vec<String>)>, ParseError> {
    let mut modules = BTreeMap::new();
    for (line, text) in lines(text)? {
        let (path, needs) = text.split_once(':').ok_or(ParseError::Colon { line })?;
        let needs: Result<_, _> = needs
            .split_ascii_whitespace()
            .map(|path| checked_name(line, path))
            .collect();
        modules.insert(checked_name(line, path)?, (path.to_owned(), needs?));
    }
    Ok(modules)
}

/// Reads `modules.builtin`: the names of the modules that are linked into the kernel.
///
/// # Errors
/// A line is not the path of a module.
pub fn parse_builtin(text: &str) -> Result<BTreeSet<String>, ParseError> {
    lines(text)?
        .map(|(line, path)| checked_name(line, path))
        .collect()
}

fn lines(text: &str) -> Result<impl Iterator<Item = (usize, &str)>, ParseError> {
    if text.lines().nth(MAX_LINES).is_some() {
        return Err(ParseError::TooLong);
    }
    let numbered = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
    Ok(numbered.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')))
}

fn checked_name(line: usize, path: &str) -> Result<String, ParseError> {
    let inside = !path.starts_with('/') && path.split('/').all(|part| !matches!(part, "" | "." | ".."));
    let name = module_name(path).filter(|_| inside && path.len() < 4096);
    name.ok_or_else(|| ParseError::Path {
        line,
        path: path.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_the_kernels() {
        assert_eq!(
            module_name("kernel/a/virtio-rng.ko.xz").as_deref(),
            Some("virtio_rng")
        );
        assert_eq!(module_name("dm.ko").as_deref(), Some("dm"));
        for path in ["", "a", ".ko", "a.ko.lz4", "a\n.ko", "kernel/"] {
            assert_eq!(module_name(path), None, "{path:?}");
        }
    }

    #[test]
    fn dependencies_are_read() {
        let modules = parse_dep("kernel/a.ko:\nkernel/b-x.ko.zst: kernel/a.ko kernel/c.ko\n\n").unwrap();
        assert_eq!(modules["a"], ("kernel/a.ko".to_owned(), vec![]));
        assert_eq!(
            modules["b_x"],
            (
                "kernel/b-x.ko.zst".to_owned(),
                vec!["a".to_owned(), "c".to_owned()]
            )
        );
    }

    #[test]
    fn paths_outside_are_refused() {
        for text in [
            "/etc/a.ko:",
            "../a.ko:",
            "k/../../a.ko:",
            "a.ko: ../b.ko",
            "a.ko: /b.ko",
            "shadow:",
        ] {
            assert!(
                matches!(parse_dep(text), Err(ParseError::Path { line: 1, .. })),
                "{text}"
            );
        }
        assert_eq!(parse_dep("a.ko"), Err(ParseError::Colon { line: 1 }));
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_without_a_panic(text in "[a-z./: \n-]{0,200}|\\PC{0,200}") {
            for modules in [parse_dep(&text)] {
                for (name, (path, _)) in modules.into_iter().flatten() {
                    prop_assert!(!path.starts_with('/') && !path.contains("..") || path.contains("..."), "{name}: {path}");
                }
            }
            let _ = parse_builtin(&text);
        }
    }
}

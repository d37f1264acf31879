//! Where the guest's init lies on the host.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Overrides all other places.
pub const POWERUNIT_VARIABLE: &str = "KNALLER_POWERUNIT";

/// There is no powerunit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("powerunit, the guest's init, is not there; looked at {}. Build it with `cargo xtask guest`, or set {POWERUNIT_VARIABLE} to it", display(.looked_at))]
pub struct NoPowerunit {
    pub looked_at: Vec<PathBuf>,
}

fn display(paths: &[PathBuf]) -> String {
    paths
        .iter()
        .map(|path| path.display().to_string())
        .collect::<Vec<_>>()
        .join(", ")
}

/// Finds powerunit: `$KNALLER_POWERUNIT`, else beside the running program, in `../lib/knaller` from there, in
/// `/usr/lib/knaller`.
///
/// # Errors
/// It is in none of these places.
pub fn find_powerunit() -> Result<PathBuf, NoPowerunit> {
    let looked_at = candidates(
        env::var_os(POWERUNIT_VARIABLE),
        env::current_exe().ok().as_deref(),
    );
    looked_at
        .iter()
        .find(|path| path.is_file())
        .cloned()
        .ok_or(NoPowerunit { looked_at })
}

/// The places in the order they are looked at.
fn candidates(variable: Option<OsString>, program: Option<&Path>) -> Vec<PathBuf> {
    if let Some(path) = variable.filter(|path| !path.is_empty()) {
        return vec![path.into()];
    }
    let folder = program.and_then(Path::parent);
    let beside = folder.map(|folder| folder.join("powerunit"));
    let in_lib = folder
        .and_then(Path::parent)
        .map(|folder| folder.join("lib/knaller/powerunit"));
    beside
        .into_iter()
        .chain(in_lib)
        .chain([PathBuf::from("/usr/lib/knaller/powerunit")])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_is_the_only_place_when_set() {
        let program = Path::new("/opt/bin/knaller");
        assert_eq!(
            candidates(Some("/x/powerunit".into()), Some(program)),
            [Path::new("/x/powerunit")]
        );
        let places = [
            "/opt/bin/powerunit",
            "/opt/lib/knaller/powerunit",
            "/usr/lib/knaller/powerunit",
        ];
        assert_eq!(candidates(None, Some(program)), places.map(PathBuf::from));
        assert_eq!(
            candidates(Some(OsString::new()), None),
            [PathBuf::from(places[2])]
        );
    }

    #[test]
    fn the_error_names_every_place() {
        let text = NoPowerunit {
            looked_at: vec!["/a/powerunit".into(), "/b/powerunit".into()],
        }
        .to_string();
        assert!(
            text.contains("/a/powerunit, /b/powerunit") && text.contains("cargo xtask guest"),
            "{text}"
        );
    }
}

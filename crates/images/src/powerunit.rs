//! Where the guest's init lies on the host.

use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::kernel::program;

/// Overrides all other places.
pub const POWERUNIT_VARIABLE: &str = "KNALLER_POWERUNIT";

/// There is no powerunit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("powerunit, the guest's init, is not there; looked at {}. Build it with `cargo xtask guest`, or set {POWERUNIT_VARIABLE} to it", display(.looked_at))]
pub struct NoPowerunit {
    /// Where it could be, and why it is not.
    pub looked_at: Vec<(PathBuf, &'static str)>,
}

fn display(places: &[(PathBuf, &str)]) -> String {
    places
        .iter()
        .map(|(path, why)| format!("{} ({why})", path.display()))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Finds powerunit: `$KNALLER_POWERUNIT`, else beside the running program, in `../lib/knaller` from there, in
/// `/usr/lib/knaller`. One that is linked dynamically is passed over: an ordinary build leaves such a one beside the other
/// programs, and it cannot run in a guest.
///
/// # Errors
/// It is in none of these places.
pub fn find_powerunit() -> Result<PathBuf, NoPowerunit> {
    let mut looked_at = Vec::new();
    for path in candidates(
        env::var_os(POWERUNIT_VARIABLE),
        env::current_exe().ok().as_deref(),
    ) {
        match judge(&path) {
            Ok(()) => return Ok(path),
            Err(why) => looked_at.push((path, why)),
        }
    }
    Err(NoPowerunit { looked_at })
}

/// Whether a guest could run the file, as far as its first bytes tell.
fn judge(path: &Path) -> Result<(), &'static str> {
    let file = File::open(path).map_err(|_| "not there")?;
    let mut head = Vec::new();
    file.take(HEAD)
        .read_to_end(&mut head)
        .map_err(|_| "cannot be read")?;
    match program(&head) {
        Ok(program) if program.dynamic => Err("linked dynamically"),
        Ok(_) => Ok(()),
        Err(_) => Err("no program"),
    }
}

/// Where a program's headers are.
const HEAD: u64 = 4096;

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
    fn only_what_a_guest_could_run_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("script");
        std::fs::write(&script, "#!/bin/sh\n").unwrap();
        assert_eq!(judge(&script), Err("no program"));
        assert_eq!(judge(folder.path()), Err("cannot be read"));
        assert_eq!(judge(&folder.path().join("no")), Err("not there"));
        assert_eq!(judge(&env::current_exe().unwrap()), Err("linked dynamically"));
        assert_eq!(judge(Path::new("/bin/busybox")), Ok(()));
    }

    #[test]
    fn the_error_names_every_place() {
        let looked_at = vec![
            ("/a/powerunit".into(), "not there"),
            ("/b/powerunit".into(), "no program"),
        ];
        let text = NoPowerunit { looked_at }.to_string();
        assert!(
            text.contains("/a/powerunit (not there), /b/powerunit (no program)"),
            "{text}"
        );
        assert!(text.contains("cargo xtask guest"), "{text}");
    }
}

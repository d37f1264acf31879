use std::io::Write;
use std::path::Path;

/// Notes that `test` cannot run here because `missing` is; the summary of `make test` lists it. The caller returns next.
///
/// For what a machine *cannot* have. What it lacks and could have is a failure of the set-up.
pub fn skip(test: &str, missing: &str) {
    eprintln!("skipped: {test}: no {missing}");
    let Some(file) = std::env::var_os("PITWALL_SKIPPED") else {
        return;
    };
    if let Ok(mut file) = std::fs::OpenOptions::new().create(true).append(true).open(file) {
        // One write a line, so that tests side by side do not mix theirs.
        let _ = file.write_all(format!("{test}: no {missing}\n").as_bytes());
    }
}

/// Whether `program` is on the path.
#[must_use]
pub fn have(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder: std::path::PathBuf| Path::new(&folder).join(program).is_file())
}

/// Whether the test runs as root.
#[must_use]
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

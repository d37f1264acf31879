//! Where the programs under test are. `make test` names them in the environment; a bare `cargo test` finds what an
//! earlier build left in the target folder.

use std::path::{Path, PathBuf};

/// Cargo's target folder, by a path without `..`: a jail refuses programs that have it in theirs.
///
/// # Panics
/// When this crate is not two folders below the workspace.
#[must_use]
pub fn target() -> PathBuf {
    let folders = || Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || folders().nth(2).expect("the workspace's folder").join("target"),
        PathBuf::from,
    )
}

/// `variable`'s path, else `fallback` in the target folder.
///
/// # Panics
/// When neither is there: the caller is told which target builds it.
fn program(variable: &str, fallback: &str) -> PathBuf {
    let path = std::env::var_os(variable).map_or_else(|| target().join(fallback), PathBuf::from);
    assert!(
        path.is_file(),
        "{} is not there: run the tests by `make test`, which builds it",
        path.display()
    );
    path
}

/// The guest's static init.
#[must_use]
pub fn powerunit() -> PathBuf {
    program("KNALLER_POWERUNIT", "guest/powerunit")
}

/// Our VMM.
#[must_use]
pub fn sparkler() -> PathBuf {
    program("SPARKLER", "debug/sparkler")
}

/// The command.
#[must_use]
pub fn knaller() -> PathBuf {
    program("KNALLER", "debug/knaller")
}

/// The helper that runs inside a VM's network namespace and becomes the VMM.
#[must_use]
pub fn netns_helper() -> PathBuf {
    program("KNALLER_NETNS", "debug/knaller-netns")
}

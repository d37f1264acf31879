//! A kernel bundle for every sandbox, imported once.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::{Sandbox, kernel_package, knaller, powerunit, run, target};

/// Puts the kernel of [`kernel_package`] into a sandbox's data folder, as `knaller kernel import` leaves it.
///
/// # Panics
/// When it cannot be imported or copied.
pub fn import_kernel(sandbox: &Sandbox) {
    let data = sandbox.data().join("knaller");
    private(&data);
    let copied = Command::new("cp")
        .args(["-a", "--reflink=auto"])
        .args([&store().join("knaller/kernels"), &data])
        .status();
    assert!(
        copied.is_ok_and(|status| status.success()),
        "cannot copy the kernel to {}",
        data.display()
    );
}

/// A data folder that only ever gets this kernel. The import finds for itself what an earlier run left.
fn store() -> &'static Path {
    static STORE: OnceLock<PathBuf> = OnceLock::new();
    STORE.get_or_init(|| {
        let store = target().join("test-store");
        let runtime = tempfile::tempdir().expect("a temporary folder");
        private(&store);
        let _ = run(Command::new(knaller())
            .args(["kernel", "import"])
            .arg(kernel_package())
            .env("XDG_DATA_HOME", &store)
            .env("XDG_RUNTIME_DIR", runtime.path())
            .env("KNALLER_POWERUNIT", powerunit()))
        .ok();
        store
    })
}

fn private(folder: &Path) {
    std::fs::create_dir_all(folder)
        .unwrap_or_else(|error| panic!("cannot make {}: {error}", folder.display()));
    rustix::fs::chmod(folder, rustix::fs::Mode::RWXU).expect("a mode of our own folder");
}

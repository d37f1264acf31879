use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use crate::target;

/// Debian's cloud kernel as a package file, as `dev/setup test` downloads it.
///
/// # Panics
/// When it is not there.
#[must_use]
pub fn kernel_package() -> PathBuf {
    let folder = target().join("kernel");
    let found = std::fs::read_dir(&folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    let mut found: Vec<_> = found
        .filter(|path| path.extension().is_some_and(|ending| ending == "deb"))
        .collect();
    found.sort();
    found
        .pop()
        .unwrap_or_else(|| panic!("no kernel package in {}: run dev/setup test", folder.display()))
}

/// A folder with `/boot` and `/lib/modules` as if the package were installed there; unpacked once.
///
/// # Panics
/// When `dpkg-deb` cannot unpack it, or `depmod` cannot list its modules.
#[must_use]
pub fn kernel_root() -> PathBuf {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        let package = kernel_package();
        let root = package.with_extension("installed");
        crate::rootfs::once(&root, "dpkg-deb -x, depmod", |fresh| {
            let status = Command::new("dpkg-deb")
                .arg("-x")
                .arg(&package)
                .arg(fresh)
                .status();
            assert!(
                status.is_ok_and(|status| status.success()),
                "dpkg-deb cannot unpack {}",
                package.display()
            );
            // What the package's own script does when it is installed.
            let versions = std::fs::read_dir(fresh.join("lib/modules"))
                .into_iter()
                .flatten()
                .flatten();
            for version in versions {
                let status = Command::new("/sbin/depmod")
                    .arg("-b")
                    .arg(fresh)
                    .arg(version.file_name())
                    .status();
                assert!(
                    status.is_ok_and(|status| status.success()),
                    "depmod cannot list the modules in {}",
                    fresh.display()
                );
            }
        });
        root
    })
    .clone()
}

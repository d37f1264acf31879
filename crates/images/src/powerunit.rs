//! Whether a file can be the guest's init.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::kernel::program;

/// Where a program's headers are, in bytes.
const HEAD: u64 = 4096;

/// Whether a guest could run the file, as far as its first bytes tell: there are no libraries in an initramfs, and an ordinary
/// build leaves a powerunit beside the other programs that wants some.
#[must_use]
pub fn runs_in_guest(path: &Path) -> bool {
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(HEAD).read_to_end(&mut head));
    read.is_ok() && program(&head).is_ok_and(|program| !program.dynamic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_guest_could_run_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("script");
        std::fs::write(&script, "#!/bin/sh\n").unwrap();
        assert!(!runs_in_guest(&script));
        assert!(!runs_in_guest(folder.path()));
        assert!(!runs_in_guest(&folder.path().join("no")));
        assert!(!runs_in_guest(&std::env::current_exe().unwrap()));
        assert!(runs_in_guest(Path::new("/bin/busybox")));
    }
}

//! What a guest boots from.

use images::Task;
use images::builtin::builtin_image;
use images::bundle::{KernelStore, StoreError};

use super::{Check, Verdict};
use crate::Options;

pub(super) fn kernel(options: &Options) -> Check {
    let found = KernelStore::open(&options.paths.data).and_then(|store| store.default_bundle());
    match found {
        Ok(bundle) => {
            let manifest = bundle.manifest();
            Check::ok("kernel", format!("{} from {}", manifest.version, manifest.source))
        }
        Err(StoreError::Empty) if has_installed() => Check {
            fixable: true,
            ..Check::bad(
                "kernel",
                Verdict::Failed,
                "no kernel is imported yet",
                "run: knaller kernel import",
            )
        },
        Err(StoreError::Empty) => Check::bad(
            "kernel",
            Verdict::Failed,
            "no kernel is imported yet, and none is installed in /boot",
            "run: sudo apt-get install linux-image-cloud-amd64, then: knaller kernel import",
        ),
        Err(error) => Check::failed("kernel", &error.into()),
    }
}

fn has_installed() -> bool {
    let boot = std::fs::read_dir("/boot").into_iter().flatten().flatten();
    boot.filter(|entry| entry.file_name().to_string_lossy().starts_with("vmlinuz-"))
        .any(|entry| std::fs::File::open(entry.path()).is_ok())
}

/// Making the built-in image is the check: it is made once, and is small.
pub(super) fn image(options: &Options, task: &Task) -> Check {
    match builtin_image(&options.paths.data, task) {
        Ok(image) => Check::ok("image", image.id),
        Err(error) => {
            let remedy = "run: sudo apt-get install busybox-static e2fsprogs, or start with --rootfs FILE";
            Check::bad("image", Verdict::Failed, error.to_string(), remedy)
        }
    }
}

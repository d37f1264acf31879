//! All fuzz targets in one program, so that what they fuzz is compiled and linked once: `FUZZ_TARGET` in the environment names
//! the one to run.
#![no_main]

use std::sync::LazyLock;

// The rules of layers and what is in an image, as the tests of images have them.
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../../crates/images/tests/convert/archive.rs"]
mod archive;
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../../crates/images/tests/convert/listing.rs"]
mod listing;
#[path = "../../crates/images/tests/convert/model.rs"]
mod model;

/// Makes the modules, each of which has a function `run`, and the table of them.
macro_rules! targets {
    ($($name:ident),* $(,)?) => {
        mod targets {
            $(pub(crate) mod $name;)*
        }

        const TARGETS: &[(&str, fn(&[u8]))] = &[$((stringify!($name), targets::$name::run)),*];
    };
}

targets! {
    api_request,
    cpio,
    debian_package,
    ext4,
    guest_frame,
    image_archive,
    image_documents,
    image_layers,
    kernel_image,
    kernel_modules,
    knaller_parsers,
    layer,
    mmds_request,
    qmp,
    registry,
    snapshot_state,
    ssh,
    tar,
}

static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let found = TARGETS.iter().find(|(other, _)| *other == name);
    let names = || {
        TARGETS
            .iter()
            .map(|(name, _)| *name)
            .collect::<Vec<_>>()
            .join(", ")
    };
    found
        .unwrap_or_else(|| panic!("FUZZ_TARGET is {name:?} and must be one of: {}", names()))
        .1
});

libfuzzer_sys::fuzz_target!(
    init: {
        LazyLock::force(&TARGET);
    },
    |bytes: &[u8]| (*TARGET)(bytes)
);

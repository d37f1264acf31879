//! Real images become what umoci makes of them: all that there are.

use testkit::images::Image;
use testkit::skip;

use crate::umoci;

/// What umoci 0.4.7 reads as it is. The others have tests of their own: two are told anew for it, and one takes it half
/// a minute.
const PLAIN: [Image; 9] = [
    Image::Debian,
    Image::Systemd,
    Image::Python,
    Image::Node,
    Image::Nginx,
    Image::Postgres,
    Image::Scratch,
    Image::Distroless,
    Image::Hundred,
];

#[test]
fn real_images_become_what_umoci_makes_of_them() {
    if let Some(missing) = umoci::missing() {
        return skip("real_images_become_what_umoci_makes_of_them", missing);
    }
    for image in PLAIN {
        umoci::compare(&image.layout().unwrap(), "latest");
    }
}

#[test]
fn a_gibibyte_of_small_files_becomes_what_umoci_makes_of_it() {
    if let Some(missing) = umoci::missing() {
        return skip(
            "a_gibibyte_of_small_files_becomes_what_umoci_makes_of_it",
            missing,
        );
    }
    umoci::compare(&Image::Big.layout().unwrap(), "latest");
}

#[test]
fn layers_of_zstd_and_indexes_become_what_umoci_makes_of_the_same_in_its_own_forms() {
    if let Some(missing) = umoci::missing().or_else(|| (!testkit::have("skopeo")).then_some("skopeo")) {
        return skip(
            "layers_of_zstd_and_indexes_become_what_umoci_makes_of_the_same_in_its_own_forms",
            missing,
        );
    }
    for image in [Image::Zstd, Image::MultiArch] {
        let layout = image.layout().unwrap();
        let told = umoci::told_anew(&layout, "latest");
        umoci::compare_with(&layout, told.path(), "latest");
    }
}

//! Real images become what umoci makes of them.

use testkit::images::Image;
use testkit::skip;

use crate::umoci;

/// Not among them: those of zstd and of an index, which umoci cannot unpack, and the largest, which takes it minutes.
const IMAGES: [Image; 9] = [
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
    for image in IMAGES {
        umoci::compare(&image.layout().unwrap(), "latest");
    }
}

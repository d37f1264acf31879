//! Initramfs archives.

use images::cpio::Reader;

pub(crate) fn run(bytes: &[u8]) {
    for entry in Reader::new(bytes).map_while(Result::ok) {
        assert!(!entry.name.starts_with('/') && entry.name.split('/').all(|part| part != ".."));
    }
}

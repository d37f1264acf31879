//! Initramfs archives.
#![no_main]

use images::cpio::Reader;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    for entry in Reader::new(bytes).map_while(Result::ok) {
        assert!(!entry.name.starts_with('/') && entry.name.split('/').all(|part| part != ".."));
    }
});

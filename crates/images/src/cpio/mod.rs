//! The archive an initramfs is made of: cpio's "newc" form (kernel:
//! `Documentation/driver-api/early-userspace/buffer-format.rst`).
//!
//! The invariant: the same entries in the same order make the same bytes, whoever writes them and whenever. Owner,
//! times and inode numbers never come from the host. Archives may be joined end to end, and the kernel unpacks all of
//! them in turn; that is how a bundle's modules and the guest's init become one initrd without writing either twice.

mod reader;
mod writer;

pub use reader::{Entry, ReadError, Reader};
pub use writer::{WriteError, Writer};

/// Starts every entry: the form without checksums.
const MAGIC: &[u8; 6] = b"070701";

/// The magic and 13 fields of 8 hexadecimal digits.
const HEADER: usize = 6 + 13 * 8;

/// The name of the entry that ends an archive.
const TRAILER: &str = "TRAILER!!!";

/// The longest name, with its NUL: the kernel's `PATH_MAX`; it skips entries with longer ones without a word.
pub const MAX_NAME: usize = 4096;

/// Archives are padded to this, so that the next one starts aligned (the kernel asks for 4 only; cpio tools write 512).
const BLOCK: u64 = 512;

/// Bits of the mode that say what an entry is (`S_IFMT` and its values, inode(7)).
pub mod kind {
    pub const MASK: u32 = 0o170_000;
    pub const DIRECTORY: u32 = 0o040_000;
    pub const CHARACTER_DEVICE: u32 = 0o020_000;
    pub const REGULAR: u32 = 0o100_000;
    pub const SYMLINK: u32 = 0o120_000;
}

/// What must be added to `length` to reach a multiple of `step`.
fn padding(length: u64, step: u64) -> u64 {
    (step - length % step) % step
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use proptest::prelude::*;

    use super::*;

    fn name() -> impl Strategy<Value = String> {
        proptest::collection::vec("[a-z0-9._-]{1,12}", 1..4)
            .prop_map(|parts| parts.join("/"))
            .prop_filter("dot names are refused", |name| {
                name.split('/').all(|part| part != "." && part != "..")
            })
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_back(
            files in proptest::collection::vec((name(), proptest::collection::vec(any::<u8>(), 0..600), 0u32..0o7777), 0..8)
        ) {
            let mut writer = Writer::new(Vec::new());
            for (name, data, mode) in &files {
                writer.file(name, *mode, data).unwrap();
            }
            let bytes = writer.finish().unwrap();
            prop_assert_eq!(bytes.len() % 512, 0);
            let read: Vec<_> = Reader::new(&bytes).map(Result::unwrap).collect();
            prop_assert_eq!(read.len(), files.len());
            for (entry, (name, data, mode)) in read.iter().zip(&files) {
                prop_assert_eq!(entry.name, name.as_str());
                prop_assert_eq!(entry.data, data.as_slice());
                prop_assert_eq!(entry.mode, kind::REGULAR | mode);
            }
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            for entry in Reader::new(&bytes) {
                if entry.is_err() {
                    break;
                }
            }
        }

        #[test]
        fn a_damaged_archive_is_read_without_a_panic(at in 0usize..1000, byte in any::<u8>()) {
            let mut bytes = sample();
            let at = at % bytes.len();
            bytes[at] = byte;
            let read: Vec<_> = Reader::new(&bytes).collect();
            prop_assert!(read.len() <= bytes.len());
        }
    }

    fn sample() -> Vec<u8> {
        let mut writer = Writer::new(Vec::new());
        writer.directory("dev", 0o755).unwrap();
        writer.character_device("dev/console", 0o600, 5, 1).unwrap();
        writer.symlink("bin", "usr/bin").unwrap();
        writer
            .stream("init", 0o755, 5, &mut b"hello and more".as_slice())
            .unwrap();
        writer.finish().unwrap()
    }

    #[test]
    fn joined_archives_are_read_as_one() {
        let mut bytes = sample();
        bytes.extend(sample());
        let names: Vec<_> = Reader::new(&bytes).map(|entry| entry.unwrap().name).collect();
        assert_eq!(names.len(), 8);
        assert_eq!(names[0], names[4]);
    }

    #[test]
    fn a_device_and_a_link_keep_what_they_are() {
        let bytes = sample();
        let entries: Vec<_> = Reader::new(&bytes).map(Result::unwrap).collect();
        assert_eq!(entries[1].mode, kind::CHARACTER_DEVICE | 0o600);
        assert_eq!(entries[1].device, (5, 1));
        assert_eq!(entries[2].data, b"usr/bin");
        assert_eq!(entries[3].data, b"hello");
    }

    #[test]
    fn the_same_entries_make_the_same_bytes() {
        assert_eq!(sample(), sample());
    }

    #[test]
    fn names_that_leave_the_archive_are_refused() {
        for name in [
            "/etc/passwd",
            "a/../../b",
            "..",
            "",
            "a//b",
            "a\0b",
            "./a",
            TRAILER,
        ] {
            let mut writer = Writer::new(Vec::new());
            assert!(
                matches!(writer.file(name, 0o644, b""), Err(WriteError::Name { .. })),
                "{name}"
            );
        }
    }

    #[test]
    fn a_source_that_ends_early_is_an_error() {
        let mut writer = Writer::new(Vec::new());
        let mut short = std::io::repeat(0).take(3);
        assert!(matches!(
            writer.stream("a", 0o644, 4, &mut short),
            Err(WriteError::Short { .. })
        ));
    }

    #[test]
    fn gnu_cpio_agrees() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.cpio");
        std::fs::write(&path, sample()).unwrap();
        let Ok(output) = std::process::Command::new("cpio")
            .args(["--list", "--verbose", "--numeric-uid-gid", "--quiet"])
            .stdin(std::fs::File::open(&path).unwrap())
            .output()
        else {
            eprintln!("cpio is not installed: not compared with it");
            return;
        };
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(
            text.contains("5,   1") && text.contains("bin -> usr/bin"),
            "{text}"
        );
    }
}

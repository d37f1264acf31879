use proptest::collection::vec;
use proptest::prelude::*;

use super::build::{Header, archive, pax};
use super::*;

fn name() -> impl Strategy<Value = Vec<u8>> {
    vec(
        any::<u8>().prop_filter("no NUL, no slash", |byte| !matches!(byte, 0 | b'/')),
        1..300,
    )
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        any::<u16>().prop_map(|size| Kind::File { size: size.into() }),
        name().prop_map(|target| Kind::Symlink { target }),
        name().prop_map(|target| Kind::HardLink { target, size: 0 }),
        Just(Kind::Directory),
        Just(Kind::Fifo),
        (0u32..2_000_000, 0u32..2_000_000).prop_map(|(major, minor)| Kind::CharDevice { major, minor }),
    ]
}

prop_compose! {
    fn entry()(
        path in name(),
        kind in kind(),
        mode in 0u16..0o10000,
        ids in (0u32..u32::MAX, 0u32..u32::MAX),
        mtime in 0i64..1 << 33,
        xattrs in proptest::collection::btree_map("user\\.[a-z]{1,20}", vec(any::<u8>(), 1..200), 0..4),
    ) -> Entry {
        Entry {
            path,
            kind,
            mode,
            uid: ids.0,
            gid: ids.1,
            mtime: Time { seconds: mtime, nanoseconds: 0 },
            atime: None,
            ctime: None,
            xattrs: xattrs.into_iter().map(|(name, value)| (name.into_bytes(), value)).collect(),
            untold_acls: 0,
        }
    }
}

/// What the tar crate makes of the entries; every file's bytes are the low byte of its size.
fn written(entries: &[Entry]) -> Vec<u8> {
    let mut builder = ::tar::Builder::new(Vec::new());
    for entry in entries {
        let mut header = ::tar::Header::new_gnu();
        header.set_mode(entry.mode.into());
        header.set_uid(entry.uid.into());
        header.set_gid(entry.gid.into());
        header.set_mtime(u64::try_from(entry.mtime.seconds).unwrap());
        header.set_size(0);
        let (mut long, mut content) = (vec![("path", entry.path.as_slice())], Vec::new());
        let kind = match &entry.kind {
            Kind::File { size } => {
                content.resize(usize::try_from(*size).unwrap(), size.to_le_bytes()[0]);
                header.set_size(*size);
                ::tar::EntryType::Regular
            }
            Kind::HardLink { target, .. } => {
                long.push(("linkpath", target));
                ::tar::EntryType::Link
            }
            Kind::Symlink { target } => {
                long.push(("linkpath", target));
                ::tar::EntryType::Symlink
            }
            Kind::Directory => ::tar::EntryType::Directory,
            Kind::Fifo => ::tar::EntryType::Fifo,
            Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } => {
                header.set_device_major(*major).unwrap();
                header.set_device_minor(*minor).unwrap();
                ::tar::EntryType::Char
            }
        };
        header.set_entry_type(kind);
        header.set_cksum();
        let keys: Vec<_> = entry
            .xattrs
            .iter()
            .map(|(name, _)| format!("SCHILY.xattr.{}", String::from_utf8_lossy(name)))
            .collect();
        long.extend(
            keys.iter()
                .map(String::as_str)
                .zip(entry.xattrs.iter().map(|xattr| xattr.1.as_slice())),
        );
        builder.append_pax_extensions(long).unwrap();
        builder.append(&header, content.as_slice()).unwrap();
    }
    builder.into_inner().unwrap()
}

proptest! {
    #[test]
    fn what_another_writer_wrote_is_read_back(entries in vec(entry(), 0..8)) {
        let read = read_all(&written(&entries)).unwrap();
        prop_assert_eq!(read.len(), entries.len());
        for ((entry, content), expected) in read.iter().zip(&entries) {
            prop_assert_eq!(entry, expected);
            if let Kind::File { size } = entry.kind {
                prop_assert!(content.iter().all(|byte| *byte == size.to_le_bytes()[0]));
            }
        }
    }

    #[test]
    fn a_damaged_archive_is_read_without_a_panic(
        entries in vec(entry(), 1..4),
        flips in vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = written(&entries);
        for (at, byte) in flips {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = read_all(&bytes);
    }

    /// A right checksum around wrong fields.
    #[test]
    fn any_header_is_read_without_a_panic(
        fields in vec((0usize..500, any::<u8>()), 0..40),
        flag in prop::sample::select(b"\x0001234567xgXLKSVMDN".to_vec()),
        gnu in any::<bool>(),
        records in vec(any::<u8>(), 0..600),
        sparse in "[0-9,\n-]{0,40}",
    ) {
        let mut header = if gnu { Header::gnu(b"a", flag) } else { Header::ustar(b"a", flag) };
        for (at, byte) in fields {
            if !(148..156).contains(&at) && at != 156 {
                header = header.at(at, &[byte]);
            }
        }
        let announced = pax(&[
            ("GNU.sparse.size", b"100000"),
            ("GNU.sparse.map", sparse.as_bytes()),
        ]);
        let _ = read_all(&archive(&[header.end(), records.clone()]));
        let file = Header::ustar(b"f", b'0').data(&records);
        let _ = read_all(&archive(&[announced, file.clone()]));
        let _ = read_all(&archive(&[Header::ustar(b"x", b'x').data(&records), file]));
    }
}

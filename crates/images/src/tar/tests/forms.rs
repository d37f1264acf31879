//! What each form of the format can say.

use super::build::{Header, archive, padded, pax, pax_of};
use super::*;

fn kind(part: Vec<u8>) -> Kind {
    only(&archive(&[part])).0.kind
}

#[test]
fn a_header_of_v7_has_no_prefix_and_no_device() {
    let header = Header::v7(b"a", 0).at(345, b"prefix").at(329, b"junk");
    let (entry, content) = only(&archive(&[header.data(b"text")]));
    assert_eq!((entry.path, entry.kind), (b"a".to_vec(), Kind::File { size: 4 }));
    assert_eq!(
        (entry.mode, entry.mtime, content),
        (0o644, Time::default(), b"text".to_vec())
    );
}

#[test]
fn ustar_joins_prefix_and_name() {
    let full = Header::ustar(&[b'n'; 100], b'0').at(345, &[b'p'; 155]);
    let path = only(&archive(&[full.end()])).0.path;
    assert_eq!(path, [vec![b'p'; 155], b"/".to_vec(), vec![b'n'; 100]].concat());
}

#[test]
fn star_has_a_shorter_prefix_and_times() {
    let header = Header::ustar(b"name", b'0')
        .at(345, &[b'p'; 131])
        .at(476, b"00000000007 00000000010 ")
        .at(508, b"tar\0");
    let (entry, _) = only(&archive(&[header.end()]));
    assert_eq!(entry.path.len(), 131 + 5);
    assert_eq!(entry.atime.map(|time| time.seconds), Some(7));
    assert_eq!(entry.ctime.map(|time| time.seconds), Some(8));
}

#[test]
fn gnu_numbers_may_be_large_and_negative() {
    let header = Header::gnu(b"a", b'0')
        .at(108, b"\x80\0\0\0\x80\0\0\0")
        .at(136, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")
        .at(345, b"00000000017\0");
    let (entry, _) = only(&archive(&[header.end()]));
    assert_eq!((entry.uid, entry.mtime.seconds), (0x8000_0000, -1));
    assert_eq!(
        (entry.atime.map(|time| time.seconds), entry.ctime),
        (Some(15), None)
    );
}

#[test]
fn gnu_long_names_end_at_their_nul_and_count_more_than_pax() {
    let (path, link) = ([b'p'; 5000], [b'l'; 4000]);
    let stream = archive(&[
        Header::gnu(b"././@LongLink", b'K').data(&[&link[..], b"\0junk"].concat()),
        Header::gnu(b"././@LongLink", b'L').data(&[&path[..], b"\0"].concat()),
        pax(&[("path", b"other")]),
        Header::gnu(b"p", b'2').link(b"l").end(),
    ]);
    let (entry, _) = only(&stream);
    assert_eq!(entry.path, path);
    assert_eq!(
        entry.kind,
        Kind::Symlink {
            target: link.to_vec()
        }
    );
}

#[test]
fn every_kind_is_told() {
    let device = |flag| {
        Header::ustar(b"d", flag)
            .at(329, b"0000010\0")
            .at(337, b"0000377\0")
            .end()
    };
    assert_eq!(kind(device(b'3')), Kind::CharDevice { major: 8, minor: 255 });
    assert_eq!(kind(device(b'4')), Kind::BlockDevice { major: 8, minor: 255 });
    assert_eq!(kind(Header::ustar(b"f", b'6').end()), Kind::Fifo);
    assert_eq!(
        kind(Header::ustar(b"c", b'7').data(b"xyz")),
        Kind::File { size: 3 }
    );
    assert_eq!(kind(Header::v7(b"old/", 0).end()), Kind::Directory);
    assert_eq!(kind(Header::v7(b"odd/", b'0').end()), Kind::File { size: 0 });
    let target = b"t".to_vec();
    assert_eq!(
        kind(Header::ustar(b"h", b'1').link(b"t").end()),
        Kind::HardLink { target, size: 0 }
    );
}

#[test]
fn only_files_have_data() {
    for flag in [b'1', b'2', b'3', b'4', b'5', b'6'] {
        let stream = archive(&[
            Header::ustar(b"a", flag).link(b"t").size(512).end(),
            Header::ustar(b"b", b'0').end(),
        ]);
        assert_eq!(read_all(&stream).unwrap().len(), 2, "{}", char::from(flag));
    }
}

#[test]
fn a_hard_link_of_a_pax_archive_may_have_data() {
    let link = || Header::ustar(b"h", b'1').link(b"t");
    let target = b"t".to_vec();
    let (entry, content) = only(&archive(&[pax(&[("mtime", b"1")]), link().data(b"text")]));
    assert_eq!(
        (entry.kind, content),
        (Kind::HardLink { target, size: 4 }, b"text".to_vec())
    );
    // A size, and yet a header follows.
    let stream = archive(&[
        pax(&[("size", b"4")]),
        link().end(),
        Header::ustar(b"n", b'0').end(),
    ]);
    assert_eq!(read_all(&stream).unwrap().len(), 2);
}

#[test]
fn pax_records_count_more_than_the_header() {
    let path = [b'x'; 6000];
    let stream = archive(&[
        pax(&[
            ("path", &path),
            ("uid", b"4294967294"),
            ("gid", b"70000"),
            ("size", b"3"),
            ("mtime", b"-1.25"),
            ("atime", b"2.000000001"),
            ("ctime", b"3"),
            ("hdrcharset", b"BINARY"),
            ("comment", b"no one asks"),
            ("SCHILY.ino", b"17"),
        ]),
        Header::ustar(b"short", b'0').end(),
        padded(b"abc"),
        Header::ustar(b"next", b'0').end(),
    ]);
    let entries = read_all(&stream).unwrap();
    let (entry, content) = &entries[0];
    assert_eq!(entry.path, path);
    assert_eq!(
        (entry.uid, entry.gid, content.as_slice()),
        (4_294_967_294, 70_000, &b"abc"[..])
    );
    assert_eq!(
        entry.mtime,
        Time {
            seconds: -2,
            nanoseconds: 750_000_000
        }
    );
    assert_eq!(
        entry.atime,
        Some(Time {
            seconds: 2,
            nanoseconds: 1
        })
    );
    assert_eq!(
        entry.ctime,
        Some(Time {
            seconds: 3,
            nanoseconds: 0
        })
    );
    assert_eq!(
        (entries[1].0.path.as_slice(), entries[1].0.uid),
        (&b"next"[..], 0)
    );
}

#[test]
fn global_records_hold_until_an_entry_takes_them_back() {
    let stream = archive(&[
        pax_of(b'g', &[("uid", b"7"), ("mtime", b"9.5")]),
        Header::ustar(b"a", b'0').end(),
        pax(&[("uid", b"8")]),
        Header::ustar(b"b", b'0').end(),
        pax(&[("uid", b"")]),
        Header::ustar(b"c", b'0').end(),
        Header::ustar(b"d", b'0').end(),
    ]);
    let ids: Vec<_> = read_all(&stream)
        .unwrap()
        .iter()
        .map(|(entry, _)| entry.uid)
        .collect();
    assert_eq!(ids, [7, 8, 0, 7]);
}

#[test]
fn names_are_bytes() {
    let stream = archive(&[
        pax(&[("path", b"\xff\n="), ("linkpath", b"\xfe")]),
        Header::ustar(b"a", b'2').end(),
    ]);
    let (entry, _) = only(&stream);
    assert_eq!(entry.path, b"\xff\n=");
    assert_eq!(
        entry.kind,
        Kind::Symlink {
            target: b"\xfe".to_vec()
        }
    );
}

#[test]
fn large_devices_come_from_pax_records() {
    let stream = archive(&[
        pax(&[("SCHILY.devmajor", b"4095"), ("SCHILY.devminor", b"1048575")]),
        Header::ustar(b"d", b'4').end(),
    ]);
    assert_eq!(
        only(&stream).0.kind,
        Kind::BlockDevice {
            major: 4095,
            minor: 1_048_575
        }
    );
}

#[test]
fn extended_attributes_come_from_every_writer_once() {
    let stream = archive(&[
        pax(&[
            ("LIBARCHIVE.xattr.user.b%20c", b"AP8"),
            ("LIBARCHIVE.xattr.user.a", b"bGF0ZXI="),
            ("SCHILY.xattr.user.a", b"first\0\n="),
            ("SCHILY.xattr.user.empty", b""),
            ("SCHILY.acl.access", b"user::rw-,group::r--,other::---"),
        ]),
        Header::ustar(b"a", b'0').end(),
    ]);
    let xattrs = only(&stream).0.xattrs;
    let names: Vec<_> = xattrs
        .iter()
        .map(|(name, _)| String::from_utf8_lossy(name))
        .collect();
    assert_eq!(
        names,
        ["user.a", "user.empty", "system.posix_acl_access", "user.b c"]
    );
    assert_eq!(xattrs[0].1, b"first\0\n=");
    assert_eq!(xattrs[1].1, b"");
    assert_eq!(xattrs[2].1.len(), 4 + 3 * 8);
    assert_eq!(xattrs[3].1, b"\0\xff");
}

/// GNU tar writes names whatever it is told.
#[test]
fn an_acl_that_only_its_writer_could_tell_is_left_out_and_counted() {
    let stream = archive(&[
        pax(&[
            ("SCHILY.acl.access", b"user::rw-,group::r--,other::---"),
            (
                "SCHILY.acl.default",
                b"user::rwx,user:daemon:r-x,group::r-x,mask::r-x,other::---",
            ),
        ]),
        Header::ustar(b"a", b'5').end(),
    ]);
    let entry = only(&stream).0;
    assert_eq!((entry.xattrs.len(), entry.untold_acls), (1, 1));
    assert_eq!(entry.xattrs[0].0, b"system.posix_acl_access");
}

#[test]
fn the_sum_may_be_of_signed_bytes() {
    let mut header = Header::v7(b"\xe4\xf6", b'0').end();
    header[148..156].fill(b' ');
    let sum: i32 = header.iter().map(|byte| i32::from(byte.cast_signed())).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    assert_eq!(only(&archive(&[header])).0.path, b"\xe4\xf6");
}

#[test]
fn an_archive_may_end_with_its_stream_and_anything_may_follow_its_end() {
    let entry = Header::ustar(b"a", b'0').data(b"x");
    assert_eq!(read_all(&entry).unwrap().len(), 1);
    assert_eq!(
        read_all(&[entry.clone(), vec![0; 512]].concat()).unwrap().len(),
        1
    );
    let garbage = [archive(std::slice::from_ref(&entry)), vec![b'?'; 700_001]].concat();
    let mut reader = Reader::new(garbage.as_slice(), &Limits::default());
    assert!(reader.next().unwrap().is_some());
    assert!(reader.next().unwrap().is_none());
    assert!(reader.next().unwrap().is_none());
    assert!(reader.finish().unwrap().is_empty());
    assert!(read_all(b"").unwrap().is_empty());
}

#[test]
fn a_volume_label_is_passed_over() {
    let stream = archive(&[Header::gnu(b"label", b'V').end(), Header::gnu(b"a", b'0').end()]);
    assert_eq!(only(&stream).0.path, b"a");
}

/// Every version of a sparse file with these pieces in 10,000 bytes.
fn sparse_forms() -> Vec<(&'static str, Vec<u8>)> {
    let data = [[b'a'; 512].as_slice(), &[b'b'; 100]].concat();
    let old = Header::gnu(b"s", b'S')
        .at(386, b"00000000000\x0000000001000\0")
        .at(410, b"00000020000\x0000000000144\0")
        .at(483, b"00000023420\0");
    let mut chained = Header::gnu(b"s", b'S')
        .at(482, b"\x01")
        .at(483, b"00000023420\0")
        .size(612)
        .end();
    let mut block = vec![0; 512];
    block[..24].copy_from_slice(b"00000000000\x0000000001000\0");
    block[504] = 1;
    chained.extend(&block);
    block[..24].copy_from_slice(b"00000020000\x0000000000144\0");
    block[504] = 0;
    chained.extend(&block);
    chained.extend(padded(&data));
    let file = || Header::ustar(b"s", b'0').data(&data);
    let v00 = pax(&[
        ("GNU.sparse.size", b"10000"),
        ("GNU.sparse.numblocks", b"2"),
        ("GNU.sparse.offset", b"0"),
        ("GNU.sparse.numbytes", b"512"),
        ("GNU.sparse.offset", b"8192"),
        ("GNU.sparse.numbytes", b"100"),
    ]);
    let v01 = pax(&[
        ("GNU.sparse.major", b"0"),
        ("GNU.sparse.minor", b"1"),
        ("GNU.sparse.name", b"s"),
        ("GNU.sparse.size", b"10000"),
        ("GNU.sparse.numblocks", b"2"),
        ("GNU.sparse.map", b"0,512,8192,100"),
    ]);
    let v10 = pax(&[
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", b"s"),
        ("GNU.sparse.realsize", b"10000"),
    ]);
    let mapped = [padded(b"2\n0\n512\n8192\n100\n"), data.clone()].concat();
    let behind = Header::ustar(b"GNUSparseFile.0/s", b'0').data(&mapped);
    vec![
        ("old", old.data(&data)),
        ("old, chained", chained),
        ("0.0", [v00, file()].concat()),
        ("0.1", [v01, file()].concat()),
        ("1.0", [v10, behind].concat()),
    ]
}

#[test]
fn sparse_files_of_every_version_are_the_same_file() {
    let mut expected = vec![0; 10_000];
    expected[..512].fill(b'a');
    expected[8192..8292].fill(b'b');
    for (version, part) in sparse_forms() {
        let stream = archive(&[part, Header::ustar(b"next", b'0').end()]);
        let entries = read_all(&stream).unwrap();
        assert_eq!(entries.len(), 2, "{version}");
        assert_eq!(entries[0].0.path, b"s", "{version}");
        assert_eq!(entries[0].0.kind, Kind::File { size: 10_000 }, "{version}");
        assert_eq!(entries[0].1, expected, "{version}");
    }
}

#[test]
fn a_file_may_be_one_hole() {
    let stream = archive(&[
        pax(&[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.realsize", b"70000"),
        ]),
        Header::ustar(b"hole", b'0').data(&padded(b"0\n")),
    ]);
    assert_eq!(only(&stream).1, vec![0; 70_000]);
}

//! Archives that lie.

use std::io::{self, Read};

use super::build::{Header, archive, padded, pax, pax_of};
use super::*;

fn limits() -> Limits {
    Limits {
        total: 8 << 20,
        ..Limits::default()
    }
}

fn endless(start: Vec<u8>) -> TarError {
    let mut reader = Reader::new(io::Cursor::new(start).chain(io::repeat(b'7')), &limits());
    loop {
        match reader.next() {
            Ok(Some(_)) => {}
            Ok(None) => return reader.finish().unwrap_err(),
            Err(error) => return error,
        }
    }
}

fn bound(stream: &[u8]) -> Bound {
    match problem(stream) {
        Problem::TooMuch { bound, .. } => bound,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_stream_that_is_cut_off_is_refused_wherever_it_is_cut() {
    let stream = [
        pax(&[("path", &[b'p'; 600])]),
        Header::ustar(b"a", b'0').data(&[b'x'; 700]),
    ]
    .concat();
    assert_eq!(read_all(&stream).unwrap().len(), 1);
    let padding = padded(&[b'x'; 700]).len() - 700;
    for length in 1..stream.len() - padding {
        let error = read_all(&stream[..length]).unwrap_err();
        assert!(
            matches!(error.problem, Problem::Truncated | Problem::Dangling),
            "{length}: {error:?}"
        );
    }
    // Nothing is missing but what says nothing.
    for length in stream.len() - padding..stream.len() {
        assert_eq!(read_all(&stream[..length]).unwrap(), read_all(&stream).unwrap());
    }
}

#[test]
fn what_is_no_archive_is_said() {
    assert!(matches!(problem(&[b'x'; 512]), Problem::Checksum));
    let mut stream = Header::ustar(b"a", b'0').end();
    stream[0] ^= 1;
    assert!(matches!(problem(&stream), Problem::Checksum));
    let alone = [vec![0; 512], Header::ustar(b"a", b'0').end()].concat();
    assert!(matches!(problem(&alone), Problem::LoneZeroBlock));
}

#[test]
fn claims_take_no_memory() {
    let huge = b"77777777777\0";
    for flag in [b'x', b'g', b'L', b'K', b'V'] {
        assert_eq!(
            bound(&Header::gnu(b"a", flag).at(124, huge).end()),
            Bound::Extension
        );
    }
    let file = Header::gnu(b"a", b'0').at(124, b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff");
    assert_eq!(bound(&file.end()), Bound::File);
    let claim = [
        pax(&[("size", b"9223372036854775807")]),
        Header::ustar(b"a", b'0').end(),
    ];
    assert_eq!(bound(&claim.concat()), Bound::File);
}

#[test]
fn endless_streams_end() {
    let file = endless(Header::ustar(b"a", b'0').at(124, b"77777777777\0").end());
    assert!(matches!(
        file.problem,
        Problem::TooMuch {
            bound: Bound::Total,
            limit: 8_388_608
        }
    ));
    let trailing = endless(archive(&[]));
    assert!(matches!(
        trailing.problem,
        Problem::TooMuch {
            bound: Bound::Total,
            ..
        }
    ));
    let extensions = pax(&[("comment", b"again")]).repeat(10_000);
    assert_eq!(
        read_limited(&extensions, &limits()).unwrap_err().offset,
        8 << 20,
        "a chain of extensions"
    );
    let few = Limits {
        headers: 3,
        ..Limits::default()
    };
    let error = read_limited(&Header::ustar(b"a", b'0').end().repeat(4), &few).unwrap_err();
    assert!(matches!(
        error.problem,
        Problem::TooMuch {
            bound: Bound::Headers,
            limit: 3
        }
    ));
    assert_eq!(error.offset, 3 * 512);
}

#[test]
fn numbers_out_of_range_are_refused() {
    let negative = b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff";
    let field = |at, bytes: &[u8]| problem(&Header::gnu(b"a", b'0').at(at, bytes).end());
    assert!(matches!(field(124, negative), Problem::Number("the size")));
    assert!(matches!(field(124, b"9\0\0\0"), Problem::Number("the size")));
    assert!(matches!(
        field(108, &negative[..8]),
        Problem::Number("the user id")
    ));
    assert!(matches!(
        field(116, b"\x80\0\0\0\xff\xff\xff\xff"),
        Problem::Number("the group id")
    ));
    assert!(matches!(field(136, b"\x80\xff\xff"), Problem::Number(_)));
    let device = Header::gnu(b"a", b'3').at(329, b"\x80\0\0\x01\0\0\0\0").end();
    assert!(matches!(problem(&device), Problem::Number("the device number")));
    for (key, value) in [
        ("size", "-1"),
        ("uid", "1e3"),
        ("mtime", "now"),
        ("size", "99999999999999999999"),
    ] {
        let stream = [pax(&[(key, value.as_bytes())]), Header::ustar(b"a", b'0').end()].concat();
        assert!(
            matches!(problem(&stream), Problem::Record(record) if record == key),
            "{key}={value}"
        );
    }
}

#[test]
fn damaged_records_are_refused() {
    let texts: [&[u8]; 12] = [
        b"5 a=\n\n",
        b"0 a=\n",
        b"99 path=a\n",
        b"-1 a=b\n",
        b" a=b\n",
        b"a=b\n",
        b"6 ab\n\n",
        b"6 a=bb",
        b"5 =b\n",
        b"7 a\0b=\n",
        b"18446744073709551616 a=b\n",
        b"6 a=b\n\0\0",
    ];
    for text in texts {
        let stream = [
            Header::ustar(b"x", b'x').data(text),
            Header::ustar(b"a", b'0').end(),
        ]
        .concat();
        assert!(
            matches!(problem(&stream), Problem::Records),
            "{:?}",
            text.escape_ascii().to_string()
        );
    }
    for key in ["path", "linkpath", "GNU.sparse.name"] {
        let stream = [pax(&[(key, b"a\0b")]), Header::ustar(b"a", b'0').end()].concat();
        assert!(matches!(problem(&stream), Problem::Record(record) if record == key));
    }
}

#[test]
fn records_of_one_entry_are_not_global() {
    for key in ["path", "linkpath", "size", "GNU.sparse.size", "GNU.sparse.offset"] {
        let stream = [pax_of(b'g', &[(key, b"1")]), Header::ustar(b"a", b'0').end()].concat();
        assert!(matches!(problem(&stream), Problem::Global(_)), "{key}");
    }
}

#[test]
fn each_part_of_an_entry_is_limited() {
    let one =
        |key: &str, value: &[u8]| [pax(&[(key, value)]), Header::ustar(b"a", b'2').link(b"t").end()].concat();
    assert_eq!(bound(&one("path", &[b'p'; 65_537])), Bound::Path);
    assert_eq!(bound(&one("linkpath", &[b'p'; 4096])), Bound::Symlink);
    assert_eq!(
        bound(&one(&format!("SCHILY.xattr.{}", "n".repeat(256)), b"")),
        Bound::XattrName
    );
    assert_eq!(
        bound(&one("SCHILY.xattr.user.a", &[0; 65_537])),
        Bound::XattrValue
    );
    let value = [0; 60_000];
    let names: Vec<_> = (0..10)
        .map(|number| format!("SCHILY.xattr.user.{number}"))
        .collect();
    let records: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &value[..])).collect();
    assert_eq!(bound(&pax(&records)), Bound::Xattrs);
    assert_eq!(bound(&pax(&vec![("c", &b"d"[..]); 5000])), Bound::Records);
    // The same attribute again and again is one attribute.
    let same = [
        pax(&[("SCHILY.xattr.user.a", &value[..]); 15]),
        Header::ustar(b"a", b'0').end(),
    ]
    .concat();
    assert_eq!(only(&same).0.xattrs.len(), 1);
}

#[test]
fn sparse_maps_that_do_not_fit_are_refused() {
    for (map, size, stored) in [
        ("0,512,256,512", "4096", 1024),
        ("512,512,0,512", "4096", 1024),
        ("0,512,3900,512", "4096", 1024),
        ("0,512", "4096", 1024),
        ("0,1024", "4096", 512),
        ("0,512,9223372036854775807,1", "9223372036854775807", 513),
        ("0,512,9223372036854775807,9223372036854775807", "4096", 512),
        ("0,512,-1,0", "4096", 512),
        ("0,512,600", "4096", 512),
        ("a,b", "4096", 512),
    ] {
        let stream = archive(&[
            pax(&[
                ("GNU.sparse.size", size.as_bytes()),
                ("GNU.sparse.map", map.as_bytes()),
            ]),
            Header::ustar(b"a", b'0').data(&vec![1; stored]),
        ]);
        let problem = read_limited(
            &stream,
            &Limits {
                file: u64::MAX,
                ..Limits::default()
            },
        )
        .unwrap_err();
        assert!(
            matches!(problem.problem, Problem::SparseMap),
            "{map}: {problem:?}"
        );
    }
    let out_of_turn = pax(&[("GNU.sparse.size", b"1"), ("GNU.sparse.numbytes", b"1")]);
    assert!(matches!(problem(&out_of_turn), Problem::SparseMap));
    let miscounted = [
        pax(&[
            ("GNU.sparse.size", b"9"),
            ("GNU.sparse.numblocks", b"2"),
            ("GNU.sparse.map", b"0,1"),
        ]),
        Header::ustar(b"a", b'0').data(b"x"),
    ];
    assert!(matches!(problem(&miscounted.concat()), Problem::SparseMap));
    let unknown = [
        pax(&[
            ("GNU.sparse.major", b"2"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.size", b"9"),
        ]),
        Header::ustar(b"a", b'0').data(b"x"),
    ];
    assert!(matches!(problem(&unknown.concat()), Problem::Unsupported(_)));
}

#[test]
fn sparse_maps_are_limited_whatever_they_claim() {
    let v10 = |map: &[u8]| {
        let head = pax(&[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.realsize", b"4096"),
        ]);
        archive(&[head, Header::ustar(b"a", b'0').data(&padded(map))])
    };
    assert_eq!(bound(&v10(b"9999999999\n0\n1\n")), Bound::Sparse);
    for map in [
        &b"1\n"[..],
        b"1\n0\n",
        b"",
        b"x\n",
        b"\n",
        b"000000000000000000000001\n",
    ] {
        assert!(matches!(problem(&v10(map)), Problem::SparseMap), "{map:?}");
    }
    // Blocks that each announce the next one, and hold nothing.
    let head = Header::gnu(b"a", b'S')
        .at(482, b"\x01")
        .at(483, b"00000010000\0")
        .end();
    let mut block = vec![0; 512];
    block[504] = 1;
    let chain = [head.clone(), block.repeat(20_000)].concat();
    let error = read_limited(&chain, &limits()).unwrap_err();
    assert!(
        matches!(
            error.problem,
            Problem::TooMuch {
                bound: Bound::Total,
                ..
            }
        ),
        "{error:?}"
    );
    for piece in block[..504].chunks_exact_mut(24) {
        piece.copy_from_slice(b"00000000000\x0000000000000\0");
    }
    let pieces = [head, block.repeat(4000)].concat();
    assert_eq!(bound(&pieces), Bound::Sparse);
    let numbers = [("GNU.sparse.offset", &b"1"[..]), ("GNU.sparse.numbytes", b"0")].repeat(11);
    let few = Limits {
        sparse: 10,
        ..Limits::default()
    };
    let error = read_limited(&pax(&numbers), &few).unwrap_err();
    assert!(
        matches!(
            error.problem,
            Problem::TooMuch {
                bound: Bound::Sparse,
                limit: 10
            }
        ),
        "{error:?}"
    );
}

#[test]
fn what_is_not_supported_is_named() {
    for (flag, word) in [
        (b'M', "volume"),
        (b'D', "incremental"),
        (b'N', "oldest"),
        (b'Z', "'Z'"),
        (1, "x01"),
    ] {
        let text = problem(&Header::gnu(b"a", flag).end()).to_string();
        assert!(text.contains(word) && text.contains("not supported"), "{text}");
    }
    let charset = [pax(&[("hdrcharset", b"KOI8-R")]), Header::ustar(b"a", b'0').end()].concat();
    assert_eq!(
        problem(&charset).to_string(),
        "the character set \"KOI8-R\" is not supported: UTF-8 and BINARY are"
    );
}

#[test]
fn links_to_nothing_are_refused() {
    for flag in [b'1', b'2'] {
        assert!(matches!(
            problem(&Header::ustar(b"a", flag).end()),
            Problem::NoTarget
        ));
    }
}

#[test]
fn an_error_names_the_entry_safely_and_ends_the_stream() {
    let stream = [
        Header::ustar(b"ok", b'0').end(),
        Header::ustar(b"\x1b[2J\xff", b'Z').end(),
        Header::ustar(b"never seen", b'0').end(),
    ]
    .concat();
    let mut reader = Reader::new(stream.as_slice(), &Limits::default());
    reader.next().unwrap();
    let error = reader.next().unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"cannot read the tar stream at the header at byte 512, entry "\x1b[2J\xff""#
    );
    assert!(matches!(reader.next().unwrap_err().problem, Problem::GivenUp));
    assert!(matches!(reader.data().unwrap_err().problem, Problem::GivenUp));
    assert!(matches!(reader.finish().unwrap_err().problem, Problem::GivenUp));
}

#[test]
fn an_error_of_the_input_comes_through() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the disk is gone"))
        }
    }
    let input = io::Cursor::new(Header::ustar(b"a", b'0').size(600).end()).chain(Broken);
    let mut reader = Reader::new(input, &Limits::default());
    reader.next().unwrap();
    let error = reader.data().unwrap_err();
    assert!(matches!(&error.problem, Problem::Io(source) if source.to_string() == "the disk is gone"));
}

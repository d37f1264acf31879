use proptest::prelude::*;

use super::*;

fn member(name: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = format!(
        "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n",
        0,
        0,
        0,
        100_644,
        data.len()
    )
    .into_bytes();
    bytes.extend_from_slice(data);
    if data.len() % 2 == 1 {
        bytes.push(b'\n');
    }
    bytes
}

fn package(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = b"!<arch>\n".to_vec();
    for (name, data) in members {
        bytes.extend(member(name, data));
    }
    bytes
}

fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, data) in files {
        let mut header = tar::Header::new_gnu();
        // Written by hand: the builder refuses what a hostile package would hold.
        header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append(&header, *data).unwrap();
    }
    builder.into_inner().unwrap()
}

fn visited(package: &[u8]) -> Result<Vec<(String, Vec<u8>)>, DebError> {
    let mut files = Vec::new();
    visit_package::<DebError>(package, &Task::new(), &mut |file| {
        let path = file.path.to_owned();
        files.extend(file.read(1 << 20)?.map(|bytes| (path, bytes)));
        Ok(())
    })?;
    Ok(files)
}

#[test]
fn files_come_in_order_by_cleaned_names() {
    let data = tar(&[
        ("./boot/a", b"one"),
        ("./usr/lib/modules/b", b"two"),
        ("usr/share/c", b""),
    ]);
    let packed = zstd::encode_all(data.as_slice(), 1).unwrap();
    let expected = [("boot/a", "one"), ("lib/modules/b", "two"), ("usr/share/c", "")]
        .map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec()));
    let head: [(&str, &[u8]); 2] = [("debian-binary", b"2.0\n"), ("control.tar.xz", b"odd")];
    for (name, data) in [("data.tar", &data), ("data.tar.zst", &packed)] {
        let package = package(&[head[0], head[1], (name, data)]);
        assert_eq!(visited(&package).unwrap(), expected);
    }
}

#[test]
fn names_that_lead_out_are_passed_over() {
    let data = tar(&[
        ("../etc/passwd", b"x"),
        ("/boot/vmlinuz-6.1", b"x"),
        ("./boot/../../x", b"x"),
        ("./ok", b"x"),
    ]);
    let files = visited(&package(&[("data.tar", &data)])).unwrap();
    assert_eq!(files, [("ok".to_owned(), b"x".to_vec())]);
}

#[test]
fn a_name_without_end_is_refused() {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::GNULongName);
    header.set_size(1 << 30);
    header.set_cksum();
    let head = header.as_bytes().to_vec();
    let mut bytes = b"!<arch>\n".to_vec();
    let size = (1u64 << 30) + 512;
    bytes.extend(format!("{:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`\n", "data.tar", 0, 0, 0, 0).into_bytes());
    bytes.extend(head);
    let endless = bytes.chain(io::repeat(b'a'));
    let error = visit_package::<DebError>(endless, &Task::new(), &mut |_| Ok(())).unwrap_err();
    assert!(
        matches!(&error, DebError::Damaged(source) if source.to_string().contains("headers")),
        "{error:?}"
    );
}

#[test]
fn what_is_no_package_is_said() {
    assert!(matches!(visited(b""), Err(DebError::NoPackage)));
    assert!(matches!(visited(b"!<arch>\n"), Err(DebError::NoData)));
    let lzma = package(&[("data.tar.lzma", b"x")]);
    assert!(matches!(visited(&lzma), Err(DebError::Compression(name)) if name == "data.tar.lzma"));
    assert!(matches!(
        visited(&package(&[("data.tar.gz", b"no gzip")])),
        Err(DebError::Damaged(_))
    ));
}

#[test]
fn a_cancelled_task_ends_it() {
    let task = Task::new();
    task.cancel();
    let package = package(&[("data.tar", &tar(&[("a", b"x")]))]);
    let result = visit_package::<DebError>(package.as_slice(), &task, &mut |_| panic!("visited"));
    assert!(matches!(result, Err(DebError::Cancelled(_))));
}

proptest! {
    #[test]
    fn a_damaged_package_is_read_without_a_panic(flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut bytes = package(&[("debian-binary", b"2.0\n"), ("data.tar", &tar(&[("./a", b"text"), ("./b", b"more")]))]);
        for (at, byte) in flips {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = visited(&bytes);
    }
}

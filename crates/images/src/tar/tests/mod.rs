mod build;
mod forms;
mod gnu_tar;
mod hostile;
mod property;

use super::*;

/// Entries with their whole content, holes as zeros.
fn read_all(stream: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>, TarError> {
    read_limited(stream, &Limits::default())
}

fn read_limited(stream: &[u8], limits: &Limits) -> Result<Vec<(Entry, Vec<u8>)>, TarError> {
    let mut reader = Reader::new(stream, limits);
    let mut entries = Vec::new();
    while let Some(entry) = reader.next()? {
        let size = match entry.kind {
            Kind::File { size } | Kind::HardLink { size, .. } => size,
            _ => 0,
        };
        let mut content = Vec::new();
        while let Some((offset, bytes)) = reader.data()? {
            assert!(offset >= content.len() as u64, "data goes back");
            assert!(offset + bytes.len() as u64 <= size, "data goes beyond the file");
            content.resize(usize::try_from(offset).unwrap(), 0);
            content.extend_from_slice(bytes);
        }
        if size < 100 << 20 {
            content.resize(usize::try_from(size).unwrap(), 0);
        }
        entries.push((entry, content));
    }
    reader.finish()?;
    Ok(entries)
}

fn only(stream: &[u8]) -> (Entry, Vec<u8>) {
    let mut entries = read_all(stream).unwrap();
    assert_eq!(entries.len(), 1, "{entries:?}");
    entries.remove(0)
}

fn problem(stream: &[u8]) -> Problem {
    read_all(stream).unwrap_err().problem
}

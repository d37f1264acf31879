//! The end of a log.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// The most bytes that are looked through: a guest can write as much as it likes.
const MAX_BYTES: u64 = 256 * 1024;

/// How many lines a person is shown.
const MAX_LINES: usize = 20;

/// The end of a file that may be large. Several may read the same one at once.
pub(crate) fn read(file: &File) -> io::Result<String> {
    let length = file.metadata()?.len();
    let first = length.saturating_sub(MAX_BYTES);
    let mut bytes = vec![0; usize::try_from(length - first).unwrap_or_default()];
    let mut there = 0;
    while let Some(rest) = bytes.get_mut(there..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, first + there as u64) {
            // It was cut meanwhile.
            Ok(0) => break,
            Ok(count) => there += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(there);
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// As [`read`]; nothing if there is no such file.
pub(crate) fn of(path: &Path) -> String {
    File::open(path).and_then(|file| read(&file)).unwrap_or_default()
}

/// The last lines that say something.
pub(crate) fn lines(text: &str) -> String {
    let lines: Vec<_> = text
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .collect();
    lines
        .get(lines.len().saturating_sub(MAX_LINES)..)
        .unwrap_or_default()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_large_log() {
        let temp = tempfile::NamedTempFile::new().unwrap();
        let text: String = (0..100_000).map(|line| format!("line {line}\r\n\n")).collect();
        std::fs::write(temp.path(), text).unwrap();
        let end = of(temp.path());
        assert!(end.len() as u64 <= MAX_BYTES);
        let shown = lines(&end);
        assert_eq!(shown.lines().count(), MAX_LINES);
        assert!(shown.ends_with("line 99998\nline 99999"));
        assert_eq!(of(Path::new("/nowhere")), "");
    }
}

//! What a program needs of the file system to run at all. The invariant: the program's own loader is asked, which alone knows
//! where it looks; a program without one (Firecracker is linked statically) needs itself. Of a script that is its shell: what
//! it calls is its own affair.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use object::elf::{FileHeader64, PT_INTERP};
use object::read::ReadCache;
use object::read::elf::{FileHeader as _, ProgramHeader as _};

use super::{Access, Entry};

/// The longest first line of a script that the kernel reads (Linux: `BINPRM_BUF_SIZE`).
const MAX_LINE: u64 = 256;

/// The loader's index of libraries: without it they are looked for in its default folders alone (ld.so(8)).
const INDEX: &str = "/etc/ld.so.cache";

/// The program, its loader and its shared libraries.
pub(crate) fn of(program: &Path) -> io::Result<Vec<Entry>> {
    let run = |path: PathBuf| Entry {
        path,
        access: Access::Run,
    };
    let mut entries = vec![run(program.to_owned())];
    if let Some(shell) = shell(program)? {
        entries.extend(of(&shell)?);
        return Ok(entries);
    }
    let Some(loader) = loader(program)? else {
        return Ok(entries);
    };
    entries.extend(libraries(&loader, program)?.into_iter().map(run));
    entries.push(run(loader));
    if Path::new(INDEX).exists() {
        entries.push(Entry {
            path: INDEX.into(),
            access: Access::Read,
        });
    }
    Ok(entries)
}

/// The program that a script names in its first line (execve(2)), unless that is a script again.
fn shell(program: &Path) -> io::Result<Option<PathBuf>> {
    let mut line = Vec::new();
    BufReader::new(File::open(program)?.take(MAX_LINE)).read_until(b'\n', &mut line)?;
    let Some(line) = line.strip_prefix(b"#!") else {
        return Ok(None);
    };
    let mut words = line.trim_ascii().split(|byte| byte.is_ascii_whitespace());
    let shell = Path::new(OsStr::from_bytes(words.next().unwrap_or_default())).to_owned();
    if shell != program && loader(&shell).is_ok() {
        return Ok(Some(shell));
    }
    let text = format!("{}, which it names, is no program", shell.display());
    Err(io::Error::new(io::ErrorKind::InvalidData, text))
}

/// What the kernel starts in the program's place, with the program.
fn loader(program: &Path) -> io::Result<Option<PathBuf>> {
    let file = ReadCache::new(File::open(program)?);
    let broken = |error| io::Error::new(io::ErrorKind::InvalidData, error);
    let header = FileHeader64::<object::Endianness>::parse(&file).map_err(broken)?;
    let endian = header.endian().map_err(broken)?;
    for segment in header.program_headers(endian, &file).map_err(broken)? {
        if segment.p_type(endian) == PT_INTERP {
            let name = segment.data(endian, &file).unwrap_or_default();
            let name = name.strip_suffix(&[0]).unwrap_or(name);
            return Ok(Some(OsStr::from_bytes(name).into()));
        }
    }
    Ok(None)
}

/// By the loader's own word (ld.so(8), `--list`), which is what ldd(1) prints; nothing of the program runs.
fn libraries(loader: &Path, program: &Path) -> io::Result<Vec<PathBuf>> {
    let listed = Command::new(loader)
        .arg("--list")
        .arg(program)
        .env_clear()
        .stdin(Stdio::null())
        .output()?;
    if !listed.status.success() {
        let said = String::from_utf8_lossy(&listed.stderr);
        return Err(io::Error::other(said.trim().to_owned()));
    }
    listed
        .stdout
        .split(|byte| *byte == b'\n')
        .filter_map(library)
        .collect()
}

/// `NAME => PATH (ADDRESS)`, `PATH (ADDRESS)`, `NAME => not found`; one without a file, the kernel's own, is no path.
fn library(line: &[u8]) -> Option<io::Result<PathBuf>> {
    let line = line.trim_ascii();
    let found = line.windows(4).position(|window| window == b" => ");
    let found = found.map_or(line, |at| &line[at + 4..]);
    if found == b"not found" {
        return Some(Err(io::Error::new(
            io::ErrorKind::NotFound,
            String::from_utf8_lossy(line).into_owned(),
        )));
    }
    let end = found.windows(2).rposition(|window| window == b" (")?;
    let path = &found[..end];
    path.starts_with(b"/").then(|| Ok(OsStr::from_bytes(path).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loaders_lines() {
        let path = |line: &str| library(line.as_bytes()).map(|found| found.unwrap());
        assert_eq!(
            path("\tlibz.so.1 => /lib/libz.so.1 (0x00007f)"),
            Some("/lib/libz.so.1".into())
        );
        assert_eq!(path("\t/lib64/ld.so (0x00007f)"), Some("/lib64/ld.so".into()));
        assert_eq!(path("\tlinux-vdso.so.1 (0x00007f)"), None);
        assert_eq!(path(""), None);
        assert_eq!(
            library(b"\tlibx.so => not found").unwrap().unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
    }

    #[test]
    fn a_static_program_needs_itself_and_another_its_libraries() {
        let alone = of(Path::new("/bin/busybox")).unwrap();
        assert_eq!(alone.len(), 1, "{alone:?}");
        let own = std::env::current_exe().unwrap();
        let needed = of(&own).unwrap();
        assert!(
            needed
                .iter()
                .any(|entry| entry.path.to_string_lossy().contains("libc.so"))
        );
        assert!(needed.iter().all(|entry| entry.path.exists()));
        assert!(of(Path::new("/etc/passwd")).is_err());
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("script");
        std::fs::write(&script, "#!/bin/busybox sh\necho\n").unwrap();
        let needed: Vec<_> = of(&script).unwrap().into_iter().map(|entry| entry.path).collect();
        assert_eq!(needed, [script.clone(), "/bin/busybox".into()]);
        std::fs::write(&script, format!("#!{}\n", script.display())).unwrap();
        assert!(of(&script).is_err());
    }
}

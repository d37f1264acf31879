//! What is executed for a session: the user's shell, a command by it, or a command alone where there is no shell.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::environment::os;
use crate::users::User;

/// A program and how it is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    /// With a slash, or to be looked up in the session's `PATH`.
    pub path: PathBuf,
    /// Its own name, as it sees it.
    pub argv0: OsString,
    pub arguments: Vec<OsString>,
}

/// Why there is nothing to execute.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Nothing {
    #[error("this image has no shell ({}); give a command instead: it is executed directly", .0.display())]
    NoShell(PathBuf),
    #[error("this image has no shell ({}), so that the command is split into words, which it cannot be: {why}", shell.display())]
    Words { shell: PathBuf, why: &'static str },
}

impl Program {
    /// The user's login shell.
    pub(crate) fn shell(user: &User) -> Result<Self, Nothing> {
        if !is_program(&user.shell) {
            return Err(Nothing::NoShell(user.shell.clone()));
        }
        let mut argv0 = OsString::from("-");
        argv0.push(user.shell.file_name().unwrap_or(user.shell.as_os_str()));
        Ok(Self {
            path: user.shell.clone(),
            argv0,
            arguments: Vec::new(),
        })
    }

    /// `command` by the user's shell. Without a shell, its words as they are.
    pub(crate) fn command(user: &User, command: &[u8]) -> Result<Self, Nothing> {
        if is_program(&user.shell) {
            return Ok(Self {
                path: user.shell.clone(),
                argv0: user
                    .shell
                    .file_name()
                    .unwrap_or(user.shell.as_os_str())
                    .to_owned(),
                arguments: vec!["-c".into(), os(command)],
            });
        }
        let unclear = |why| Nothing::Words {
            shell: user.shell.clone(),
            why,
        };
        let mut words = words(command).map_err(unclear)?.into_iter();
        let first = words.next().ok_or(unclear("it is empty"))?;
        Ok(Self {
            path: PathBuf::from(&first),
            argv0: first,
            arguments: words.collect(),
        })
    }
}

/// Whether that file can be executed by somebody.
pub(crate) fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

/// Whether that shell is there to keep people out.
pub(crate) fn keeps_out(shell: &Path) -> bool {
    matches!(
        shell.file_name().map(|name| name.as_bytes()),
        Some(b"nologin" | b"false")
    )
}

/// Splits a command as a POSIX shell would one without expansions: blanks, quotes, backslashes.
fn words(command: &[u8]) -> Result<Vec<OsString>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut bytes = command.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b' ' | b'\t' | b'\n' => words.extend(word.take()),
            b'\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match bytes.next().ok_or("a quote is not closed")? {
                        b'\'' => break,
                        byte => word.push(byte),
                    }
                }
            }
            b'"' => {
                let word = word.get_or_insert_default();
                loop {
                    match bytes.next().ok_or("a quote is not closed")? {
                        b'"' => break,
                        b'\\' => match bytes.next().ok_or("a quote is not closed")? {
                            byte @ (b'"' | b'\\' | b'$' | b'`') => word.push(byte),
                            byte => word.extend([b'\\', byte]),
                        },
                        byte => word.push(byte),
                    }
                }
            }
            b'\\' => word
                .get_or_insert_default()
                .push(bytes.next().ok_or("it ends in a backslash")?),
            0 => return Err("it holds a zero byte"),
            byte => word.get_or_insert_default().push(byte),
        }
    }
    words.extend(word);
    Ok(words.iter().map(|word| os(word)).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_are_those_of_a_shell() {
        let split = |text: &str| words(text.as_bytes());
        assert_eq!(
            split(r#"/app  --name 'a b' "c \" $d" e\ f "" "#).unwrap(),
            ["/app", "--name", "a b", "c \" $d", "e f", ""]
        );
        assert!(split("'open").is_err());
        assert!(split("open\\").is_err());
        assert_eq!(split(" \t").unwrap(), Vec::<OsString>::new());
    }

    #[test]
    fn without_a_shell_the_command_is_executed_itself() {
        let user = User {
            shell: "/nonexistent/sh".into(),
            ..User::root()
        };
        let program = Program::command(&user, b"/app --x 1").unwrap();
        assert_eq!(program.path, Path::new("/app"));
        assert_eq!(program.arguments, ["--x", "1"]);
        assert!(Program::shell(&user).is_err());
        assert!(Program::command(&user, b"  ").is_err());
    }

    #[test]
    fn a_login_shell_knows_that_it_is_one() {
        assert_eq!(Program::shell(&User::root()).unwrap().argv0, "-sh");
        assert!(keeps_out(Path::new("/usr/sbin/nologin")) && !keeps_out(Path::new("/bin/sh")));
    }

    proptest! {
        #[test]
        fn foreign_commands_never_panic(command in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = words(&command);
        }

        #[test]
        fn quoted_words_come_out_as_they_went_in(parts in prop::collection::vec("[^'\0]{0,10}", 1..5)) {
            let command: Vec<String> = parts.iter().map(|part| format!("'{part}'")).collect();
            let split = words(command.join(" ").as_bytes()).unwrap();
            prop_assert_eq!(split, parts.iter().map(OsString::from).collect::<Vec<_>>());
        }
    }
}

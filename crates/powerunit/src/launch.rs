//! Running a program as the image says: from a config's words to a command that is ready to start. The entrypoint, health
//! checks and the host's own commands over SSH are all run by this.
//!
//! The invariant: everything that can be found wrong is found before the process is made, so that the host learns a
//! reason and not an errno. The child has nothing of root's but the streams that it is given.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::Mode;
use rustix::process::{Gid, Uid};

use crate::users::{Accounts, Identity, Unknown};
use crate::{apart, files, sys};

/// Where programs are looked for when the image's environment does not say.
pub(crate) const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Why a program does not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("no program is named")]
    Empty,
    #[error(transparent)]
    User(#[from] Unknown),
    #[error("`{0}` is no name of an environment variable, or its value holds a zero byte")]
    Variable(String),
    #[error("there is no program `{program}` in {place}")]
    NotFound { program: String, place: String },
    #[error("`{0}` is not an executable file")]
    NotExecutable(PathBuf),
    #[error("cannot make the working folder {path}")]
    Workdir {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("cannot make {program} process 1 of a namespace")]
    Apart {
        program: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("cannot execute {program}{hint}")]
    Execute {
        program: PathBuf,
        hint: &'static str,
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    /// The exit code that `docker run` has for it.
    pub(crate) fn shell_code(&self) -> u8 {
        match self {
            Self::NotFound { .. } => 127,
            Self::Execute { source, .. } if source.raw_os_error() == Some(libc::ENOENT) => 127,
            Self::NotExecutable(_) | Self::Execute { .. } => 126,
            Self::Empty | Self::User(_) | Self::Variable(_) | Self::Workdir { .. } | Self::Apart { .. } => {
                125
            }
        }
    }
}

/// What is to be run, in a config's words.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    /// Program and arguments; a program without a slash is looked up in `PATH`.
    pub(crate) argv: &'a [String],
    /// As [`Accounts::resolve`] has it.
    pub(crate) user: &'a str,
    /// Relative to `/`.
    pub(crate) workdir: &'a str,
    /// The machine's name, for `HOSTNAME`.
    pub(crate) hostname: &'a str,
    /// Sets of variables; the later win.
    pub(crate) env: &'a [&'a BTreeMap<String, String>],
}

/// Everything resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Launch {
    program: PathBuf,
    argv: Vec<String>,
    pub(crate) env: BTreeMap<String, String>,
    workdir: PathBuf,
    pub(crate) identity: Identity,
    /// Whether it is to be process 1, see [`apart`].
    apart: bool,
}

/// What stands at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Nothing,
    /// A file that may not be executed, or a folder.
    Other,
    Program,
}

impl Found {
    /// Looks at the file system.
    pub(crate) fn at(path: &Path) -> Self {
        use std::os::unix::fs::PermissionsExt;
        match path.metadata() {
            Ok(stat) if stat.is_file() && stat.permissions().mode() & 0o111 != 0 => Self::Program,
            Ok(_) => Self::Other,
            Err(_) => Self::Nothing,
        }
    }
}

impl Launch {
    /// Resolves what is `wanted` against the image's `accounts` and what `look` finds at a path.
    pub(crate) fn resolve(
        wanted: &Wanted<'_>,
        accounts: &Accounts,
        look: impl Fn(&Path) -> Found,
    ) -> Result<Self, Error> {
        let program = wanted
            .argv
            .first()
            .filter(|program| !program.is_empty())
            .ok_or(Error::Empty)?;
        let identity = accounts.resolve(wanted.user)?;
        let env = environment(wanted, &identity)?;
        // A relative folder is meant from `/`, as in container engines.
        let workdir = Path::new("/").join(wanted.workdir);
        let search = env.get("PATH").map_or(DEFAULT_PATH, String::as_str);
        let program = find(program, search, &workdir, &look)?;
        Ok(Self {
            apart: apart::is_needed(&program, look),
            program,
            argv: wanted.argv.to_vec(),
            env,
            workdir,
            identity,
        })
    }

    /// To be held while the command is spawned.
    pub(crate) fn namespace(&self) -> Result<Option<apart::Namespace>, Error> {
        let namespace = self.apart.then(apart::Namespace::new).transpose();
        namespace.map_err(|source| Error::Apart {
            program: self.program.clone(),
            source,
        })
    }

    /// The command, which leads a session of its own. Its standard streams are the caller's to set, and it is spawned within
    /// [`Self::namespace`].
    pub(crate) fn command(&self) -> Result<Command, Error> {
        let Self {
            program,
            argv,
            env,
            workdir,
            identity,
            apart,
        } = self;
        files::make_folder(workdir, Mode::from_raw_mode(0o755)).map_err(|source| Error::Workdir {
            path: workdir.clone(),
            source,
        })?;
        let (uid, gid) = (Uid::from_raw(identity.user.uid), Gid::from_raw(identity.gid));
        let groups: Vec<Gid> = identity.groups.iter().copied().map(Gid::from_raw).collect();
        let mut command = Command::new(program);
        command
            .args(argv.iter().skip(1))
            .env_clear()
            .envs(env)
            .current_dir(workdir);
        if let Some(name) = argv.first() {
            command.arg0(name);
        }
        if *apart {
            // SAFETY: it makes system calls only.
            unsafe { command.pre_exec(apart::own_proc) };
        }
        let become_user = move || {
            sys::default_signals()?;
            rustix::process::setsid()?;
            // Who is no root already is who it must stay: only tests run so.
            if rustix::process::geteuid().is_root() {
                rustix::thread::set_thread_groups(&groups)?;
                rustix::thread::set_thread_res_gid(gid, gid, gid)?;
                rustix::thread::set_thread_res_uid(uid, uid, uid)?;
            }
            rustix::process::umask(Mode::from_raw_mode(0o022));
            Ok(())
        };
        // SAFETY: the closure makes system calls only, and allocates nothing.
        unsafe { command.pre_exec(become_user) };
        Ok(command)
    }

    /// What it means that the command could not be started.
    pub(crate) fn failed(&self, source: std::io::Error) -> Error {
        Error::Execute {
            program: self.program.clone(),
            hint: hint(&source),
            source,
        }
    }
}

fn environment(wanted: &Wanted<'_>, identity: &Identity) -> Result<BTreeMap<String, String>, Error> {
    let home = identity.user.home.to_string_lossy().into_owned();
    let defaults = [
        ("PATH", DEFAULT_PATH.into()),
        ("HOME", home),
        ("HOSTNAME", wanted.hostname.into()),
    ];
    let mut env: BTreeMap<String, String> = defaults
        .into_iter()
        .map(|(name, value)| (name.into(), value))
        .collect();
    for (name, value) in wanted.env.iter().copied().flatten() {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return Err(Error::Variable(name.clone()));
        }
        env.insert(name.clone(), value.clone());
    }
    Ok(env)
}

/// The program's file: as given if it has a slash, else the first one in the folders of `search`.
fn find(
    program: &str,
    search: &str,
    workdir: &Path,
    look: impl Fn(&Path) -> Found,
) -> Result<PathBuf, Error> {
    if program.contains('/') {
        let path = workdir.join(program);
        return match look(&path) {
            Found::Program => Ok(path),
            Found::Other => Err(Error::NotExecutable(path)),
            Found::Nothing => Err(Error::NotFound {
                program: program.into(),
                place: "the image".into(),
            }),
        };
    }
    let mut unusable = None;
    for folder in search.split(':') {
        // An empty entry means the working folder, as in every shell.
        let path = workdir.join(folder).join(program);
        match look(&path) {
            Found::Program => return Ok(path),
            Found::Other => unusable = unusable.or(Some(path)),
            Found::Nothing => {}
        }
    }
    let absent = || Error::NotFound {
        program: program.into(),
        place: format!("PATH={search}"),
    };
    Err(unusable.map_or_else(absent, Error::NotExecutable))
}

/// What an errno of execve(2) means for a file that is there and executable.
fn hint(error: &std::io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::ENOENT) => ": the interpreter or loader that it names is not in the image",
        Some(libc::ENOEXEC) => ": neither a program for this machine nor a script that starts with #!",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn resolve(argv: &[&str], user: &str, workdir: &str) -> Result<Launch, Error> {
        let argv: Vec<String> = argv.iter().map(|arg| (*arg).into()).collect();
        let map = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            let owned = |(name, value): &(&str, &str)| ((*name).into(), (*value).into());
            pairs.iter().map(owned).collect()
        };
        let wanted = Wanted {
            argv: &argv,
            user,
            workdir,
            hostname: "box",
            env: &[&map(&[("LANG", "C"), ("HOME", "/data")]), &map(&[("LANG", "de")])],
        };
        let accounts = Accounts::parse("www:x:33:33::/var/www:/bin/sh\n", "www:x:33:\nlogs:x:40:www\n");
        Launch::resolve(&wanted, &accounts, |path| match path.to_str() {
            Some("/usr/bin/env" | "/srv/run" | "/srv/./run" | "/bin/tool") => Found::Program,
            Some("/usr/bin/tool" | "/srv/data" | "/sbin/data") => Found::Other,
            _ => Found::Nothing,
        })
    }

    #[test]
    fn a_bare_name_is_looked_up_and_what_cannot_run_is_passed_over() {
        let program = |name| resolve(&[name, "x"], "", "").map(|launch| launch.program);
        assert_eq!(program("env").unwrap(), Path::new("/usr/bin/env"));
        assert_eq!(program("tool").unwrap(), Path::new("/bin/tool"));
        let other = program("data").unwrap_err();
        assert!(matches!(&other, Error::NotExecutable(path) if path == Path::new("/sbin/data")));
        let absent = program("nope").unwrap_err();
        assert_eq!((other.shell_code(), absent.shell_code()), (126, 127));
        assert_eq!(
            absent.to_string(),
            format!("there is no program `nope` in PATH={DEFAULT_PATH}")
        );
    }

    #[test]
    fn a_path_is_taken_from_the_working_folder() {
        let launch = resolve(&["./run"], "", "srv").unwrap();
        assert_eq!(
            (launch.program.as_path(), launch.workdir.as_path()),
            (Path::new("/srv/./run"), Path::new("/srv"))
        );
        assert!(matches!(resolve(&["./run"], "", ""), Err(Error::NotFound { .. })));
        assert!(matches!(
            resolve(&["/srv/data"], "", ""),
            Err(Error::NotExecutable(_))
        ));
    }

    #[test]
    fn user_and_environment_are_resolved() {
        let launch = resolve(&["env"], "www", "").unwrap();
        assert_eq!(
            (launch.identity.user.uid, launch.identity.groups.as_slice()),
            (33, [33, 40].as_slice())
        );
        let env: Vec<_> = launch
            .env
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(
            env,
            [
                ("HOME", "/data"),
                ("HOSTNAME", "box"),
                ("LANG", "de"),
                ("PATH", DEFAULT_PATH)
            ]
        );
    }

    #[test]
    fn what_means_nothing_is_said() {
        assert!(matches!(resolve(&[], "", ""), Err(Error::Empty)));
        assert!(matches!(resolve(&[""], "", ""), Err(Error::Empty)));
        let unknown = resolve(&["env"], "nobody-here", "").unwrap_err();
        assert!(matches!(unknown, Error::User(_)));
        assert_eq!(unknown.shell_code(), 125);
    }

    proptest! {
        #[test]
        fn foreign_words_never_panic(program in ".{0,12}", search in "[a-z/:]{0,20}", workdir in ".{0,12}") {
            let _ = find(&program, &search, Path::new(&workdir), |_| Found::Nothing);
        }
    }
}

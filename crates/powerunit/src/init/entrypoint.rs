//! The program that the VM exists for: from the config's words to a running process.
//!
//! The invariant: everything that can be found wrong is found before the process is made, so that the host learns a reason and not
//! an errno. Nothing of root's is left in the child but its console.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use guest_protocol::{Config, Entrypoint};
use rustix::fs::Mode;
use rustix::process::{Gid, Pid, Uid};

use crate::users::{Accounts, Identity, Unknown};
use crate::{files, signals, sys};

/// Where programs are looked for when the image's environment does not say.
pub(crate) const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Why the entrypoint does not run.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("the entrypoint names no program")]
    Empty,
    #[error(transparent)]
    User(#[from] Unknown),
    #[error("the stop signal `{0}` is none that the kernel knows")]
    StopSignal(String),
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
    #[error("cannot execute {program}{hint}")]
    Execute {
        program: PathBuf,
        hint: &'static str,
        #[source]
        source: std::io::Error,
    },
}

/// Everything resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Launch {
    program: PathBuf,
    argv: Vec<String>,
    env: BTreeMap<String, String>,
    workdir: PathBuf,
    identity: Identity,
    /// The signal that asks it to end.
    pub(super) stop_signal: i32,
}

/// What stands at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    /// A file that may not be executed, or a folder.
    Other,
    Program,
}

impl Found {
    /// Looks at the file system.
    pub(super) fn at(path: &Path) -> Self {
        use std::os::unix::fs::PermissionsExt;
        match path.metadata() {
            Ok(stat) if stat.is_file() && stat.permissions().mode() & 0o111 != 0 => Self::Program,
            Ok(_) => Self::Other,
            Err(_) => Self::Nothing,
        }
    }
}

impl Launch {
    /// Resolves `entrypoint` against the image's `accounts` and what `look` finds at a path.
    pub(super) fn resolve(
        config: &Config,
        entrypoint: &Entrypoint,
        accounts: &Accounts,
        look: impl Fn(&Path) -> Found,
    ) -> Result<Self, Error> {
        let program = entrypoint
            .argv
            .first()
            .filter(|program| !program.is_empty())
            .ok_or(Error::Empty)?;
        let identity = accounts.resolve(&entrypoint.user)?;
        let stop_signal = match entrypoint.stop_signal.as_str() {
            "" => libc::SIGTERM,
            name => signals::parse(name).ok_or_else(|| Error::StopSignal(name.into()))?,
        };
        let env = environment(config, &identity)?;
        // A relative folder is meant from `/`, as in container engines.
        let workdir = Path::new("/").join(&entrypoint.workdir);
        let search = env.get("PATH").map_or(DEFAULT_PATH, String::as_str);
        let program = find(program, search, &workdir, look)?;
        Ok(Self {
            program,
            argv: entrypoint.argv.clone(),
            env,
            workdir,
            identity,
            stop_signal,
        })
    }

    /// Makes the process. It has its own session, and the console as its standard input, output and error.
    pub(super) fn start(&self) -> Result<Pid, Error> {
        let Self {
            program,
            argv,
            env,
            workdir,
            identity,
            ..
        } = self;
        files::make_folder(workdir, Mode::from_raw_mode(0o755)).map_err(|source| Error::Workdir {
            path: workdir.clone(),
            source,
        })?;
        // /dev/stdout leads to the console's device file, which the program must be allowed to open again.
        let _ = rustix::fs::fchown(
            rustix::stdio::stderr(),
            Some(Uid::from_raw(identity.user.uid)),
            None,
        );
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
        command
            .stdin(Stdio::inherit())
            .stdout(Stdio::inherit())
            .stderr(Stdio::inherit());
        let become_user = move || {
            sys::default_signals()?;
            rustix::process::setsid()?;
            rustix::thread::set_thread_groups(&groups)?;
            rustix::thread::set_thread_res_gid(gid, gid, gid)?;
            rustix::thread::set_thread_res_uid(uid, uid, uid)?;
            Ok(())
        };
        // SAFETY: the closure makes system calls only, and allocates nothing.
        unsafe { command.pre_exec(become_user) };
        let child = command.spawn().map_err(|source| {
            let hint = hint(&source);
            Error::Execute {
                program: program.clone(),
                hint,
                source,
            }
        })?;
        // It is waited for by its number, with all other children.
        Ok(Pid::from_child(&child))
    }
}

fn environment(config: &Config, identity: &Identity) -> Result<BTreeMap<String, String>, Error> {
    let home = identity.user.home.to_string_lossy().into_owned();
    let defaults = [
        ("PATH", DEFAULT_PATH.into()),
        ("HOME", home),
        ("HOSTNAME", config.hostname.clone()),
    ];
    let mut env: BTreeMap<String, String> = defaults
        .into_iter()
        .map(|(name, value)| (name.into(), value))
        .collect();
    for (name, value) in &config.env {
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

    fn config() -> Config {
        serde_json::from_value(serde_json::json!({
            "version": 1, "hostname": "box", "host_key": "", "authorized_keys": [], "clock_ns": 0,
            "root": { "kind": "initramfs" }, "env": { "LANG": "C", "HOME": "/data" },
        }))
        .unwrap()
    }

    fn resolve(argv: &[&str], with: impl FnOnce(&mut Entrypoint)) -> Result<Launch, Error> {
        let argv = argv.iter().map(|arg| (*arg).into()).collect();
        let mut entrypoint = Entrypoint {
            argv,
            user: String::new(),
            workdir: String::new(),
            stop_signal: String::new(),
        };
        with(&mut entrypoint);
        let accounts = Accounts::parse("www:x:33:33::/var/www:/bin/sh\n", "www:x:33:\nlogs:x:40:www\n");
        Launch::resolve(&config(), &entrypoint, &accounts, |path| match path.to_str() {
            Some("/usr/bin/env" | "/srv/run" | "/srv/./run" | "/bin/tool") => Found::Program,
            Some("/usr/bin/tool" | "/srv/data" | "/sbin/data") => Found::Other,
            _ => Found::Nothing,
        })
    }

    #[test]
    fn a_bare_name_is_looked_up_and_what_cannot_run_is_passed_over() {
        assert_eq!(
            resolve(&["env", "x"], |_| ()).unwrap().program,
            Path::new("/usr/bin/env")
        );
        assert_eq!(
            resolve(&["tool"], |_| ()).unwrap().program,
            Path::new("/bin/tool")
        );
        assert!(
            matches!(resolve(&["data"], |_| ()), Err(Error::NotExecutable(path)) if path == Path::new("/sbin/data"))
        );
        let absent = resolve(&["nope"], |_| ()).unwrap_err().to_string();
        assert_eq!(
            absent,
            format!("there is no program `nope` in PATH={DEFAULT_PATH}")
        );
    }

    #[test]
    fn a_path_is_taken_from_the_working_folder() {
        let launch = resolve(&["./run"], |entrypoint| entrypoint.workdir = "srv".into()).unwrap();
        assert_eq!(
            (launch.program.as_path(), launch.workdir.as_path()),
            (Path::new("/srv/./run"), Path::new("/srv"))
        );
        assert!(matches!(resolve(&["./run"], |_| ()), Err(Error::NotFound { .. })));
        assert!(matches!(
            resolve(&["/srv/data"], |_| ()),
            Err(Error::NotExecutable(_))
        ));
    }

    #[test]
    fn user_signal_and_environment_are_resolved() {
        let launch = resolve(&["env"], |entrypoint| {
            entrypoint.user = "www".into();
            entrypoint.stop_signal = "SIGQUIT".into();
        })
        .unwrap();
        assert_eq!(
            (launch.identity.user.uid, launch.identity.groups.as_slice()),
            (33, [33, 40].as_slice())
        );
        assert_eq!(launch.stop_signal, libc::SIGQUIT);
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
                ("LANG", "C"),
                ("PATH", DEFAULT_PATH)
            ]
        );
        assert_eq!(resolve(&["env"], |_| ()).unwrap().stop_signal, libc::SIGTERM);
    }

    #[test]
    fn what_means_nothing_is_said() {
        assert!(matches!(resolve(&[], |_| ()), Err(Error::Empty)));
        assert!(matches!(resolve(&[""], |_| ()), Err(Error::Empty)));
        assert!(matches!(
            resolve(&["env"], |e| e.user = "nobody-here".into()),
            Err(Error::User(_))
        ));
        assert!(matches!(
            resolve(&["env"], |e| e.stop_signal = "SIGNOPE".into()),
            Err(Error::StopSignal(_))
        ));
    }

    proptest! {
        #[test]
        fn foreign_words_never_panic(program in ".{0,12}", search in "[a-z/:]{0,20}", workdir in ".{0,12}") {
            let _ = find(&program, &search, Path::new(&workdir), |_| Found::Nothing);
        }
    }
}

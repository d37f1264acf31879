//! Where programs are: as the options say, else where each one's rule looks (see [`crate::Programs`]).

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{Access, access};

use crate::{Error, Options, Result};

/// Where companions of an installed program are, relative to its folder, and absolute.
const LIBRARY: [&str; 2] = ["../lib/knaller", "/usr/lib/knaller"];

/// Where tools of the system are that an ordinary user's `PATH` may leave out.
const SYSTEM: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// The most bytes of what a program says of its version.
const MAX_VERSION: usize = 200;

/// Packages of Debian and its children that have the programs, for the remedy's text.
const PACKAGES: [(&str, &str); 3] = [
    ("pasta", "passt"),
    ("nft", "nftables"),
    ("qemu-system", "qemu-system-x86"),
];

impl Options {
    pub(crate) fn pasta(&self) -> Result<PathBuf> {
        self.find("pasta", self.programs.pasta.as_deref(), self.searched())
    }

    pub(crate) fn nft(&self) -> Result<PathBuf> {
        self.find("nft", None, self.searched().chain(SYSTEM.map(PathBuf::from)))
    }

    pub(crate) fn firecracker(&self) -> Result<PathBuf> {
        self.find(
            "firecracker",
            self.programs.firecracker.as_deref(),
            self.searched(),
        )
    }

    pub(crate) fn sparkler(&self) -> Result<PathBuf> {
        let folders = self.companions().chain(self.searched());
        self.find("sparkler", self.programs.sparkler.as_deref(), folders)
    }

    pub(crate) fn qemu(&self) -> Result<PathBuf> {
        let name = format!("qemu-system-{}", std::env::consts::ARCH);
        self.find(&name, self.programs.qemu.as_deref(), self.searched())
    }

    pub(crate) fn netns(&self) -> Result<PathBuf> {
        let folders = self.companions().chain(self.searched());
        self.find("knaller-netns", self.programs.netns.as_deref(), folders)
    }

    pub(crate) fn powerunit(&self) -> Result<PathBuf> {
        // An ordinary build leaves one beside this program that no guest can run.
        let usable = self
            .companions()
            .filter(|folder| images::runs_in_guest(&folder.join("powerunit")));
        self.find("powerunit", self.programs.powerunit.as_deref(), usable)
    }

    fn searched(&self) -> impl Iterator<Item = PathBuf> {
        std::env::split_paths(&self.search_path).filter(|folder| folder.is_absolute())
    }

    fn companions(&self) -> impl Iterator<Item = PathBuf> {
        let beside = self.beside.as_deref();
        let library = LIBRARY.iter().filter_map(move |folder| match Path::new(folder) {
            absolute if absolute.is_absolute() => Some(absolute.to_owned()),
            relative => beside.map(|own| own.join(relative)),
        });
        beside.map(Path::to_owned).into_iter().chain(library)
    }

    fn find(
        &self,
        name: &str,
        given: Option<&Path>,
        mut folders: impl Iterator<Item = PathBuf>,
    ) -> Result<PathBuf> {
        let found = match given {
            Some(path) if is_executable(path) => Some(path.to_owned()),
            Some(path) => {
                let hint = format!(
                    "the path given for it is {}, which is no executable file",
                    path.display()
                );
                return Err(Error::ProgramMissing {
                    program: name.to_owned(),
                    hint,
                });
            }
            None => folders.find_map(|folder| Some(folder.join(name)).filter(|path| is_executable(path))),
        };
        let absolute = found.and_then(|path| std::path::absolute(path).ok());
        absolute.ok_or_else(|| Error::ProgramMissing {
            program: name.to_owned(),
            hint: remedy(name),
        })
    }
}

/// The first line of what a program says of its version, on whichever stream. Blocks.
pub(crate) fn version(program: &Path) -> Option<String> {
    let told = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let text = if told.stdout.is_empty() {
        told.stderr
    } else {
        told.stdout
    };
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty())?;
    Some(line.chars().take(MAX_VERSION).collect())
}

fn is_executable(path: &Path) -> bool {
    path.is_file() && access(path, Access::EXEC_OK).is_ok()
}

fn remedy(name: &str) -> String {
    match PACKAGES.iter().find(|(program, _)| name.starts_with(program)) {
        Some((_, package)) => format!("run: sudo apt-get install {package}"),
        None if name == "firecracker" => {
            "get it from https://github.com/firecracker-microvm/firecracker/releases and put it on PATH"
                .to_owned()
        }
        None if name == "powerunit" => {
            "powerunit, the guest's init, comes with knaller: install it, linked statically (cargo xtask guest), beside this \
             program or in /usr/lib/knaller"
                .to_owned()
        }
        None => format!("{name} comes with knaller: install it beside this program or in /usr/lib/knaller"),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::Paths;

    fn program(folder: &Path, name: &str, mode: u32) -> PathBuf {
        std::fs::create_dir_all(folder).unwrap();
        let path = folder.join(name);
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn companions_win_over_the_search_path_and_files_without_x_do_not_count() {
        let temp = tempfile::tempdir().unwrap();
        let (beside, searched) = (temp.path().join("bin"), temp.path().join("path"));
        let mut options = Options::new(Paths {
            data: "/d".into(),
            runtime: "/r".into(),
        });
        options.search_path = searched.clone().into();
        options.beside = Some(beside.clone());
        program(&beside, "sparkler", 0o644);
        let other = program(&searched, "sparkler", 0o755);
        assert_eq!(options.sparkler().unwrap(), other);
        let own = program(&temp.path().join("lib/knaller"), "sparkler", 0o755);
        assert_eq!(
            options.sparkler().unwrap().canonicalize().unwrap(),
            own.canonicalize().unwrap()
        );
        let own = program(&beside, "sparkler", 0o755);
        assert_eq!(options.sparkler().unwrap(), own);
    }

    #[test]
    fn a_powerunit_that_no_guest_can_run_is_passed_over() {
        let temp = tempfile::tempdir().unwrap();
        let mut options = Options::new(Paths {
            data: "/d".into(),
            runtime: "/r".into(),
        });
        let beside = temp.path().join("bin");
        options.beside = Some(beside.clone());
        std::fs::create_dir_all(&beside).unwrap();
        std::fs::copy(std::env::current_exe().unwrap(), beside.join("powerunit")).unwrap();
        let library = temp.path().join("lib/knaller");
        std::fs::create_dir_all(&library).unwrap();
        std::fs::copy("/bin/busybox", library.join("powerunit")).unwrap();
        assert_eq!(
            options.powerunit().unwrap().canonicalize().unwrap(),
            library.join("powerunit")
        );
    }

    #[test]
    fn what_is_missing_is_named_with_its_remedy() {
        let mut options = Options::new(Paths {
            data: "/d".into(),
            runtime: "/r".into(),
        });
        options.search_path = "/nowhere".into();
        let error = options.pasta().unwrap_err();
        assert_eq!(error.to_string(), "pasta was not found");
        assert_eq!(error.hint().unwrap(), "run: sudo apt-get install passt");
        options.programs.qemu = Some("/nowhere/qemu".into());
        assert!(
            options
                .qemu()
                .unwrap_err()
                .hint()
                .unwrap()
                .contains("/nowhere/qemu")
        );
    }
}

//! Who is PID 1 once the root file system is up: powerunit, or an init of the image's own, its successor.
//!
//! The invariant: a successor is an executable file of the image, found before anything is given up for it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use guest_protocol::{Config, Init};

use crate::launch::Found;
use crate::users::Accounts;

/// Where an init is looked for: what the kernel itself would try (init/main.c), and where systemd is without its link.
const CANDIDATES: [&str; 6] = [
    "/sbin/init",
    "/usr/sbin/init",
    "/etc/init",
    "/bin/init",
    "/usr/lib/systemd/systemd",
    "/lib/systemd/systemd",
];

/// The image's own init is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the image has no init: none of {} is an executable file", CANDIDATES.join(", "))]
pub(super) struct NoInit;

/// An init of the image, and how it is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Successor {
    pub(super) path: PathBuf,
    /// Its own name first.
    pub(super) argv: Vec<String>,
}

impl Successor {
    /// What [`Init`] says about this image; `None`: powerunit stays.
    pub(super) fn choose(
        config: &Config,
        accounts: &Accounts,
        image: &impl Look,
    ) -> Result<Option<Self>, NoInit> {
        let own = || Self::of_entrypoint(config, accounts, image);
        match config.init {
            Init::Powerunit => Ok(None),
            Init::Image => own().or_else(|| Self::find(image)).ok_or(NoInit).map(Some),
            Init::Auto if config.entrypoint.is_some() => Ok(own()),
            Init::Auto => Ok(image
                .leads_to_systemd("/sbin/init")
                .then(|| Self::find(image))
                .flatten()),
        }
    }

    /// The entrypoint, if it is an init itself. An init must be root's.
    fn of_entrypoint(config: &Config, accounts: &Accounts, image: &impl Look) -> Option<Self> {
        let entrypoint = config.entrypoint.as_ref()?;
        let program = entrypoint.argv.first()?;
        let path = Path::new(program);
        let root = accounts
            .resolve(&entrypoint.user)
            .is_ok_and(|identity| identity.user.uid == 0);
        let init = Init::is_init(program) && root && image.found(path) == Found::Program;
        init.then(|| Self {
            path: path.to_owned(),
            argv: entrypoint.argv.clone(),
        })
    }

    fn find(image: &impl Look) -> Option<Self> {
        let path = CANDIDATES
            .into_iter()
            .find(|path| image.found(Path::new(path)) == Found::Program)?;
        let name = Path::new(path).file_name().unwrap_or(OsStr::new("init"));
        Some(Self {
            path: path.into(),
            argv: vec![name.to_string_lossy().into_owned()],
        })
    }
}

/// What is looked at in the image.
pub(super) trait Look {
    fn found(&self, path: &Path) -> Found;
    /// The file that a path leads to, without symbolic links.
    fn real(&self, path: &Path) -> Option<PathBuf>;

    /// Whether that file is systemd, by its own name or by the folder of its programs.
    fn leads_to_systemd(&self, path: &str) -> bool {
        self.real(Path::new(path)).is_some_and(|real| {
            let folder = real.parent();
            real.file_name() == Some(OsStr::new("systemd"))
                || folder.is_some_and(|folder| folder.ends_with("lib/systemd"))
        })
    }
}

/// The root file system, once it is this process's own.
pub(super) struct OwnRoot;

impl Look for OwnRoot {
    fn found(&self, path: &Path) -> Found {
        Found::at(path)
    }

    fn real(&self, path: &Path) -> Option<PathBuf> {
        path.canonicalize().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An image with these programs, each with the path that it really has.
    struct Image(&'static [(&'static str, &'static str)]);

    impl Look for Image {
        fn found(&self, path: &Path) -> Found {
            self.real(path).map_or(Found::Nothing, |_| Found::Program)
        }

        fn real(&self, path: &Path) -> Option<PathBuf> {
            let found = self.0.iter().find(|(name, _)| Path::new(name) == path);
            found.map(|(_, real)| real.into())
        }
    }

    const SYSTEMD: Image = Image(&[
        ("/sbin/init", "/usr/lib/systemd/systemd"),
        ("/usr/sbin/init", "/usr/lib/systemd/systemd"),
        ("/lib/systemd/systemd", "/usr/lib/systemd/systemd"),
    ]);
    const BUSYBOX: Image = Image(&[("/sbin/init", "/bin/busybox")]);

    fn choose(init: &str, argv: &[&str], user: &str, image: &Image) -> Result<Option<Vec<String>>, NoInit> {
        let entrypoint = (!argv.is_empty()).then(|| serde_json::json!({ "argv": argv, "user": user }));
        let config: Config = serde_json::from_value(serde_json::json!({
            "version": 1, "hostname": "box", "host_key": "", "authorized_keys": [], "clock_ns": 0,
            "root": { "kind": "initramfs" }, "init": init, "entrypoint": entrypoint,
        }))
        .unwrap();
        let accounts = Accounts::parse("web:x:33:33::/:/bin/sh\n", "");
        let chosen = Successor::choose(&config, &accounts, image)?;
        Ok(chosen.map(|successor| {
            assert_ne!(image.found(&successor.path), Found::Nothing);
            successor.argv
        }))
    }

    #[test]
    fn systemd_without_an_entrypoint_takes_over() {
        assert_eq!(choose("auto", &[], "", &SYSTEMD), Ok(Some(vec!["init".into()])));
        assert_eq!(choose("auto", &[], "", &BUSYBOX), Ok(None));
        assert_eq!(choose("auto", &[], "", &Image(&[])), Ok(None));
        assert_eq!(choose("powerunit", &[], "", &SYSTEMD), Ok(None));
    }

    #[test]
    fn an_entrypoint_that_is_an_init_gets_its_arguments() {
        for path in ["/sbin/init", "/usr/sbin/init", "/lib/systemd/systemd"] {
            let argv = [path, "--unit=rescue.target"];
            assert_eq!(
                choose("auto", &argv, "0:0", &SYSTEMD),
                Ok(Some(argv.map(Into::into).into()))
            );
        }
        assert_eq!(
            choose("auto", &["/sbin/init"], "", &BUSYBOX),
            Ok(Some(vec!["/sbin/init".into()]))
        );
        assert_eq!(
            choose("image", &["/sbin/init", "x"], "", &BUSYBOX)
                .unwrap()
                .unwrap()
                .len(),
            2
        );
    }

    #[test]
    fn everything_else_stays_with_powerunit() {
        for (argv, user) in [
            (&["/usr/bin/python3"][..], ""),
            (&["systemd"], ""),
            (&["systemd", "--user"], ""),
            (&["/init"], ""),
            (&["/sbin/init"], "web"),
            (&["/sbin/init"], "nobody-knows"),
        ] {
            assert_eq!(choose("auto", argv, user, &SYSTEMD), Ok(None), "{argv:?} {user}");
        }
    }

    #[test]
    fn an_init_that_is_wanted_must_be_there() {
        assert_eq!(choose("image", &[], "", &Image(&[])), Err(NoInit));
        assert_eq!(
            choose("image", &["/app"], "", &BUSYBOX),
            Ok(Some(vec!["init".into()]))
        );
    }
}

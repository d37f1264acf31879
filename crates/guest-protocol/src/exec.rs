//! Running a program as the entrypoint would be run, over SSH: the image's environment, user and working folder, no login shell
//! and no quoting in between, with a terminal or without.
//!
//! The request is an SSH subsystem whose name is [`SUBSYSTEM`], a space, and an [`Exec`] as JSON: everything is said in one
//! message, so that the channel's data is the program's alone and any SSH client can ask
//! (`ssh -tt -s root@guest 'powerunit-exec {"argv":["/bin/true"]}'`). A terminal is asked for beforehand, as for a shell.
//!
//! It is for root, and for keys of the host's [`crate::Config`] that are not tied to a command: others may not choose a user.
//!
//! The program's end comes back as SSH's own `exit-status` or `exit-signal`. What cannot be started ends with a line on
//! standard error and exit code 126 (it is there and cannot be executed), 127 (there is no such program) or 125 (all
//! else: no such user, no working folder), as by `docker run`. What is left of its process group is killed when it
//! ends, as a container ends with its first process. A client that closes the channel, or is lost, ends the whole
//! group: [`STOP_SIGNAL`], and SIGKILL after [`KILL_AFTER`].

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The first word of the subsystem's name.
pub const SUBSYSTEM: &str = "powerunit-exec";

/// The longest subsystem name, in bytes: what fits into one SSH packet of the guest's server.
pub const MAX_NAME: usize = 60 * 1024;

/// What a process group is sent whose client is gone: SIGTERM.
pub const STOP_SIGNAL: u8 = 15;

/// How long it then has.
pub const KILL_AFTER: Duration = Duration::from_secs(10);

/// What is to be run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exec {
    /// As [`crate::Entrypoint::argv`].
    pub argv: Vec<String>,
    /// Over the config's own variables.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// As [`crate::Entrypoint::user`].
    #[serde(default)]
    pub user: String,
    /// As [`crate::Entrypoint::workdir`].
    #[serde(default)]
    pub workdir: String,
}

/// Why a request cannot be made or understood.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("a command of {0} bytes with its variables is over the limit of {MAX_NAME} bytes")]
    TooLong(usize),
    #[error("this is no request to run a program")]
    Json(#[source] serde_json::Error),
}

impl Exec {
    /// The name of the subsystem to ask for.
    ///
    /// # Errors
    /// It would be longer than [`MAX_NAME`].
    pub fn subsystem(&self) -> Result<String, Error> {
        let json = serde_json::to_string(self).map_err(Error::Json)?;
        let name = format!("{SUBSYSTEM} {json}");
        if name.len() > MAX_NAME {
            return Err(Error::TooLong(name.len()));
        }
        Ok(name)
    }

    /// Reads the name of a subsystem. `None`: it is another one.
    #[must_use]
    pub fn parse(name: &str) -> Option<Result<Self, Error>> {
        let json = name.strip_prefix(SUBSYSTEM)?.strip_prefix(' ')?;
        if name.len() > MAX_NAME {
            return Some(Err(Error::TooLong(name.len())));
        }
        Some(serde_json::from_str(json).map_err(Error::Json))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn other_subsystems_are_left_alone() {
        for name in ["sftp", "powerunit", "powerunit-exec", "powerunit-exec2 {}"] {
            assert!(Exec::parse(name).is_none(), "{name}");
        }
        assert!(matches!(
            Exec::parse("powerunit-exec {}"),
            Some(Err(Error::Json(_)))
        ));
    }

    #[test]
    fn what_no_packet_holds_is_refused() {
        let exec = Exec {
            argv: vec!["x".repeat(MAX_NAME)],
            ..Exec::default()
        };
        assert!(matches!(exec.subsystem(), Err(Error::TooLong(_))));
    }

    proptest! {
        #[test]
        fn every_word_arrives_as_it_is(argv in prop::collection::vec(".{0,20}", 0..5), value in ".{0,20}") {
            let exec = Exec { argv, env: [("NAME".to_owned(), value)].into(), ..Exec::default() };
            let name = exec.subsystem().unwrap();
            prop_assert!(!name.contains('\n'));
            prop_assert_eq!(Exec::parse(&name).unwrap().unwrap(), exec);
        }

        #[test]
        fn foreign_names_never_panic(rest in ".{0,60}") {
            let _ = Exec::parse(&rest);
            let _ = Exec::parse(&format!("{SUBSYSTEM} {rest}"));
        }
    }
}

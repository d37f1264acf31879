//! The environment of a session, as sshd makes it.
//!
//! From what counts least to what counts most: defaults of the account, `/etc/environment`, the VM's own variables, those
//! of the key's line, those the client asked for, and what describes this very session.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

use crate::launch::DEFAULT_PATH;
use crate::users::User;

const USER_PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games";

/// The most variables a client may set in a session, and the most bytes all of them may have.
const MAX_VARIABLES: usize = 256;
const MAX_BYTES: usize = 64 * 1024;

/// Names that no client may set: they change which code runs, or say who the user is.
const FORBIDDEN: &[&str] = &[
    "BASH_ENV",
    "BASHOPTS",
    "CDPATH",
    "ENV",
    "FPATH",
    "GCONV_PATH",
    "GLIBC_TUNABLES",
    "GLOBIGNORE",
    "HOME",
    "HOSTALIASES",
    "IFS",
    "KSH_ENV",
    "LOCALDOMAIN",
    "LOCPATH",
    "LOGNAME",
    "MAIL",
    "NLSPATH",
    "NODE_OPTIONS",
    "PATH",
    "PERL5LIB",
    "PERL5OPT",
    "PERLLIB",
    "PROMPT_COMMAND",
    "PS4",
    "PYTHONHOME",
    "PYTHONINSPECT",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "RES_OPTIONS",
    "RUBYLIB",
    "RUBYOPT",
    "SHELL",
    "SHELLOPTS",
    "TMPDIR",
    "TZDIR",
    "USER",
    "ZDOTDIR",
];

/// Beginnings of names that no client may set.
const FORBIDDEN_STARTS: &[&str] = &["LD_", "SSH_", "BASH_FUNC_", "MALLOC_", "_RLD", "SUDO_"];

/// Whether a client may set that variable. Under a forced command only language and colour are left.
pub(super) fn allows(name: &OsStr, forced: bool) -> bool {
    let Some(name) = name.to_str() else {
        return false;
    };
    let harmless = name == "LANG" || name == "COLORTERM" || name.starts_with("LC_");
    let plain = name
        .bytes()
        .enumerate()
        .all(|(at, byte)| byte == b'_' || byte.is_ascii_alphabetic() || (at > 0 && byte.is_ascii_digit()));
    let forbidden = FORBIDDEN.contains(&name) || FORBIDDEN_STARTS.iter().any(|start| name.starts_with(start));
    !name.is_empty() && plain && if forced { harmless } else { !forbidden }
}

/// Variables that a client asked for, within limits.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    variables: BTreeMap<OsString, OsString>,
    bytes: usize,
}

impl Asked {
    /// Adds one. `false`: it may not be set, or there are too many.
    pub(super) fn set(&mut self, name: OsString, value: OsString, forced: bool) -> bool {
        let bytes = self.bytes + name.len() + value.len();
        if !allows(&name, forced)
            || value.as_bytes().contains(&0)
            || bytes > MAX_BYTES
            || self.variables.len() >= MAX_VARIABLES
        {
            return false;
        }
        self.bytes = bytes;
        self.variables.insert(name, value);
        true
    }
}

/// What the environment of a session is made of.
#[derive(Debug)]
pub(super) struct Sources<'a> {
    pub user: &'a User,
    /// The text of `/etc/environment`.
    pub system: &'a str,
    /// The VM's own variables.
    pub machine: &'a BTreeMap<String, String>,
    /// Those of the key's line.
    pub key: &'a [(String, String)],
    pub asked: &'a Asked,
    /// Those of this SSH session: `SSH_CONNECTION`, `TERM` and so on.
    pub session: Vec<(&'static str, OsString)>,
}

impl Sources<'_> {
    /// Puts the sources together.
    pub(super) fn environment(self) -> BTreeMap<OsString, OsString> {
        let user = self.user;
        let path = if user.uid == 0 { DEFAULT_PATH } else { USER_PATH };
        let mut all: BTreeMap<OsString, OsString> = BTreeMap::new();
        all.insert("PATH".into(), path.into());
        let mut extend = |pairs: &mut dyn Iterator<Item = (&str, &str)>| {
            for (name, value) in pairs {
                all.insert(name.into(), value.into());
            }
        };
        extend(&mut parse(self.system));
        extend(
            &mut self
                .machine
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str())),
        );
        extend(
            &mut self
                .key
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str())),
        );
        all.extend(self.asked.variables.clone());
        let mail = Path::new("/var/mail").join(&user.name);
        let account: [(&str, &OsStr); 5] = [
            ("USER", user.name.as_ref()),
            ("LOGNAME", user.name.as_ref()),
            ("HOME", user.home.as_os_str()),
            ("SHELL", user.shell.as_os_str()),
            ("MAIL", mail.as_os_str()),
        ];
        all.extend(account.map(|(name, value)| (name.into(), value.to_owned())));
        all.extend(self.session.into_iter().map(|(name, value)| (name.into(), value)));
        // execve(2) knows no such names and values; a foreign file may well hold them.
        all.retain(|name, value| {
            !name.is_empty()
                && !name.as_bytes().contains(&b'=')
                && !name.as_bytes().contains(&0)
                && !value.as_bytes().contains(&0)
        });
        all
    }
}

/// The variables of an environment file as pam_env reads it: `NAME=value` lines, `export` before and quotes around
/// being allowed, `#` for comments.
fn parse(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| {
        let line = line.trim();
        let line = line.strip_prefix("export ").unwrap_or(line);
        let (name, value) = line.split_once('=')?;
        let (name, value) = (name.trim(), value.trim());
        let quoted = |quote| {
            value
                .strip_prefix(quote)
                .and_then(|rest: &str| rest.strip_suffix(quote))
        };
        let value = quoted('"').or_else(|| quoted('\'')).unwrap_or(value);
        (!name.is_empty() && !name.starts_with('#')).then_some((name, value))
    })
}

/// A string of the system as one that may hold any bytes.
pub(super) fn os(bytes: &[u8]) -> OsString {
    OsString::from_vec(bytes.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_and_identity_are_not_for_the_client_to_set() {
        let may = |name: &str| allows(name.as_ref(), false);
        assert!(may("LANG") && may("LC_ALL") && may("GIT_PROTOCOL") && may("FOO_1") && may("TZ"));
        assert!(!may("LD_PRELOAD") && !may("PATH") && !may("SSH_AUTH_SOCK") && !may("BASH_ENV"));
        assert!(!may("") && !may("1A") && !may("A=B") && !may("A-B"));
        assert!(allows("LC_TIME".as_ref(), true) && !allows("FOO".as_ref(), true));
    }

    #[test]
    fn a_client_cannot_fill_the_memory() {
        let mut asked = Asked::default();
        assert!(!asked.set("BIG".into(), "x".repeat(MAX_BYTES).into(), false));
        let taken = (0..1000)
            .filter(|n| asked.set(format!("V{n}").into(), "x".into(), false))
            .count();
        assert_eq!(taken, MAX_VARIABLES);
    }

    #[test]
    fn what_is_closer_to_the_session_wins() {
        let user = User {
            name: "alice".into(),
            uid: 1000,
            home: "/home/alice".into(),
            ..User::root()
        };
        let mut asked = Asked::default();
        assert!(asked.set("LANG".into(), "C".into(), false));
        let machine = [("PATH", "/app"), ("HOME", "/app"), ("MODE", "machine")];
        let machine = machine
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        let sources = Sources {
            user: &user,
            system: "# x\nLANG=\"de_DE\"\nexport MODE='file'\nnonsense\nTZ=UTC\n",
            machine: &machine,
            key: &[],
            asked: &asked,
            session: vec![("TERM", "xterm".into())],
        };
        let environment = sources.environment();
        let get = |name: &str| {
            environment
                .get(OsStr::new(name))
                .and_then(|value| value.to_str())
                .unwrap()
        };
        assert_eq!(get("PATH"), "/app");
        assert_eq!(get("HOME"), "/home/alice");
        assert_eq!(get("LANG"), "C");
        assert_eq!(get("MODE"), "machine");
        assert_eq!(get("TZ"), "UTC");
        assert_eq!(get("TERM"), "xterm");
        assert_eq!(get("MAIL"), "/var/mail/alice");
    }
}

//! Help on what is about no single command.

use knaller::Class;

use crate::ui::style::{STRONG, paint};

/// A topic of `knaller help`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Topic {
    ExitCodes,
    Environment,
}

/// Codes that are no class of failure.
const OTHER_CODES: [(&str, &str); 3] = [
    ("0", "success; also when whoever read the output went away"),
    ("130", "ended by Ctrl-C (129 by a hang-up, 143 by SIGTERM)"),
    ("255", "the connection to a guest's command was lost"),
];

/// What the environment may say.
const VARIABLES: [(&str, &str); 24] = [
    (
        "KNALLER_DATA",
        "kernels, images and machines; else $XDG_DATA_HOME/knaller, ~/.local/share/knaller",
    ),
    (
        "KNALLER_RUNTIME",
        "sockets; else $XDG_RUNTIME_DIR/knaller, /tmp/knaller-UID",
    ),
    (
        "KNALLER_IMAGE_LIMITS",
        "what an image may have: total=100G,entries=5000000; also file, depth, path, xattr, ratio, memory",
    ),
    (
        "KNALLER_POOL",
        "an IPv4 prefix for the links to machines of --network direct; else a free corner of the private ranges",
    ),
    ("KNALLER_LOG", "what is logged to standard error, as --log"),
    ("FIRECRACKER", "the firecracker program"),
    ("SPARKLER", "the sparkler program"),
    ("QEMU", "the QEMU program that sparkler runs"),
    ("PASTA", "the pasta program"),
    (
        "KNALLER_NETNS",
        "the helper that sets up a machine's network namespace",
    ),
    ("KNALLER_POWERUNIT", "the guest's init"),
    (
        "KNALLER_CGROUP",
        "the folder of a delegated control group, for machines with limits or a slice",
    ),
    (
        "KNALLER_USERS",
        "root's machines: the numbers of their users, FIRST-LAST; else 1879048192-1879113727",
    ),
    (
        "XDG_CONFIG_HOME",
        "knaller/registries.yaml and containers/auth.json; else ~/.config",
    ),
    (
        "REGISTRY_AUTH_FILE",
        "logins, in place of all other files of them",
    ),
    (
        "DOCKER_CONFIG",
        "the folder of Docker's config.json, with its logins",
    ),
    (
        "DOCKER_HOST",
        "Docker's socket, for `image import docker-daemon:`",
    ),
    (
        "HTTPS_PROXY",
        "the way to registries, as HTTP_PROXY, ALL_PROXY and NO_PROXY",
    ),
    ("PATH", "where programs are looked for"),
    ("TERM", "what a guest's program is told of the terminal"),
    ("NO_COLOR", "not empty: no colour"),
    ("CLICOLOR", "0: no colour"),
    ("CLICOLOR_FORCE", "not 0: colour in a pipe too"),
    ("KNALLER_COMPLETE", "set by a shell's completion script alone"),
];

impl Topic {
    pub(crate) const ALL: [Self; 2] = [Self::ExitCodes, Self::Environment];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ExitCodes => "exit-codes",
            Self::Environment => "environment",
        }
    }

    pub(crate) fn text(self) -> String {
        match self {
            Self::ExitCodes => exit_codes(),
            Self::Environment => environment(),
        }
    }
}

const PASSED_ON: &str = "\
`exec`, `run`, `ssh`, `wait` and a `start` that stays end with the code of the guest's command, whatever it is: 128 and the
signal's number if a signal ended it, 127 if it could not be started; with `run` 126 if it was found and could not be
started, 125 if its user or group is not there. A failure of knaller itself writes a line that begins with `error:` to
standard error.";

/// Code and meaning of every way to end.
fn codes() -> Vec<(String, String)> {
    let classes = Class::ALL
        .iter()
        .map(|class| (class.code().to_string(), class.meaning().to_owned()));
    let mut codes: Vec<_> = classes.collect();
    codes.extend(OTHER_CODES.map(|(code, meaning)| (code.to_owned(), meaning.to_owned())));
    codes.sort_by_key(|(code, _)| code.parse::<u8>().ok());
    codes
}

fn exit_codes() -> String {
    let mut text = paint(STRONG, "Exit codes") + "\n\n";
    for (code, meaning) in codes() {
        text.push_str(&format!("{code:>5}  {meaning}\n"));
    }
    text + "\n" + PASSED_ON
}

/// The same as a document: what `docs/exit-codes.md` must be.
pub(crate) fn exit_codes_document() -> String {
    let mut text = "# Exit codes of knaller\n\n".to_owned();
    text.push_str(
        "Made by `knaller help exit-codes --markdown > docs/exit-codes.md` from the library's table.\n\n",
    );
    text.push_str("| code | what happened |\n|---:|---|\n");
    for (code, meaning) in codes() {
        text.push_str(&format!("| {code} | {meaning} |\n"));
    }
    text + "\n" + PASSED_ON
}

fn environment() -> String {
    let mut text = paint(STRONG, "Environment variables") + "\n\n";
    for (name, meaning) in VARIABLES {
        text.push_str(&format!("  {name:<20}  {meaning}\n"));
    }
    text.trim_end().to_owned()
}

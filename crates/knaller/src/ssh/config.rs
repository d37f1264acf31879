//! A machine as ssh_config(5) describes it.

use std::path::Path;

use crate::Name;
use crate::layout::Files;

/// A stanza for the host `name`. `proxy` is a command line, taken as it is.
pub(crate) fn stanza(files: &Files, name: &Name, proxy: &str) -> String {
    let lines = [
        format!("Host {name}"),
        format!("    HostName {name}"),
        "    User root".to_owned(),
        format!("    ProxyCommand {}", proxy.replace(['\n', '\r'], " ")),
        format!("    IdentityFile {}", quote(&files.client_key())),
        "    IdentitiesOnly yes".to_owned(),
        format!("    HostKeyAlias {name}"),
        format!("    UserKnownHostsFile {}", quote(&files.known_hosts())),
        "    GlobalKnownHostsFile /dev/null".to_owned(),
        "    StrictHostKeyChecking yes".to_owned(),
        // The machine's key is pinned; others that its image brings are of no use.
        "    UpdateHostKeys no".to_owned(),
    ];
    lines.join("\n") + "\n"
}

/// A path in double quotes, with `%` doubled: the options that take files expand tokens.
fn quote(path: &Path) -> String {
    let text = path
        .to_string_lossy()
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('%', "%%");
    format!("\"{text}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openssh_reads_it_as_it_was_meant() {
        let temp = tempfile::tempdir().unwrap();
        let data = temp.path().join("a folder 100%");
        std::fs::create_dir(&data).unwrap();
        let files = Files {
            data,
            runtime: temp.path().join("run"),
        };
        let name: Name = "web".parse().unwrap();
        let text = stanza(&files, &name, "/usr/bin/knaller proxy web");
        let config = temp.path().join("config");
        std::fs::write(&config, text).unwrap();
        let output = std::process::Command::new("ssh")
            .arg("-G")
            .arg("-F")
            .arg(&config)
            .arg("web")
            .output()
            .unwrap();
        let told = String::from_utf8(output.stdout).unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        for line in [
            "user root".to_owned(),
            "proxycommand /usr/bin/knaller proxy web".to_owned(),
            "hostkeyalias web".to_owned(),
            "stricthostkeychecking true".to_owned(),
            "identitiesonly yes".to_owned(),
            format!("userknownhostsfile {}", files.known_hosts().display()),
        ] {
            assert!(told.lines().any(|told| told == line), "{line}\n{told}");
        }
    }
}

//! The text of a systemd unit (systemd.service(5), systemd.syntax(7)). The invariant: whatever is in a path or a value,
//! it stays one word of one line.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use knaller::{Name, Restart};

/// What stopping takes beside the grace of the machine's command, by force in the end.
const MARGIN: Duration = Duration::from_secs(90);

/// What a unit keeps.
#[derive(Debug)]
pub(super) enum Subject {
    Machine {
        name: Name,
        restart: Restart,
        grace_ms: u64,
    },
    /// All machines that have a policy.
    Supervisor,
}

/// A user unit.
#[derive(Debug)]
pub(super) struct Unit {
    pub(super) subject: Subject,
    /// This program.
    pub(super) program: PathBuf,
    pub(super) environment: Vec<(&'static str, OsString)>,
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let program = word(self.program.as_os_str());
        let (unit, made_by) = match &self.subject {
            Subject::Machine { name, .. } => (format!("knaller-{name}"), format!("systemd {name}")),
            Subject::Supervisor => ("knaller".to_owned(), "systemd".to_owned()),
        };
        writeln!(
            f,
            "# {unit}.service, made by `knaller generate {made_by}`. To install it:"
        )?;
        writeln!(
            f,
            "#   knaller generate {made_by} > ~/.config/systemd/user/{unit}.service"
        )?;
        writeln!(
            f,
            "#   systemctl --user daemon-reload && systemctl --user enable --now {unit}"
        )?;
        writeln!(
            f,
            "# For machines that outlive your logins: loginctl enable-linger"
        )?;
        self.unit_section(f)?;
        writeln!(f, "\n[Service]\nType=exec")?;
        for (name, value) in &self.environment {
            writeln!(f, "Environment={}", assignment(name, value))?;
        }
        match &self.subject {
            Subject::Machine {
                name,
                restart,
                grace_ms,
            } => {
                let patience = Duration::from_millis(*grace_ms).saturating_add(MARGIN).as_secs();
                // One that runs when the unit is started is the unit's from then on.
                writeln!(f, "ExecStart={program} start --adopt {name}")?;
                writeln!(f, "ExecStop={program} stop {name}")?;
                writeln!(f, "TimeoutStopSec={patience}")?;
                writeln!(f, "Restart={}", of_policy(*restart))?;
                writeln!(
                    f,
                    "RestartSec=1\n# The end of a command that was asked to end:\nSuccessExitStatus=130 143"
                )?;
            }
            Subject::Supervisor => {
                writeln!(f, "ExecStart={program} supervise")?;
                writeln!(f, "# The machines run on without it:\nKillMode=process")?;
                writeln!(f, "Restart=always\nRestartSec=1")?;
            }
        }
        writeln!(f, "Delegate=yes\n\n[Install]\nWantedBy=default.target")
    }
}

impl Unit {
    fn unit_section(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n[Unit]")?;
        let limit = match &self.subject {
            Subject::Machine { name, restart, .. } => {
                writeln!(
                    f,
                    "Description=microVM {name}\nDocumentation=man:knaller-start(1)"
                )?;
                match restart {
                    // The first start counts as well.
                    Restart::OnFailure { at_most: Some(most) } => Some(most.saturating_add(1)),
                    _ => None,
                }
            }
            Subject::Supervisor => {
                writeln!(
                    f,
                    "Description=Keeper of microVMs\nDocumentation=man:knaller-supervise(1)"
                )?;
                None
            }
        };
        match limit {
            Some(starts) => writeln!(f, "StartLimitIntervalSec=infinity\nStartLimitBurst={starts}"),
            None => writeln!(f, "StartLimitIntervalSec=0"),
        }
    }
}

fn of_policy(restart: Restart) -> &'static str {
    match restart {
        Restart::No | Restart::OnFailure { at_most: Some(0) } => "no",
        Restart::OnFailure { .. } => "on-failure",
        Restart::Always => "always",
    }
}

/// One word of a command line: `$` would begin a variable there.
fn word(text: &OsStr) -> String {
    format!("\"{}\"", escaped(text).replace('$', "$$"))
}

fn assignment(name: &str, value: &OsStr) -> String {
    format!("\"{name}={}\"", escaped(value))
}

/// Inside of quotes: `%` begins a specifier, `\` an escape, and what is no printable ASCII is written by its bytes.
fn escaped(text: &OsStr) -> String {
    let mut escaped = String::new();
    for &byte in text.as_encoded_bytes() {
        match byte {
            b'%' => escaped.push_str("%%"),
            b'"' | b'\\' => {
                escaped.push('\\');
                escaped.push(char::from(byte));
            }
            b' '..=b'~' => escaped.push(char::from(byte)),
            other => escaped.push_str(&format!("\\x{other:02x}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(restart: &str) -> String {
        let unit = Unit {
            subject: Subject::Machine {
                name: "web".parse().unwrap(),
                restart: restart.parse().unwrap(),
                grace_ms: 10_000,
            },
            program: "/opt/a b/knaller".into(),
            environment: vec![("KNALLER_DATA", "/home/ü/100%\n$x\"".into())],
        };
        unit.to_string()
    }

    #[test]
    fn the_unit_of_a_machine() {
        insta::assert_snapshot!(unit("on-failure:3"));
    }

    #[test]
    fn the_unit_of_the_supervisor() {
        let unit = Unit {
            subject: Subject::Supervisor,
            program: "/usr/bin/knaller".into(),
            environment: Vec::new(),
        };
        insta::assert_snapshot!(unit.to_string());
    }

    #[test]
    fn policies_are_systemds() {
        for (policy, lines) in [
            ("no", ["Restart=no", "StartLimitIntervalSec=0"]),
            ("always", ["Restart=always", "StartLimitIntervalSec=0"]),
            ("on-failure", ["Restart=on-failure", "StartLimitIntervalSec=0"]),
            ("on-failure:0", ["Restart=no", "StartLimitBurst=1"]),
            ("on-failure:4", ["Restart=on-failure", "StartLimitBurst=5"]),
        ] {
            let unit = unit(policy);
            for line in lines {
                assert!(unit.lines().any(|found| found == line), "{policy}: {unit}");
            }
        }
    }
}

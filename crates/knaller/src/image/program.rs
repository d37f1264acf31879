//! What runs in a machine: what its spec says, and where that is silent what its image says, as `docker run` puts the two
//! together.

use std::collections::BTreeMap;
use std::time::Duration;

use guest_protocol::exec::Exec;
use guest_protocol::{Entrypoint, Health, HealthTest, Volume, VolumeSource};
use images::oci::{self, RunConfig};

use crate::{Forward, Init, MachineSpec, Protocol};

/// Shells that an image names for want of anything else to run: what they would be for, SSH gives.
const SHELLS: [&str; 7] = ["sh", "bash", "ash", "dash", "zsh", "fish", "ksh"];

/// The program, if there is one: an image whose command is a shell idles.
pub(crate) fn entrypoint(spec: &MachineSpec, image: &RunConfig) -> Option<Entrypoint> {
    let own = !spec.command.is_empty() || spec.entrypoint.is_some();
    let argv = argv(spec, image);
    if spec.attached || argv.is_empty() || !own && is_shell(&argv) {
        return None;
    }
    Some(Entrypoint {
        argv,
        user: or(&spec.user, &image.user),
        workdir: or(&spec.workdir, &image.working_dir),
        stop_signal: or(&spec.stop_signal, &image.stop_signal),
    })
}

/// Whether the guest will say how its program ended: an init of the image's own says nothing of what it ran.
pub(crate) fn tells(spec: &MachineSpec, image: &RunConfig) -> bool {
    let Some(entrypoint) = entrypoint(spec, image) else {
        return false;
    };
    match spec.init {
        Init::Powerunit => true,
        Init::Image => false,
        // As the guest decides it: see `Init::Auto`.
        Init::Auto => {
            let program = entrypoint.argv.first().map_or("", String::as_str);
            !guest_protocol::Init::is_init(program)
        }
    }
}

/// The program, to be run over SSH in the place of the guest's init. None: there is nothing to run but a shell.
pub(crate) fn attached(spec: &MachineSpec, image: &RunConfig) -> Option<Exec> {
    let argv = argv(spec, image);
    // The variables are the guest's own already.
    (!argv.is_empty()).then(|| Exec {
        argv,
        env: BTreeMap::new(),
        user: or(&spec.user, &image.user),
        workdir: or(&spec.workdir, &image.working_dir),
    })
}

fn or(own: &str, image: &str) -> String {
    if own.is_empty() { image } else { own }.to_owned()
}

/// The entrypoint and its arguments. An entrypoint of the spec's own is not given the image's arguments.
pub(crate) fn argv(spec: &MachineSpec, image: &RunConfig) -> Vec<String> {
    let (entrypoint, arguments) = match &spec.entrypoint {
        Some(entrypoint) => (entrypoint, &Vec::new()),
        None => (&image.entrypoint, &image.cmd),
    };
    let arguments = if spec.command.is_empty() {
        arguments
    } else {
        &spec.command
    };
    entrypoint.iter().chain(arguments).cloned().collect()
}

/// Whether this is a shell that nothing is said to, but perhaps that it is a login's.
fn is_shell(argv: &[String]) -> bool {
    let [program, rest @ ..] = argv else {
        return false;
    };
    let name = program.rsplit('/').next().unwrap_or(program);
    SHELLS.contains(&name) && rest.iter().all(|word| word == "-l" || word == "--login")
}

/// The image's variables under the spec's.
pub(crate) fn env(spec: &MachineSpec, image: &RunConfig) -> BTreeMap<String, String> {
    let mut env: BTreeMap<String, String> = image
        .env
        .iter()
        .filter_map(|pair| pair.split_once('='))
        .filter(|(name, _)| !name.is_empty())
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    env.extend(spec.env.clone());
    env
}

/// Volumes on disks, and the folders that the image wants to live on where no disk is mounted.
pub(crate) fn volumes(image: &RunConfig, disks: Vec<Volume>) -> Vec<Volume> {
    let names = |path: &str| -> Vec<String> {
        let names = path.split('/').filter(|name| !name.is_empty());
        names.map(str::to_owned).collect()
    };
    let mut volumes = disks;
    for path in &image.volumes {
        let there = |volume: &Volume| names(&volume.path) == names(path);
        // `/` as a volume says nothing.
        if !names(path).is_empty() && !volumes.iter().any(there) {
            volumes.push(Volume {
                path: path.clone(),
                source: VolumeSource::Folder,
                read_only: false,
            });
        }
    }
    volumes
}

/// The image's check, run by whom its program is run by.
pub(crate) fn health(spec: &MachineSpec, image: &RunConfig) -> Option<Health> {
    let check = image.healthcheck.as_ref()?;
    let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    Some(Health {
        test: HealthTest::Exec(check.command.clone()),
        interval_ms: milliseconds(check.interval),
        timeout_ms: milliseconds(check.timeout),
        start_period_ms: milliseconds(check.start_period),
        start_interval_ms: milliseconds(check.start_interval),
        retries: check.retries,
        user: or(&spec.user, &image.user),
        workdir: or(&spec.workdir, &image.working_dir),
    })
}

/// The spec's forwards, and with `publish_all` one from a free port to each exposed port that has none yet.
pub(crate) fn published(spec: &MachineSpec, image: &RunConfig) -> Vec<Forward> {
    let mut forwards = spec.forwards.clone();
    if !spec.publish_all {
        return forwards;
    }
    for exposed in &image.exposed_ports {
        let protocol = match exposed.protocol {
            oci::Protocol::Tcp => Protocol::Tcp,
            oci::Protocol::Udp => Protocol::Udp,
            oci::Protocol::Sctp => continue,
        };
        let there = |forward: &Forward| forward.guest_port == exposed.port && forward.protocol == protocol;
        if !forwards.iter().any(there) {
            forwards.push(Forward {
                bind: None,
                host_port: 0,
                guest_port: exposed.port,
                protocol,
            });
        }
    }
    forwards
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn image(entrypoint: &str, cmd: &str) -> RunConfig {
        RunConfig {
            entrypoint: words(entrypoint),
            cmd: words(cmd),
            ..RunConfig::default()
        }
    }

    #[test]
    fn the_table_of_docker() {
        // Entrypoint and command of the image; entrypoint and command of the spec; what runs.
        for (entrypoint, cmd, own, command, runs) in [
            ("", "nginx -g x", None, "", "nginx -g x"),
            ("", "nginx -g x", None, "ls /", "ls /"),
            ("/entry", "serve", None, "", "/entry serve"),
            ("/entry", "serve", None, "check", "/entry check"),
            ("/entry", "serve", Some("/bin/id"), "", "/bin/id"),
            ("/entry", "serve", Some("/bin/id"), "-u", "/bin/id -u"),
            ("/entry", "serve", Some(""), "", ""),
            ("/entry", "serve", Some(""), "ls", "ls"),
        ] {
            let spec = MachineSpec {
                entrypoint: own.map(words),
                command: words(command),
                ..MachineSpec::new()
            };
            assert_eq!(
                argv(&spec, &image(entrypoint, cmd)),
                words(runs),
                "{entrypoint} {cmd} {own:?} {command}"
            );
        }
    }

    #[test]
    fn an_image_whose_command_is_a_shell_idles() {
        let spec = MachineSpec::new();
        for cmd in ["", "bash", "/bin/sh", "/usr/bin/zsh -l"] {
            assert!(entrypoint(&spec, &image("", cmd)).is_none(), "{cmd}");
        }
        assert!(entrypoint(&spec, &image("", "sh -c serve")).is_some());
        assert!(entrypoint(&spec, &image("/init", "sh")).is_some());
        assert!(entrypoint(&spec.command(["sh"]), &image("", "")).is_some());
    }

    #[test]
    fn exposed_ports_that_are_forwarded_already_stay_so() {
        let exposed = |port| oci::ExposedPort {
            port,
            protocol: oci::Protocol::Tcp,
        };
        let image = RunConfig {
            exposed_ports: vec![exposed(80), exposed(443)],
            ..RunConfig::default()
        };
        let mut spec = MachineSpec::new().forward("8080:80".parse().unwrap());
        assert_eq!(published(&spec, &image), spec.forwards);
        spec.publish_all = true;
        let expected: Vec<Forward> = ["8080:80", "0:443"].map(|text| text.parse().unwrap()).into();
        assert_eq!(published(&spec, &image), expected);
    }
}

//! pasta's command line, and what its complaints mean. Works with Debian 12's (2023-03) and later ones.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;

use images::raw_disk::RawDiskError;

use super::addresses::{NAMESPACE_V4, NAMESPACE_V6, NETMASK_V4, PASTA_V4, PASTA_V6};
use super::routes::{self, Routes};
use crate::helper::{Network, Orders, OwnersDisk};
use crate::netns::Egress;
use crate::{Error, Forward, Options, Protocol, Result};

/// pasta, and the helper that it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pasta {
    pub(crate) program: PathBuf,
    pub(crate) helper: PathBuf,
    pub(crate) nft: PathBuf,
    pub(crate) forwards: Vec<Forward>,
    pub(crate) ipv4: bool,
    pub(crate) ipv6: bool,
    /// Whether it is to run as root.
    pub(crate) root: bool,
    /// What the machine may reach, if it has a policy.
    pub(crate) egress: Option<Egress>,
}

impl Pasta {
    /// What this host has, without forwards yet.
    pub(crate) fn find(options: &Options) -> Result<Self> {
        let Routes { ipv4, ipv6 } = routes::of_host();
        if !ipv4 && !ipv6 {
            return Err(no_route());
        }
        Ok(Self {
            program: options.pasta()?,
            helper: options.netns()?,
            nft: options.nft()?,
            forwards: Vec::new(),
            ipv4,
            ipv6,
            root: rustix::process::geteuid().is_root(),
            egress: None,
        })
    }

    /// The arguments with which pasta runs the helper, and the helper `vmm`, in a jail or not, and with a disk of its caller's.
    pub(crate) fn arguments(
        &self,
        vmm: &[OsString],
        jail: bool,
        disk: Option<OwnersDisk>,
    ) -> Result<Vec<OsString>> {
        let mut arguments: Vec<OsString> = [
            // In the foreground, so that its process is ours to wait for, and silent unless something is wrong.
            "--foreground",
            "--quiet",
            // It sets up the namespace's side of its own interface.
            "--config-net",
            // Otherwise the gateway's address stands for the host, with everything that listens on its loopback.
            "--no-map-gw",
            // Nothing that listens on the host is to appear in the namespace, and nothing there on the host but what is
            // forwarded below.
            "--tcp-ns",
            "none",
            "--udp-ns",
            "none",
        ]
        .map(OsString::from)
        .to_vec();
        for (has, words) in [
            (
                self.ipv4,
                [
                    ("--address", NAMESPACE_V4.to_string()),
                    ("--gateway", PASTA_V4.to_string()),
                ],
            ),
            (
                self.ipv6,
                [
                    ("--address", NAMESPACE_V6.to_string()),
                    ("--gateway", PASTA_V6.to_string()),
                ],
            ),
        ] {
            let words = words.into_iter().filter(|_| has);
            arguments.extend(words.flat_map(|(flag, address)| [flag.into(), address.into()]));
        }
        if self.ipv4 {
            arguments.extend(["--netmask".into(), NETMASK_V4.to_string().into()]);
        }
        if self.root {
            // Else it becomes nobody, who may not write the machine's files. And no user namespace: this pasta gives up
            // CAP_SETFCAP, without which root may not map itself into one (user_namespaces(7)).
            arguments.extend(["--runas", "0", "--netns-only"].map(OsString::from));
        }
        for (protocol, flag) in [(Protocol::Tcp, "--tcp-ports"), (Protocol::Udp, "--udp-ports")] {
            let mut any = false;
            for forward in self
                .forwards
                .iter()
                .filter(|forward| forward.protocol == protocol)
            {
                any = true;
                arguments.extend([flag.into(), port(forward).into()]);
            }
            if !any {
                // Unless told so it forwards whatever is bound.
                arguments.extend([flag.into(), "none".into()]);
            }
        }
        let orders = Orders {
            network: Network::Pasta(super::plan(
                &self.forwards,
                self.ipv6,
                &self.nft,
                self.egress.clone(),
            )),
            jail,
            disk,
        };
        arguments.extend(["--".into(), self.helper.clone().into(), orders.argument()?]);
        arguments.extend_from_slice(vmm);
        Ok(arguments)
    }
}

fn no_route() -> Error {
    Error::Network {
        reason: "this host has no default route, and pasta needs one".to_owned(),
    }
}

/// `[ADDRESS/]PORT`, IPv6 without brackets: the same port in the namespace, where the helper's rules send it on to the
/// guest's. pasta could do that itself, but with another port in the namespace the 2023-03 version loses the answers to
/// UDP from the host's loopback.
fn port(forward: &Forward) -> String {
    match forward.bind {
        None => forward.host_port.to_string(),
        Some(IpAddr::V4(address)) => format!("{address}/{}", forward.host_port),
        Some(IpAddr::V6(address)) => format!("{address}/{}", forward.host_port),
    }
}

/// What pasta or the helper said before it ended, as an error; `None` if the log has no words of theirs.
pub(crate) fn complaint(log: &str, forwards: &[Forward]) -> Option<Error> {
    log.lines().find_map(|line| {
        if let Some((_, rest)) = line.split_once("Failed to bind ") {
            return Some(taken(rest, forwards));
        }
        if line.contains("External interface not usable") || line.contains("pick external interface") {
            return Some(no_route());
        }
        // unshare(2) or clone(2) as pasta reports them.
        let namespaces = [
            "Failed to clone process with detached namespaces",
            "Couldn't create user namespace",
            "Failed to create user namespace",
        ];
        if namespaces.iter().any(|text| line.contains(text)) {
            return Some(crate::doctor::namespaces::forbidden(line));
        }
        let (_, reason) = line.split_once("knaller-netns: ")?;
        if let Some((path, by)) = reason
            .strip_prefix("disk: ")
            .and_then(|disk| disk.split_once(": "))
        {
            let (path, by) = (path.into(), by.to_owned());
            return Some(RawDiskError::InUse { path, by }.into());
        }
        Some(match reason.strip_prefix("jail: ") {
            Some(reason) => Error::Jail {
                reason: reason.to_owned(),
            },
            None => Error::Network {
                reason: reason.to_owned(),
            },
        })
    })
}

/// `any port for '-t 8080', exiting` (2023-03) or `port 8080 (Address already in use) for option '-t 8080'` (later).
fn taken(rest: &str, forwards: &[Forward]) -> Error {
    let quoted = rest.split('\'').nth(1).unwrap_or_default();
    let named = forwards.iter().find(|forward| {
        let flag = match forward.protocol {
            Protocol::Tcp => ["-t ", "--tcp-ports "],
            Protocol::Udp => ["-u ", "--udp-ports "],
        };
        flag.iter()
            .any(|flag| quoted.strip_prefix(flag) == Some(&port(forward)))
    });
    match named.or(forwards.first()) {
        Some(Forward {
            bind,
            host_port,
            protocol,
            ..
        }) => Error::PortTaken {
            bind: *bind,
            port: *host_port,
            protocol: *protocol,
            by: None,
        },
        None => Error::Network {
            reason: format!("pasta failed to bind {rest}"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pasta(forwards: &[&str]) -> Pasta {
        Pasta {
            program: "/usr/bin/pasta".into(),
            helper: "/lib/knaller-netns".into(),
            nft: "/sbin/nft".into(),
            forwards: forwards.iter().map(|text| text.parse().unwrap()).collect(),
            ipv4: true,
            ipv6: true,
            root: false,
            egress: None,
        }
    }

    fn line(pasta: &Pasta) -> String {
        let words = pasta
            .arguments(&["vmm".into(), "--id".into()], true, None)
            .unwrap();
        words
            .iter()
            .map(|word| word.to_str().unwrap())
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn the_command_line() {
        let text = line(&pasta(&["8080:80", "127.0.0.1:8443:443", "[::1]:5353:53/udp"]));
        assert!(
            text.contains(" --tcp-ports 8080 --tcp-ports 127.0.0.1/8443 "),
            "{text}"
        );
        assert!(text.contains(" --udp-ports ::1/5353 "), "{text}");
        let udp = r#"{"protocol":"udp","port":5353,"guest_port":53}],"ipv6":true,"#;
        assert!(text.contains(udp), "{text}");
        assert!(
            text.ends_with(r#""nft":"/sbin/nft","egress":null}},"jail":true} vmm --id"#),
            "{text}"
        );
        assert!(!text.contains("runas"));
        let root = Pasta {
            root: true,
            ..pasta(&[])
        };
        assert!(line(&root).contains("--runas 0 --netns-only --tcp-ports none --udp-ports none -- "));
        // Of a family that the host has no route for it must not be told.
        assert!(
            text.contains(" --address fd6b:6e61:6c6c:6573::2 --gateway fd6b:6e61:6c6c:6573::1 "),
            "{text}"
        );
        let v4 = Pasta {
            ipv6: false,
            ..pasta(&[])
        };
        let text = line(&v4);
        let own = " --address 10.255.255.249 --gateway 10.255.255.250 --netmask 255.255.255.252 ";
        assert!(text.contains(own) && !text.contains("fd6b"), "{text}");
    }

    #[test]
    fn its_complaints() {
        let forwards = pasta(&["8080:80", "127.0.0.1:8443:443", "9000:53/udp"]).forwards;
        let port = |log: &str| match complaint(log, &forwards) {
            Some(Error::PortTaken { port, .. }) => port,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            port("x\nFailed to bind any port for '-t 127.0.0.1/8443', exiting\n"),
            8443
        );
        assert_eq!(
            port("Failed to bind port 9000 (Address already in use) for option '-u 9000'\n"),
            9000
        );
        assert!(matches!(
            complaint("External interface not usable\n", &[]),
            Some(Error::Network { .. })
        ));
        let helper = complaint("knaller-netns: packet rules: no nft\n", &[]).unwrap();
        assert_eq!(
            helper.to_string(),
            "the network could not be set up: packet rules: no nft"
        );
        let jail = complaint("knaller-netns: jail: cannot mount /proc: x\n", &[]).unwrap();
        assert_eq!(
            jail.to_string(),
            "the jail could not be made: cannot mount /proc: x"
        );
        let disk = complaint("knaller-netns: disk: /dev/vdb: another has it\n", &[]).unwrap();
        assert!(
            disk.to_string().starts_with("/dev/vdb is in use: another has it"),
            "{disk}"
        );
        assert!(matches!(
            complaint("Couldn't create user namespace: No space left on device\n", &[]),
            Some(Error::UserNamespaces { .. })
        ));
        assert!(complaint("Couldn't configure user mappings\nqemu: x\n", &[]).is_none());
    }
}

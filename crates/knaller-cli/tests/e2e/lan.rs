//! Two network namespaces with a cable between them: a host of the test's own, and the world outside it.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::{Child, Command, Stdio};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use testkit::run;

/// The host's addresses, from the ranges for examples and for local use (RFC 5737, RFC 4193).
pub(crate) const HOST: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(203, 0, 113, 2)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x113, 0, 0, 0, 0, 0, 2)),
];
/// Those of the outside, which is also the host's router.
pub(crate) const OUTSIDE: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x113, 0, 0, 0, 0, 0, 1)),
];

pub(crate) struct Lan {
    host: Namespace,
    outside: Namespace,
}

impl Lan {
    /// Needs root.
    pub(crate) fn new() -> Self {
        let (host, outside) = (Namespace::new(), Namespace::new());
        let peer = outside.pid();
        host.ip(&format!("link add eth0 type veth peer name eth0 netns {peer}"));
        for (namespace, addresses) in [(&host, HOST), (&outside, OUTSIDE)] {
            let [v4, v6] = addresses;
            namespace.ip("link set lo up");
            namespace.ip(&format!("address add {v4}/24 dev eth0"));
            namespace.ip(&format!("address add {v6}/64 dev eth0 nodad"));
            namespace.ip("link set eth0 up");
        }
        let [v4, v6] = OUTSIDE;
        host.ip(&format!("route add default via {v4}"));
        host.ip(&format!("-6 route add default via {v6}"));
        Self { host, outside }
    }

    /// Gives the outside more addresses, to which the host's packets come as to all the world.
    pub(crate) fn world_has(&self, addresses: &[&str]) {
        for address in addresses {
            let more = if address.contains(':') { " nodad" } else { "" };
            self.outside.ip(&format!("address add {address} dev lo{more}"));
        }
    }

    /// The words before a command that is to run on the host.
    pub(crate) fn words(&self) -> [String; 2] {
        [
            "nsenter".to_owned(),
            format!("--net=/proc/{}/ns/net", self.host.pid()),
        ]
    }

    /// Runs `work` on the host. Sockets stay where they were made.
    pub(crate) fn on_host<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.host.within(work)
    }

    pub(crate) fn outside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.outside.within(work)
    }
}

/// A namespace that lives as long as the process that holds it.
struct Namespace(Child);

impl Namespace {
    fn new() -> Self {
        let mut holder = Command::new("unshare")
            .args(["--net", "sh", "-c", "echo; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        Self(holder)
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    #[track_caller]
    fn ip(&self, words: &str) {
        let net = format!("--net=/proc/{}/ns/net", self.pid());
        let _ = run(Command::new("nsenter").args([&net, "ip"]).args(words.split(' '))).ok();
    }

    fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let namespace = File::open(format!("/proc/{}/ns/net", self.pid())).unwrap();
        // A thread of its own: only that one moves.
        std::thread::scope(|scope| {
            let moved = scope.spawn(|| {
                let kind = Some(LinkNameSpaceType::Network);
                move_into_link_name_space(std::os::fd::AsFd::as_fd(&namespace), kind).unwrap();
                work()
            });
            moved.join().unwrap()
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

//! A pumped network interface with a real guest: its virtio driver, its TCP, its busybox.

#![allow(clippy::unwrap_used, reason = "only tests use this")]

mod support;

use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;

use firecracker_api::models::{MmdsConfig, MmdsVersion};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use serde_json::json;
use sparkler::mmds::Mmds;
use sparkler::net::{Config, DEFAULT_MTU, Limits, Pump};
use support::guest::Guest;

const ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

#[test]
fn a_guest_reads_its_metadata() {
    let mmds = Mmds::new("vm", 51_200).unwrap();
    mmds.put(json!({"latest": {"meta-data": {"ami-id": "ami-1", "long": "x".repeat(40_000)}}}))
        .unwrap();
    let (ours, qemus) = UnixStream::pair().unwrap();
    let flags = SocketFlags::CLOEXEC;
    let (tap, host) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
    let _pump = Pump::start(Config {
        id: "eth0".into(),
        tap: host,
        tap_header: 0,
        qemu: ours,
        mac: None,
        mtu: DEFAULT_MTU,
        limits: Limits::default(),
        mmds: Some((mmds.clone(), ADDRESS)),
    });
    let guest = Guest::start_with(Some(qemus.into()));
    let setup = "b=/bin/busybox; $b ip link set eth0 up && $b ip addr add 172.16.0.2/30 dev eth0 && \
                 $b ip route add 169.254.169.254 dev eth0";
    assert_eq!(guest.run(setup), "");

    let get = |path: &str, header: &str| {
        guest.run(&format!(
            "/bin/busybox wget -q -O - {header} http://169.254.169.254/{path} 2>&1"
        ))
    };
    assert_eq!(get("latest/meta-data", ""), "ami-id\nlong");
    assert_eq!(
        get("latest/meta-data/ami-id", "--header 'Accept: application/json'"),
        "\"ami-1\""
    );
    assert!(get("latest/meta-data/long", "") == "x".repeat(40_000));
    assert!(get("latest/nothing", "").contains("404"));

    mmds.configure(&MmdsConfig {
        version: MmdsVersion::V2,
        ..MmdsConfig::default()
    });
    assert!(get("latest/meta-data", "").contains("401"));
    let answer = guest.run(
        "printf 'PUT /latest/api/token HTTP/1.1\\r\\nX-metadata-token-ttl-seconds: 60\\r\\n\\r\\n' | \
         /bin/busybox nc 169.254.169.254 80",
    );
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let token = answer.rsplit("\r\n").next().unwrap();
    assert_eq!(
        get(
            "latest/meta-data/ami-id",
            &format!("--header 'X-metadata-token: {token}'")
        ),
        "ami-1"
    );
    // By way of a router, as with a default route: the address decides, not the next hop.
    let reroute = "b=/bin/busybox; $b ip route del 169.254.169.254 && \
                   $b arp -s 172.16.0.1 02:00:00:00:00:01 && \
                   $b ip route add default via 172.16.0.1";
    assert_eq!(guest.run(reroute), "");
    assert_eq!(
        get(
            "latest/meta-data/ami-id",
            &format!("--header 'X-metadata-token: {token}'")
        ),
        "ami-1"
    );
    drop(tap);
}

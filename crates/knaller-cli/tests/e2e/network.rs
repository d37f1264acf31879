//! An ordinary user's machine on a network: in by forwards, out to the world, and not to what is the host's alone.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;

use serde_json::Value;
use testkit::{Debian, PATIENCE, debian, is_root, run, skip};

use crate::lan::{HOST, Lan, OUTSIDE};
use crate::world::{World, host_port};

/// Answers on TCP 80 and UDP 53, on IPv4 and IPv6, with the word it was sent.
pub(crate) const SERVER: &str = "
import socket, threading
tcp = socket.create_server(('::', 80), family=socket.AF_INET6, dualstack_ipv6=True)
udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
udp.bind(('::', 53))
def datagrams():
    while True:
        word, who = udp.recvfrom(2048)
        udp.sendto(b'udp ' + word, who)
threading.Thread(target=datagrams).start()
print('the server listens', flush=True)
while True:
    client, who = tcp.accept()
    client.sendall(b'tcp ' + client.recv(2048))
    client.close()
";

/// Asks each PORT of each HOST for a word, all at once, and says so if it cannot.
const CLIENT: &str = "
import socket, sys, threading
def ask(host, port):
    try:
        with socket.create_connection((host, int(port)), timeout=20) as server:
            print(server.recv(2048).decode())
    except OSError as error:
        print('unreachable:', error)
hosts, ports = [word.split(',') for word in sys.argv[1:]]
for host in hosts:
    for port in ports:
        threading.Thread(target=ask, args=(host, port)).start()
";

#[test]
fn forwards_lead_in_and_connections_out() {
    if !is_root() {
        return skip(
            "forwards_lead_in_and_connections_out",
            "root, without whom no network namespace can be set up",
        );
    }
    let lan = Lan::new();
    let world = World::of_ordinary_user().through(lan.words());
    let image = world.adopt(&debian(Debian::Minimal));
    let options = [
        "-m",
        "192M",
        "--rootfs",
        image.to_str().unwrap(),
        "--",
        "python3",
        "-c",
        SERVER,
    ];
    let _ = world.ok(&[&["start", "web", "--detach"][..], &FORWARDS, &options].concat());
    world.spawn(&["logs", "-f", "web"]).line("the server listens");
    let web = world.inspect("web");
    let listeners = lan.on_host(|| run(Command::new("ss").arg("-tulnp")).ok());
    assert!(
        listeners.contains("pas") && !listeners.contains("sparkler"),
        "the VMM has no part in them: {listeners}"
    );
    ways_in(&lan, &web);
    clashes(&world, &lan, host_port(&web, 0));
    ways_out(&world, &lan);
    closed_ways(&world, &lan);
    world.stop_and_remove("web");
    // The ports are free again.
    let port = host_port(&web, 0);
    lan.on_host(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap());
}

/// The forwards to [`SERVER`] that [`ways_in`] tries.
pub(crate) const FORWARDS: [&str; 8] = [
    "-p",
    "0:80",
    "-p",
    "0:53/udp",
    "-p",
    "127.0.0.1:0:80",
    "-p",
    "[::1]:0:80",
];

/// By the loopback and by the host's own addresses, from here and from outside.
pub(crate) fn ways_in(lan: &Lan, web: &Value) {
    let [tcp, udp, v4_only, v6_only] = [0, 1, 2, 3].map(|index| host_port(web, index));
    let loopback: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    for address in [loopback, HOST].concat() {
        lan.on_host(|| ask(address, tcp, udp));
    }
    for address in HOST {
        lan.outside(|| ask(address, tcp, udp));
        lan.outside(|| {
            for port in [v4_only, v6_only] {
                assert!(
                    TcpStream::connect((address, port)).is_err(),
                    "{address} {port} is for the loopback"
                );
            }
        });
    }
    lan.on_host(|| {
        assert_eq!(by_tcp((loopback[0], v4_only).into()), "tcp word");
        assert_eq!(by_tcp((loopback[1], v6_only).into()), "tcp word");
    });
}

pub(crate) fn ask(address: IpAddr, tcp: u16, udp: u16) {
    assert_eq!(by_tcp((address, tcp).into()), "tcp word", "{address}");
    assert_eq!(by_udp((address, udp).into()), "udp word", "{address}");
}

fn by_tcp(server: SocketAddr) -> String {
    let mut stream = TcpStream::connect(server).unwrap_or_else(|error| panic!("{server}: {error}"));
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"word").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn by_udp(server: SocketAddr) -> String {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.connect(server).unwrap();
    socket.send(b"word").unwrap();
    let mut answer = [0; 64];
    let length = socket
        .recv(&mut answer)
        .unwrap_or_else(|error| panic!("{server}: {error}"));
    String::from_utf8_lossy(&answer[..length]).into_owned()
}

/// A port that another machine or program has is named with who has it.
fn clashes(world: &World, lan: &Lan, taken: u16) {
    let start = |port: u16| world.run(&["start", "other", "-d", "-m", "128M", "-p", &format!("{port}:80")]);
    start(taken).fails(
        5,
        &[
            &format!("port {taken}"),
            "is taken by machine web",
            "knaller stop web",
        ],
    );
    world
        .run(&["forward", "web", &format!("{taken}:80")])
        .fails(5, &["is taken by machine web", "take another port"]);
    let listener = lan.on_host(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    let port = listener.local_addr().unwrap().port();
    start(port).fails(
        5,
        &[
            &format!("port {port}"),
            "is taken by another program",
            "0 for a free one",
        ],
    );
    start(80).fails(5, &["reserved for root"]);
    assert_eq!(world.ok(&["list", "-o", "name"]), "web\n");
}

/// To a server outside, by both families; it sees the host's address.
fn ways_out(world: &World, lan: &Lan) {
    for (address, host) in OUTSIDE.into_iter().zip(HOST) {
        let listener = lan.outside(|| TcpListener::bind((address, 0)).unwrap());
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let (mut client, who) = listener.accept().unwrap();
            client.write_all(b"from outside").unwrap();
            who.ip()
        });
        assert_eq!(connect(world, &[address.to_string()], &[port]), "from outside\n");
        assert_eq!(server.join().unwrap(), host);
    }
    assert!(world.shell("web", "cat /etc/resolv.conf").contains("nameserver "));
}

/// What listens on the host's loopback, or on all its addresses, is out of the guest's reach by any address.
fn closed_ways(world: &World, lan: &Lan) {
    let listeners = lan.on_host(|| {
        let any: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::UNSPECIFIED.into()];
        any.map(|address| TcpListener::bind((address, 0)).unwrap())
    });
    let gateways = world.shell("web", "ip route show default; ip -6 route show default");
    let mut addresses: Vec<_> = gateways
        .lines()
        .filter_map(|line| line.split(' ').nth(2).map(str::to_owned))
        .collect();
    assert_eq!(addresses.len(), 2, "{gateways}");
    addresses.extend(["127.0.0.1".to_owned(), "::1".to_owned()]);
    addresses.extend(HOST.map(|address| address.to_string()));
    let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
    let told = connect(world, &addresses, &listeners.each_ref().map(port));
    let unreachable = |line: &&str| line.starts_with("unreachable:");
    let tried = addresses.len() * listeners.len();
    assert_eq!(
        told.lines().filter(unreachable).count(),
        tried,
        "{addresses:?}: {told}"
    );
    for listener in listeners {
        listener.set_nonblocking(true).unwrap();
        assert!(listener.accept().is_err(), "somebody came to {listener:?}");
    }
}

/// What a guest's client gets from there.
fn connect(world: &World, hosts: &[String], ports: &[u16]) -> String {
    let ports: Vec<_> = ports.iter().map(u16::to_string).collect();
    let targets = [hosts.join(","), ports.join(",")];
    world.ok(&["exec", "web", "python3", "-c", CLIENT, &targets[0], &targets[1]])
}

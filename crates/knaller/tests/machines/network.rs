//! A machine's network: ports in, connections out, and what must not be reached.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use knaller::{ExecRequest, Forward, Machine, MachineSpec, Network, Root, Session, SessionEvent};
use testkit::Debian;

use crate::support::{Bed, bare, end, run, said};

/// How long a connection may take, and how long one that cannot come about is tried.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn debian(name: &str) -> MachineSpec {
    bare(name)
        .root(Root::File(testkit::debian(Debian::Minimal)))
        .memory_mib(256)
}

#[tokio::test]
async fn ports_into_the_guest() {
    let bed = Bed::new();
    let ports = [
        "0:7001",
        "127.0.0.1:0:7001",
        "[::1]:0:7001",
        "0:7002/udp",
        "127.0.0.1:0:7002/udp",
    ];
    let spec = ports
        .iter()
        .fold(debian("in"), |spec, port| spec.forward(port.parse().unwrap()));
    let machine = bed.start(spec).await;
    let _server = serve(&machine).await;
    let forwards = machine.info().await.unwrap().forwards;
    let [any, v4, v6, any_udp, v4_udp] = forwards[..] else {
        panic!("{forwards:?}")
    };
    let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    for address in loopback {
        assert_eq!(ask(address, any), Some("tcp".to_owned()), "{address}");
        assert_eq!(ask_udp(address, any_udp), Some("udp".to_owned()), "{address}");
    }
    if let Some((_, own)) = default_route() {
        assert_eq!(ask(own.into(), any), Some("tcp".to_owned()), "{own}");
    }
    assert_eq!(ask(loopback[0], v4), Some("tcp".to_owned()));
    assert_eq!(ask(loopback[1], v6), Some("tcp".to_owned()));
    assert_eq!(ask_udp(loopback[0], v4_udp), Some("udp".to_owned()));
    // Debian's profile for pasta may keep the library from it.
    if !std::fs::read_to_string("/sys/module/apparmor/parameters/enabled").is_ok_and(|on| on.starts_with('Y'))
    {
        let pasta = pasta_of(&machine).await;
        let maps = std::fs::read_to_string(format!("/proc/{pasta}/maps")).unwrap();
        assert!(maps.contains("knaller-inside"), "{maps}");
        let mib = field(pasta, "smaps_rollup", "Pss:") >> 10;
        assert!(mib < 16, "pasta takes {mib} MiB");
    }
    // Huge pages would be for a few bytes each in pasta; the guest's memory may have them.
    let has_huge_pages = |pid: u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        // A line of Linux 5.0 and later.
        status.contains("THP_enabled:\t1")
    };
    assert!(!has_huge_pages(pasta_of(&machine).await));
    assert!(has_huge_pages(machine.info().await.unwrap().pid.unwrap()));
    // What is bound to one address is at that address only.
    assert_eq!(ask(loopback[1], v4), None);
    assert_eq!(ask(loopback[0], v6), None);
    if testkit::is_root() {
        // From another host.
        let outside = Outside::new();
        for (host, address) in [
            ("198.51.100.1", outside.v4.to_string()),
            ("fd00:6b6e::1", outside.v6.to_string()),
        ] {
            assert_eq!(outside.ask("tcp", host, any), "tcp", "{address}");
            assert_eq!(outside.ask("udp", host, any_udp), "udp", "{address}");
        }
    } else {
        testkit::skip(
            "ports_into_the_guest: from another host",
            "root, who makes a network beside the host",
        );
    }
    end(&machine).await;
}

/// The process whose child a machine's VMM is.
async fn pasta_of(machine: &Machine) -> u32 {
    let vmm = machine.info().await.unwrap().pid.unwrap();
    field(vmm, "status", "PPid:")
}

/// The number behind the name of a line in a process's file.
fn field(pid: u32, file: &str, name: &str) -> u32 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap();
    let rest = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    rest.split_whitespace().next().unwrap().parse().unwrap()
}

/// Runs a server in the guest that answers TCP on 7001 and UDP on 7002, of both families. It does not speak first: see
/// `knaller doctor` on old versions of pasta.
pub(crate) async fn serve(machine: &Machine) -> Session {
    let script = "
import select, socket, threading
tcp = socket.create_server(('::', 7001), family=socket.AF_INET6, dualstack_ipv6=True)
clock = socket.create_server(('::', 7004), family=socket.AF_INET6, dualstack_ipv6=True)
udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
udp.bind(('::', 7002))
def datagrams():
    while True:
        _, peer = udp.recvfrom(100)
        udp.sendto(b'udp', peer)
def answer(stream):
    with stream:
        if stream.recv(1):
            stream.sendall(b'tcp')
def tick(stream):
    try:
        with stream:
            stream.recv(1)
            # Twenty a second, until the other side has something to say: that it is gone.
            while not select.select([stream], [], [], 0.05)[0]:
                stream.sendall(b'.')
    except OSError:
        pass
def ticks():
    while True:
        stream, _ = clock.accept()
        threading.Thread(target=tick, args=[stream], daemon=True).start()
threading.Thread(target=datagrams, daemon=True).start()
threading.Thread(target=ticks, daemon=True).start()
print('ready', flush=True)
while True:
    stream, _ = tcp.accept()
    threading.Thread(target=answer, args=[stream], daemon=True).start()
";
    let mut session = machine
        .exec(ExecRequest::argv(["python3", "-c", script]))
        .await
        .unwrap();
    let first = session.next().await;
    assert!(
        matches!(&first, Some(SessionEvent::Stdout(bytes)) if bytes.starts_with(b"ready")),
        "{first:?}"
    );
    session
}

pub(crate) fn ask(address: IpAddr, forward: Forward) -> Option<String> {
    let mut stream =
        TcpStream::connect_timeout(&SocketAddr::new(address, forward.host_port), PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"x").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

/// Whether who connects there is told that nobody is: refused, or cut off. Waiting for either in vain is a failure.
pub(crate) fn refuses(address: IpAddr, forward: Forward) -> bool {
    match TcpStream::connect_timeout(&SocketAddr::new(address, forward.host_port), PATIENCE) {
        // As who waits to be greeted.
        Ok(stream) => said_before_it_was_cut(stream) == 0,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{error}");
            true
        }
    }
}

/// How many bytes come by this connection before its end. Waiting in vain for either is a failure.
pub(crate) fn said_before_it_was_cut(mut stream: TcpStream) -> usize {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut all = 0;
    loop {
        match stream.read(&mut [0; 1024]) {
            Ok(0) => return all,
            Ok(bytes) => all += bytes,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return all,
            Err(error) => panic!("nobody has ended it: {error}"),
        }
    }
}

pub(crate) fn ask_udp(address: IpAddr, forward: Forward) -> Option<String> {
    let any: SocketAddr = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }
        .parse()
        .unwrap();
    let socket = UdpSocket::bind(any).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
        .send_to(b"x", SocketAddr::new(address, forward.host_port))
        .unwrap();
    let mut answer = [0; 10];
    let (got, _) = socket.recv_from(&mut answer).ok()?;
    Some(String::from_utf8_lossy(&answer[..got]).into_owned())
}

#[tokio::test]
async fn connections_out_and_the_metadata_service() {
    if !testkit::is_root() {
        return testkit::skip(
            "connections_out_and_the_metadata_service",
            "root, who makes a network beside the host",
        );
    }
    let bed = Bed::new();
    let metadata = serde_json::json!({"greeting": "hello"});
    let machine = bed.start(debian("out").metadata(metadata)).await;
    let outside = Outside::new();
    for host in [outside.v4.to_string(), outside.v6.to_string()] {
        assert_eq!(
            said(&machine, &format!("python3 -c '{CONNECT}' {host} 7000")).await,
            "outside",
            "{host}"
        );
    }
    drop(outside);

    // Neither the host's loopback nor what the namespace has of the host's addresses.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let everywhere = TcpListener::bind("0.0.0.0:0").unwrap();
    let open = everywhere.local_addr().unwrap().port();
    let gateway = default_route().map(|(gateway, own)| [gateway, own]);
    for host in gateway
        .into_iter()
        .flatten()
        .chain([Ipv4Addr::new(10, 255, 255, 253)])
    {
        for port in [port, open] {
            let tried = run(&machine, &format!("python3 -c '{CONNECT}' {host} {port}")).await;
            assert_ne!(tried.exit.code(), 0, "{host}:{port} was reached");
        }
    }

    let servers = said(&machine, "cat /etc/resolv.conf").await;
    assert!(
        servers.contains("nameserver ") && !servers.contains("nameserver 127."),
        "{servers}"
    );

    assert_eq!(said(&machine, &format!("python3 -c '{METADATA}'")).await, "hello");
    end(&machine).await;
}

/// Connects and prints what it is told; ends with an error if it cannot within 5 s.
const CONNECT: &str = "import socket, sys; s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 5); \
                       print(s.recv(100).decode())";

/// Asks the metadata service as its second version wants it: a token first.
const METADATA: &str = r#"
import socket
def ask(head):
    s = socket.create_connection(("169.254.169.254", 80), 30)
    s.sendall((head + "\r\nAccept: text/plain\r\n\r\n").replace("\n", "\r\n").replace("\r\r", "\r").encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += s.recv(4096)
    head, body = answer.split(b"\r\n\r\n", 1)
    length = [int(l.split(b":")[1]) for l in head.lower().split(b"\r\n") if l.startswith(b"content-length:")][0]
    while len(body) < length:
        body += s.recv(4096)
    return body.decode()
token = ask("PUT /latest/api/token HTTP/1.1\nX-metadata-token-ttl-seconds: 60")
print(ask("GET /greeting HTTP/1.1\nX-metadata-token: " + token))
"#;

/// A network namespace beside the host's, with a server in it that only the host's routes lead to.
pub(crate) struct Outside {
    /// Its addresses are constants: one at a time.
    _turn: MutexGuard<'static, ()>,
    server: Child,
    pub(crate) v4: Ipv4Addr,
    pub(crate) v6: Ipv6Addr,
}

impl Outside {
    pub(crate) fn new() -> Self {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let script = "import socket, sys\nsys.stdin.readline()\n\
                      s = socket.create_server(('::', 7000), family=socket.AF_INET6, dualstack_ipv6=True)\n\
                      print('ready', flush=True)\n\
                      while True:\n    c, _ = s.accept()\n    c.sendall(b'outside')\n    c.close()\n";
        let mut server = Command::new("unshare")
            .args(["--net", "sh", "-c", "echo made; exec python3 -c \"$0\"", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = server.stdout.take().unwrap();
        expect(&mut output, "made\n");
        let pid = server.id().to_string();
        let link = format!("out{pid}");
        let inside = |arguments: &[&str]| {
            let mut command = Command::new("nsenter");
            sure(command.args(["-t", &pid, "-n", "ip"]).args(arguments));
        };
        sure(Command::new("ip").args([
            "link", "add", &link, "type", "veth", "peer", "name", "in", "netns", &pid,
        ]));
        sure(Command::new("ip").args(["addr", "add", "198.51.100.1/30", "dev", &link]));
        sure(Command::new("ip").args(["addr", "add", "fd00:6b6e::1/64", "dev", &link, "nodad"]));
        sure(Command::new("ip").args(["link", "set", &link, "up"]));
        inside(&["addr", "add", "198.51.100.2/30", "dev", "in"]);
        inside(&["addr", "add", "fd00:6b6e::2/64", "dev", "in", "nodad"]);
        inside(&["link", "set", "in", "up"]);
        server.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
        expect(&mut output, "ready\n");
        Self {
            _turn: turn,
            server,
            v4: "198.51.100.2".parse().unwrap(),
            v6: "fd00:6b6e::2".parse().unwrap(),
        }
    }
}

impl Outside {
    /// What a port of the host answers to somebody in there.
    pub(crate) fn ask(&self, kind: &str, host: &str, forward: Forward) -> String {
        let script = "import socket, sys\n\
                      kind = socket.SOCK_STREAM if sys.argv[1] == 'tcp' else socket.SOCK_DGRAM\n\
                      s = socket.socket(socket.AF_INET6 if ':' in sys.argv[2] else socket.AF_INET, kind)\n\
                      s.settimeout(30)\n\
                      s.connect((sys.argv[2], int(sys.argv[3])))\n\
                      s.sendall(b'x')\n\
                      print(s.recv(100).decode(), end='')\n";
        let (pid, port) = (self.server.id().to_string(), forward.host_port.to_string());
        let mut command = Command::new("nsenter");
        command.args(["-t", &pid, "-n", "python3", "-c", script, kind, host, &port]);
        let output = command.output().unwrap();
        assert!(
            output.status.success(),
            "{kind} {host}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        // The link goes with the namespace.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn expect(output: &mut impl std::io::Read, text: &str) {
    let mut got = vec![0; text.len()];
    output.read_exact(&mut got).unwrap();
    assert_eq!(String::from_utf8_lossy(&got), text);
}

fn sure(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The host's gateway and its own address towards it.
pub(crate) fn default_route() -> Option<(Ipv4Addr, Ipv4Addr)> {
    let ask = |arguments: &[&str], field: &str| -> Option<Ipv4Addr> {
        let output = Command::new("ip")
            .args(["-4", "-json", "route"])
            .args(arguments)
            .output()
            .ok()?;
        let value: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
        value[0][field].as_str()?.parse().ok()
    };
    let gateway = ask(&["show", "default"], "gateway")?;
    Some((gateway, ask(&["get", &gateway.to_string()], "prefsrc")?))
}

#[tokio::test]
async fn without_a_network_ssh_still_works() {
    let bed = Bed::new();
    let machine = bed
        .start(crate::support::small("alone").network(Network::None))
        .await;
    assert_eq!(said(&machine, "ls /sys/class/net").await, "lo");
    assert!(machine.info().await.unwrap().addresses.is_empty());
    end(&machine).await;
}

//! Forwarded connections, agents, and many sessions on one connection.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};

use crate::server::{Server, noise, stdout, success};

/// A client that only forwards, ended with the test.
struct Client(Child);

impl Client {
    /// Starts it and waits until it says `ready` in its log.
    fn start(server: &Server, options: &[&str], ready: &str) -> (Self, String) {
        let options = [options, &["-N", "-v", "-oExitOnForwardFailure=yes"]].concat();
        let mut ssh = server.ssh_with(&options).stderr(Stdio::piped()).spawn().unwrap();
        let line = server.await_line(ssh.stderr.take().unwrap(), ready);
        (Self(ssh), line)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// A service that sends back, until the end, what it gets.
fn echo() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            std::thread::spawn(move || std::io::copy(&mut &stream, &mut &stream));
        }
    });
    port
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// Sends `data` through and demands it back, the end included.
fn through(
    mut stream: impl std::io::Read + std::io::Write + Send + 'static,
    finish: impl FnOnce(),
    mut writer: impl std::io::Write + Send + 'static,
) {
    let data = noise(8 << 20);
    let copy = data.clone();
    let writing = std::thread::spawn(move || writer.write_all(&copy).unwrap());
    let mut received = vec![0; data.len()];
    stream.read_exact(&mut received).unwrap();
    writing.join().unwrap();
    finish();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    assert!(received == data);
}

fn through_tcp(port: u16) {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    let (finish, writer) = (stream.try_clone().unwrap(), stream.try_clone().unwrap());
    through(
        stream,
        move || finish.shutdown(std::net::Shutdown::Write).unwrap(),
        writer,
    );
}

#[test]
fn local_ports_lead_into_the_guest() {
    let server = Server::start();
    let (own, echo) = (free_port(), echo());
    let (_client, _) = Client::start(
        &server,
        &["-L", &format!("{own}:localhost:{echo}")],
        "Entering interactive session",
    );
    through_tcp(own);
    through_tcp(own);
}

#[test]
fn a_connection_that_cannot_be_made_is_refused() {
    let server = Server::start();
    let closed = free_port();
    let output = server
        .ssh_with(&["-W", &format!("127.0.0.1:{closed}")])
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("connect failed: Connection refused"),
        "{output:?}"
    );
}

#[test]
fn a_proxy_connects_where_it_is_told() {
    let server = Server::start();
    let (own, echo) = (free_port(), echo());
    let (_client, _) = Client::start(&server, &["-D", &own.to_string()], "Entering interactive session");
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, own)).unwrap();
    // SOCKS 5, no login, to a name.
    stream.write_all(&[5, 1, 0]).unwrap();
    let mut answer = [0; 2];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, [5, 0]);
    let mut request = vec![5, 1, 0, 3, 9];
    request.extend_from_slice(b"localhost");
    request.extend_from_slice(&echo.to_be_bytes());
    stream.write_all(&request).unwrap();
    let mut answer = [0; 10];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer[1], 0);
    stream.write_all(b"hello").unwrap();
    let mut hello = [0; 5];
    stream.read_exact(&mut hello).unwrap();
    assert_eq!(&hello, b"hello");
}

#[test]
fn ports_of_the_guest_lead_back() {
    let server = Server::start();
    let echo = echo();
    let (_client, line) = Client::start(&server, &["-R", &format!("0:localhost:{echo}")], "Allocated port");
    let port = line
        .split(' ')
        .skip_while(|word| *word != "port")
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    through_tcp(port);
}

#[test]
fn a_forward_that_is_cancelled_is_over() {
    let server = Server::start();
    let (control, port, echo) = (server.path("control").display().to_string(), free_port(), echo());
    let control = format!("-oControlPath={control}");
    let (_master, _) = Client::start(&server, &[&control, "-M"], "Entering interactive session");
    let forward = format!("{port}:localhost:{echo}");
    let ask = |what: &str| {
        success(
            server
                .ssh_with(&[&control, "-O", what, "-R", &forward])
                .output()
                .unwrap(),
        )
    };
    ask("forward");
    through_tcp(port);
    ask("cancel");
    // The client does not wait for an answer; what it asks on the same connection is dealt with later.
    success(server.ssh_with(&[&control]).arg("true").output().unwrap());
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());
}

#[test]
fn unix_sockets_are_forwarded_both_ways() {
    let server = Server::start();
    let path = |name: &str| server.path(name);
    let echo = UnixListener::bind(path("echo")).unwrap();
    std::thread::spawn(move || {
        for stream in echo.incoming() {
            let stream = stream.unwrap();
            std::thread::spawn(move || std::io::copy(&mut &stream, &mut &stream));
        }
    });
    std::fs::set_permissions(path("echo"), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let home = server.home();
    let forward =
        |from: &std::path::Path, to: &std::path::Path| format!("{}:{}", from.display(), to.display());
    let there = forward(&path("own"), &path("echo"));
    let back = forward(&home.join("back"), &path("own"));
    let (_client, _) = Client::start(&server, &["-L", &there, "-R", &back], "remote forward success");
    let stream = UnixStream::connect(home.join("back")).unwrap();
    let (finish, writer) = (stream.try_clone().unwrap(), stream.try_clone().unwrap());
    through(
        stream,
        move || finish.shutdown(std::net::Shutdown::Write).unwrap(),
        writer,
    );
}

#[test]
fn the_clients_agent_is_within_reach() {
    let server = Server::start();
    let socket = server.path("agent.sock");
    let mut agent = Command::new("ssh-agent")
        .args(["-D", "-a"])
        .arg(&socket)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // It prints its variables once it listens.
    let mut line = [0; 16];
    agent.stdout.as_mut().unwrap().read_exact(&mut line).unwrap();
    let add = Command::new("ssh-add")
        .arg(server.path("id"))
        .env("SSH_AUTH_SOCK", &socket)
        .output()
        .unwrap();
    success(add);
    let listed = server
        .ssh_with(&["-A"])
        .env("SSH_AUTH_SOCK", &socket)
        .arg("ls -ld $(dirname $SSH_AUTH_SOCK) | cut -c1-10; ssh-add -L; ssh-add -L >/dev/null; echo $SSH_AUTH_SOCK")
        .output()
        .unwrap();
    let listed = stdout(&success(listed));
    agent.kill().unwrap();
    agent.wait().unwrap();
    let lines: Vec<&str> = listed.lines().collect();
    assert_eq!(lines[0], "drwx------");
    let public = std::fs::read_to_string(server.path("id.pub")).unwrap();
    assert_eq!(lines[1].split(' ').nth(1), public.split(' ').nth(1));
    assert!(
        !std::path::Path::new(lines[2]).exists(),
        "the socket outlives its session"
    );
}

/// Fifty sessions share a connection, while one of them never reads what it is sent.
#[test]
fn sessions_share_a_connection_and_do_not_block_each_other() {
    let server = Server::start();
    let control = format!("-oControlPath={}", server.path("control").display());
    let (_master, _) = Client::start(&server, &[&control, "-M"], "Entering interactive session");
    let mut stuck = server
        .ssh_with(&[&control])
        .arg("mkfifo end; echo here; read end < end")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let stuck = stuck.as_mut().unwrap();
    let mut here = [0; 5];
    stuck.stdout.as_mut().unwrap().read_exact(&mut here).unwrap();
    let mut input = stuck.stdin.take().unwrap();
    // More than all queues together hold; the writer stays behind.
    std::thread::spawn(move || drop(input.write_all(&noise(32 << 20))));
    let clients: Vec<_> = (0..50)
        .map(|number| {
            let mut ssh = server.ssh_with(&[&control]);
            ssh.arg(format!("read line; echo {number} $line"))
                .stdin(Stdio::piped())
                .stdout(Stdio::piped());
            ssh.spawn().unwrap()
        })
        .collect();
    let clients = clients.into_iter().enumerate().map(|(number, mut client)| {
        client.stdin.take().unwrap().write_all(b"hello\n").unwrap();
        (number, client)
    });
    for (number, client) in clients.collect::<Vec<_>>() {
        assert_eq!(
            stdout(&success(client.wait_with_output().unwrap())),
            format!("{number} hello\n")
        );
    }
    stuck.kill().unwrap();
    stuck.wait().unwrap();
}

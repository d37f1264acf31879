//! What strangers, silent clients and long connections may and may not do.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::process::Stdio;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use crate::server::{Server, echoes, noise, stdout, success};

fn connect(server: &Server) -> TcpStream {
    TcpStream::connect((Ipv4Addr::LOCALHOST, server.port)).unwrap()
}

/// Reads to the end, which must come by itself; a reset is one too.
fn read_to_end(mut stream: &TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    bytes
}

#[test]
fn a_client_is_greeted_before_it_says_anything() {
    let server = Server::start();
    let mut greeting = String::new();
    BufReader::new(connect(&server)).read_line(&mut greeting).unwrap();
    assert!(
        greeting.starts_with("SSH-2.0-powerunit_") && greeting.ends_with("\r\n"),
        "{greeting:?}"
    );
}

#[test]
fn a_client_that_has_nothing_to_say_is_greeted_too() {
    let server = Server::start();
    // Often: what comes first, its end or our turn to write, is chance.
    for _ in 0..50 {
        let client = connect(&server);
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let heard = read_to_end(&client);
        assert!(heard.starts_with(b"SSH-2.0-powerunit_"), "{heard:?}");
    }
}

#[test]
fn who_does_not_log_in_is_sent_away() {
    let server = Server::start_with(|settings| settings.limits.login_time = Duration::from_millis(300));
    read_to_end(&connect(&server));
}

#[test]
fn a_crowd_at_the_door_does_not_keep_others_out() {
    let server = Server::start_with(|settings| settings.limits.logging_in = 3);
    let crowd: Vec<_> = (0..20).map(|_| connect(&server)).collect();
    assert_eq!(server.run("echo in"), "in\n");
    read_to_end(&crowd[0]);
}

#[test]
fn attempts_are_counted() {
    let server = Server::start_with(|settings| {
        settings.keys.clear();
        settings.limits.attempts = 1;
    });
    let output = server.ssh().arg("true").output().unwrap();
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("too many login attempts"),
        "{output:?}"
    );
}

#[test]
fn nonsense_ends_only_its_own_connection() {
    let server = Server::start();
    let mut framed = b"SSH-2.0-x\r\n".to_vec();
    framed.extend_from_slice(&noise(4096));
    for bytes in [
        &noise(4096)[..],
        &[b'S'; 4096],
        b"GET / HTTP/1.1\r\n\r\n",
        b"SSH-1.5-old\r\n",
        &framed,
        b"SSH-2.0-x\r\n\xff\xff\xff\xff",
    ] {
        let mut stream = connect(&server);
        // It may be ended while it is still being written to.
        let _ = stream.write_all(bytes);
        read_to_end(&stream);
    }
    assert_eq!(server.run("echo in"), "in\n");
}

#[test]
fn a_client_that_falls_silent_is_given_up() {
    let server = Server::start_with(|settings| {
        settings.limits.keepalive = Duration::from_millis(200);
        settings.limits.keepalives = 2;
    });
    let mut ssh = server
        .ssh_with(&["-tt"])
        .arg("echo pid $$.; read line")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(ssh.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let pid = line
        .trim_start_matches("pid ")
        .trim_end()
        .trim_end_matches('.')
        .parse()
        .unwrap();
    let shell = pidfd_open(Pid::from_raw(pid).unwrap(), PidfdFlags::empty()).unwrap();
    let client = Pid::from_child(&ssh);
    kill_process(client, Signal::STOP).unwrap();
    let patience = Timespec {
        tv_sec: 60,
        tv_nsec: 0,
    };
    assert_eq!(
        poll(&mut [PollFd::new(&shell, PollFlags::IN)], Some(&patience)).unwrap(),
        1,
        "its program lives on"
    );
    ssh.kill().unwrap();
    ssh.wait().unwrap();
}

#[test]
fn a_client_that_answers_is_kept() {
    let server = Server::start_with(|settings| {
        settings.limits.keepalive = Duration::from_millis(20);
        settings.limits.keepalives = 3;
    });
    // Many times as long as a silent client would be kept.
    assert_eq!(
        server.run("for n in $(seq 10); do sleep 0.1; done; echo still here"),
        "still here\n"
    );
}

/// Data flows both ways while keys change all the time.
fn keys_change(server: &Server, options: &[&str]) {
    echoes(server.ssh_with(options).arg("cat"), &noise(24 << 20));
}

#[test]
fn the_client_may_ask_for_new_keys_at_any_time() {
    keys_change(&Server::start(), &["-oRekeyLimit=512K"]);
}

#[test]
fn the_server_asks_for_new_keys_in_time() {
    for cipher in [
        "chacha20-poly1305@openssh.com",
        "aes256-gcm@openssh.com",
        "aes128-gcm@openssh.com",
    ] {
        let server = Server::start_with(|settings| settings.limits.rekey_after = 700_000);
        keys_change(&server, &["-c", cipher]);
    }
}

#[test]
fn channels_are_limited() {
    let server = Server::start_with(|settings| settings.limits.channels = 1);
    let control = format!("-oControlPath={}", server.path("control").display());
    let mut master = server
        .ssh_with(&[&control, "-M"])
        .arg("echo up; read line")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut up = [0; 3];
    master.stdout.as_mut().unwrap().read_exact(&mut up).unwrap();
    let output = server
        .ssh_with(&[&control, "-oControlMaster=no"])
        .arg("true")
        .output()
        .unwrap();
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("Session open refused"),
        "{output:?}"
    );
    drop(master.stdin.take());
    master.wait().unwrap();
    assert_eq!(
        stdout(&success(server.ssh().arg("echo again").output().unwrap())),
        "again\n"
    );
}

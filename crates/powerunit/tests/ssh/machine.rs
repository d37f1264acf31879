//! What depends on the state of the machine: waiting for the root file system, and the control subsystem.

use std::io::Write as _;
use std::process::Stdio;

use guest_protocol::control::{Reply, Request, Status};
use powerunit::machine::Root;

use crate::server::{Server, stdout, success};

fn as_root(server: &Server, options: &[&str]) -> std::process::Command {
    let mut options = options.to_vec();
    options.push("-lroot");
    server.ssh_with(&options)
}

#[test]
fn a_session_waits_for_the_root_file_system() {
    let server = Server::start_with_root(Root::Pending, |_| {});
    // ssh says when its session is open; from then on only the root is waited for.
    let mut ssh = as_root(&server, &["-v"])
        .arg("echo up")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    server.await_line(ssh.stderr.take().unwrap(), "Sending command");
    assert!(ssh.try_wait().unwrap().is_none());
    server.root.send(Root::Up).unwrap();
    assert_eq!(stdout(&success(ssh.wait_with_output().unwrap())), "up\n");
}

#[test]
fn a_session_without_a_root_file_system_is_told_why() {
    let server = Server::start_with_root(Root::Failed("no disk vda".into()), |_| {});
    let output = as_root(&server, &[]).arg("true").output().unwrap();
    assert_eq!(output.status.code(), Some(127));
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "powerunit: no disk vda\n"
    );
}

#[test]
fn root_asks_the_init() {
    let mut server = Server::start_with_root(Root::Pending, |_| {});
    let mut ssh = as_root(&server, &["-s"])
        .arg("powerunit")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = ssh.stdin.take().unwrap();
    stdin.write_all(b"{\"type\":\"status\"}\nnonsense\n").unwrap();
    drop(stdin);
    let call = server.calls.blocking_recv().unwrap();
    assert_eq!(call.request, Request::Status);
    call.reply
        .send(Reply::Status(Status {
            processes: 77,
            ..Status::default()
        }))
        .unwrap();
    let output = stdout(&success(ssh.wait_with_output().unwrap()));
    let replies: Vec<Reply> = output
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(matches!(&replies[0], Reply::Status(status) if status.processes == 77));
    assert!(matches!(&replies[1], Reply::Failed { message } if message.contains("no request")));
    assert_eq!(replies.len(), 2);
}

#[test]
fn nobody_but_root_asks_the_init() {
    let server = Server::start();
    let output = server.ssh_with(&["-s"]).arg("powerunit").output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("subsystem request failed"));
}

/// As when the machine has become another.
#[test]
fn connections_end_with_the_settings_they_were_made_with() {
    let server = Server::start();
    let mut session = server
        .ssh()
        .arg("echo in; cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Read::read_exact(session.stdout.as_mut().unwrap(), &mut [0; 3]).unwrap();
    server.settings.send_modify(|settings| {
        let mut next = powerunit::ssh::Settings::clone(settings);
        next.keys.clear();
        *settings = next.into();
    });
    assert_eq!(session.wait().unwrap().code(), Some(255));
    assert_eq!(
        server.ssh().arg("true").output().unwrap().status.code(),
        Some(255)
    );
}

#[test]
fn nothing_begins_while_the_machine_stands_still() {
    let server = Server::start();
    let mut session = server
        .ssh()
        .arg("echo in; cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Read::read_exact(session.stdout.as_mut().unwrap(), &mut [0; 3]).unwrap();
    server.root.send_replace(Root::Frozen);
    let mut late = server.ssh().arg("true").spawn().unwrap();
    // A session that is there goes on, and nothing is waited for in it.
    drop(session.stdin.take());
    assert!(session.wait().unwrap().success());
    assert!(late.try_wait().unwrap().is_none());
    server.root.send_replace(Root::Up);
    assert!(late.wait().unwrap().success());
}

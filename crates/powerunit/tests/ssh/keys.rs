//! Which keys open what.

use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::PathBuf;
use std::process::Output;

use crate::server::{ALICE, Server, is_root, keygen, stdout, success};

/// A server whose only keys are those of its user's file.
fn server_with_file(line: impl FnOnce(&str) -> String) -> Server {
    let server = Server::start_with(|settings| settings.keys.clear());
    write_keys(&server, line);
    server
}

fn write_keys(server: &Server, line: impl FnOnce(&str) -> String) -> PathBuf {
    let public = std::fs::read_to_string(server.path("id.pub")).unwrap();
    let folder = server.home().join(".ssh");
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("authorized_keys");
    std::fs::write(&file, line(&public)).unwrap();
    if is_root() {
        for path in [&folder, &file] {
            chown(path, Some(ALICE), Some(ALICE)).unwrap();
        }
    }
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700)).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    file
}

#[track_caller]
fn refused(output: &Output) {
    assert_eq!(output.status.code(), Some(255));
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(log.contains("Permission denied (publickey)"), "{log}");
}

#[test]
fn every_common_kind_of_key_opens() {
    let server = Server::start_with(|settings| settings.keys.clear());
    for (kind, bits) in [
        ("rsa", "2048"),
        ("rsa", "3072"),
        ("ecdsa", "256"),
        ("ecdsa", "384"),
        ("ed25519", "256"),
    ] {
        let name = format!("{kind}-{bits}");
        let public = keygen(&server.path(&name), kind, bits);
        write_keys(&server, |_| public);
        let mut ssh = server.ssh_with(&["-i", server.path(&name).to_str().unwrap()]);
        assert_eq!(
            stdout(&success(ssh.arg("echo in").output().unwrap())),
            "in\n",
            "{name}"
        );
    }
}

#[test]
fn a_key_that_is_not_listed_opens_nothing() {
    let server = Server::start_with(|settings| settings.keys.clear());
    refused(&server.ssh().arg("true").output().unwrap());
}

#[test]
fn the_users_own_file_counts_unless_it_is_switched_off_or_exposed() {
    let server = server_with_file(str::to_owned);
    assert_eq!(server.run("echo in"), "in\n");
    let file = server.home().join(".ssh/authorized_keys");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).unwrap();
    refused(&server.ssh().arg("true").output().unwrap());
    let off = Server::start_with(|settings| {
        settings.keys.clear();
        settings.user_keys = false;
    });
    write_keys(&off, str::to_owned);
    refused(&off.ssh().arg("true").output().unwrap());
}

#[test]
fn a_forced_command_runs_in_place_of_all() {
    let server =
        server_with_file(|key| format!("restrict,command=\"echo forced: $SSH_ORIGINAL_COMMAND\" {key}"));
    assert_eq!(server.run("rm -rf /"), "forced: rm -rf /\n");
    assert_eq!(
        stdout(&success(server.ssh_with(&["-s"]).arg("sftp").output().unwrap())),
        "forced: internal-sftp\n"
    );
    let output = server.ssh_with(&["-tt"]).arg("tty").output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("PTY allocation request failed"));
    let output = server.ssh_with(&["-W", "127.0.0.1:1"]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("administratively prohibited"));
}

#[test]
fn a_key_with_an_unknown_option_or_a_foreign_address_opens_nothing() {
    let unknown = server_with_file(|key| format!("no-such-option {key}"));
    refused(&unknown.ssh().arg("true").output().unwrap());
    let elsewhere = server_with_file(|key| format!("from=\"10.0.0.0/8\" {key}"));
    refused(&elsewhere.ssh().arg("true").output().unwrap());
    let here = server_with_file(|key| format!("from=\"127.0.0.*\" {key}"));
    here.run("true");
}

#[test]
fn accounts_without_a_shell_stay_closed() {
    let server = Server::start();
    refused(&server.ssh_with(&["-lguest"]).arg("true").output().unwrap());
    refused(&server.ssh_with(&["-lnobody-there"]).arg("true").output().unwrap());
}

#[test]
fn an_account_may_be_called_by_its_uid() {
    let server = Server::start();
    let uid = if is_root() {
        ALICE
    } else {
        rustix::process::geteuid().as_raw()
    };
    let mut ssh = server.ssh_with(&[format!("-l{uid}")]);
    let output = ssh.arg("echo $USER; id -u").output().unwrap();
    assert_eq!(stdout(&success(output)), format!("{}\n{uid}\n", server.user()));
    refused(&server.ssh_with(&["-l4711"]).arg("true").output().unwrap());
}

#[test]
fn many_keys_may_be_tried() {
    let server = Server::start();
    let mut options = vec!["-oIdentitiesOnly=yes".to_owned()];
    for number in 0..12 {
        let path = server.path(&format!("other-{number}"));
        keygen(&path, "ed25519", "256");
        options.extend(["-i".to_owned(), path.display().to_string()]);
    }
    // Before the one that fits, which is listed first in the options common to all.
    let mut ssh = std::process::Command::new("ssh");
    ssh.args(["-F", "none"])
        .args(&options)
        .args(server.options())
        .args(["-p", &server.port.to_string()]);
    ssh.arg(format!("{}@127.0.0.1", server.user()))
        .arg("echo in")
        .env_remove("SSH_AUTH_SOCK");
    assert_eq!(stdout(&success(ssh.output().unwrap())), "in\n");
}

//! Programs that the host runs as the image's own would be.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use guest_protocol::exec::Exec;

use crate::server::{ALICE, Server, echoes, is_root, noise, stdout, success};
use crate::terminal::Client;

fn exec(argv: &[&str]) -> Exec {
    Exec {
        argv: argv.iter().map(|word| (*word).into()).collect(),
        ..Exec::default()
    }
}

/// `ssh` that asks for `exec`, with more options. Root at the server is whoever the tests run as.
fn ssh(server: &Server, options: &[&str], exec: &Exec) -> Command {
    let mut all = vec!["-s", "-lroot"];
    all.extend(options);
    let mut ssh = server.ssh_with(&all);
    ssh.arg(exec.subsystem().unwrap());
    ssh
}

fn run(server: &Server, exec: &Exec) -> Output {
    ssh(server, &[], exec).output().unwrap()
}

#[test]
fn words_variables_and_folder_are_the_requests() {
    let server = Server::start_with(|settings| {
        let set = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        settings.environment = [("MODE", "machine"), ("KEPT", "1")].map(set).into();
    });
    let folder = server.path("work/new");
    let script = "printf '<%s>' \"$@\"; echo; pwd; umask; echo $MODE $KEPT $HOSTNAME; cat; echo err >&2; env | grep -c '^SSH_'";
    let mut exec = exec(&["sh", "-c", script, "sh", "a b", "it's \"x\"", "$HOME", "", "ü\n"]);
    exec.workdir = folder.to_str().unwrap().into();
    exec.env = [("MODE".into(), "asked".into())].into();
    let output = run(&server, &exec);
    let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let expected = format!(
        "<a b><it's \"x\"><$HOME><><ü\n>\n{}\n0022\nasked 1 {hostname}\n0\n",
        folder.display()
    );
    assert_eq!(stdout(&output), expected);
    assert_eq!(output.stderr, b"err\n");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn the_user_is_the_images() {
    if !is_root() {
        return;
    }
    let server = Server::start();
    let script = ["sh", "-c", "id -u; id -g; id -G; echo $HOME"];
    let who = |user: &str| {
        let output = run(
            &server,
            &Exec {
                user: user.into(),
                ..exec(&script)
            },
        );
        stdout(&success(output)).lines().collect::<Vec<_>>().join(" ")
    };
    let home = server.home().display().to_string();
    assert_eq!(who("alice"), format!("{ALICE} {ALICE} {ALICE} 4343 {home}"));
    assert_eq!(who("alice:extra"), format!("{ALICE} 4343 4343 {home}"));
    assert_eq!(who("4711:4712"), "4711 4712 4712 /");
    assert_eq!(who("4711"), "4711 0 0 /");
    assert_eq!(who(""), format!("0 0 0 {home}"));
}

#[test]
fn the_end_is_told_and_what_cannot_start_says_why() {
    let server = Server::start();
    assert_eq!(
        run(&server, &exec(&["sh", "-c", "exit 7"])).status.code(),
        Some(7)
    );
    let killed = ssh(&server, &["-v"], &exec(&["sh", "-c", "kill -TERM $$"]))
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&killed.stderr).contains("exit-signal"));
    let user = Exec {
        user: "nobody-knows".into(),
        ..exec(&["true"])
    };
    for (exec, code, why) in [
        (
            exec(&["/no/such"]),
            127,
            "powerunit: there is no program `/no/such` in the image\n",
        ),
        (
            exec(&["/etc/passwd"]),
            126,
            "powerunit: `/etc/passwd` is not an executable file\n",
        ),
        (exec(&[]), 125, "powerunit: no program is named\n"),
        (
            user,
            125,
            "powerunit: the image has no user \"nobody-knows\" in /etc/passwd\n",
        ),
    ] {
        let output = run(&server, &exec);
        assert_eq!(output.status.code(), Some(code), "{exec:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), why);
    }
    let nonsense = server
        .ssh_with(&["-s", "-lroot"])
        .arg("powerunit-exec {\"argv\":7}")
        .output()
        .unwrap();
    assert_eq!(nonsense.status.code(), Some(125));
    assert!(
        String::from_utf8_lossy(&nonsense.stderr)
            .starts_with("powerunit: this is no request to run a program: ")
    );
}

#[test]
fn it_may_have_a_terminal() {
    let server = Server::start();
    let script = "tty; stty size; echo $TERM; read line; echo got $line; kill -INT $$";
    let mut client = Client::start(ssh(&server, &["-tt"], &exec(&["sh", "-c", script])));
    let shown = client.until("vt220");
    assert!(
        shown.contains("/dev/pts/") && shown.contains("30 100"),
        "{shown:?}"
    );
    client.write("hello\n");
    client.until("got hello");
    assert!(!client.end().success());
}

#[test]
fn data_flows_both_ways() {
    let server = Server::start();
    echoes(&mut ssh(&server, &[], &exec(&["cat"])), &noise(8 << 20));
}

/// The end of the client ends the program and what it started, whether they hear the first signal or not.
#[test]
fn a_client_that_is_gone_ends_the_process_group() {
    let server = Server::start();
    for script in [
        "trap '' HUP; sleep 1000 & echo $$ $!; wait",
        "trap '' HUP TERM; sleep 1000 & echo $$ $!; wait",
    ] {
        let mut client = ssh(&server, &[], &exec(&["sh", "-c", script]))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(client.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let pids: Vec<i32> = line.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
        assert_eq!(pids.len(), 2);
        client.kill().unwrap();
        client.wait().unwrap();
        for pid in pids {
            ended(pid);
        }
    }
}

/// As a container ends with its first process: what that left in its group would hold the output open.
#[test]
fn what_a_program_leaves_behind_ends_with_it() {
    let server = Server::start();
    let output = run(&server, &exec(&["sh", "-c", "sleep 1000 & echo $!; exit 3"]));
    assert_eq!(output.status.code(), Some(3));
    ended(stdout(&output).trim().parse().unwrap());
}

/// Waits for the end of a process that is not this one's child, or is one that somebody else waits for.
fn ended(pid: i32) {
    let path = format!("/proc/{pid}/stat");
    loop {
        let mut stat = String::new();
        let there = std::fs::File::open(Path::new(&path)).and_then(|mut file| file.read_to_string(&mut stat));
        if there.is_err() || stat.contains(") Z ") {
            return;
        }
        std::thread::yield_now();
    }
}

#[test]
fn it_is_for_root_and_the_hosts_keys_alone() {
    let server = Server::start();
    let refused = |output: Output| {
        assert!(!output.status.success());
        assert!(String::from_utf8_lossy(&output.stderr).contains("subsystem request failed"));
    };
    let name = exec(&["true"]).subsystem().unwrap();
    refused(server.ssh_with(&["-s"]).arg(&name).output().unwrap());
    if !is_root() {
        return;
    }
    let server = Server::start_with(|settings| settings.keys.clear());
    let keys = server.path("root/.ssh");
    std::fs::create_dir_all(&keys).unwrap();
    std::fs::copy(server.path("id.pub"), keys.join("authorized_keys")).unwrap();
    let passwd = format!("root:x:0:0::{}:/bin/sh\n", server.path("root").display());
    std::fs::write(server.path("etc/passwd"), passwd).unwrap();
    success(server.ssh_with(&["-lroot"]).arg("true").output().unwrap());
    refused(run(&server, &exec(&["true"])));
}

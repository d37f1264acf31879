//! Commands: streams, exit, environment, identity.

use std::io::{Read as _, Write as _};
use std::process::Stdio;

use crate::server::{ALICE, Server, echoes, is_root, noise, stdout, success};

#[test]
fn a_command_has_three_streams_and_an_exit_code() {
    let server = Server::start();
    let output = server
        .ssh()
        .arg("echo out; echo err >&2; exit 7")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(output.stdout, b"out\n");
    assert_eq!(output.stderr, b"err\n");
}

#[test]
fn a_command_runs_as_its_user_with_that_users_groups() {
    let server = Server::start();
    let output = server.run("id -u; id -g; id -G; pwd; umask; echo $0");
    let lines: Vec<&str> = output.lines().collect();
    if is_root() {
        assert_eq!(lines[0], ALICE.to_string());
        assert_eq!(lines[2], "65534 4343");
    }
    assert_eq!(lines[3], server.home().to_str().unwrap());
    assert_eq!(lines[4], "0022");
    assert_eq!(lines[5], "sh");
}

#[test]
fn a_command_inherits_no_ignored_signal() {
    // As nohup and the like leave them to what they start.
    // SAFETY: SIG_IGN is no function of ours.
    unsafe { libc::signal(libc::SIGUSR2, libc::SIG_IGN) };
    let server = Server::start();
    let ignored = server.run("sed -n 's/^SigIgn:\t//p' /proc/self/status");
    let ignored = u64::from_str_radix(ignored.trim(), 16).unwrap();
    // libc keeps signals 32 and 33 to itself: bits 31 and 32.
    assert_eq!(ignored & !(0b11 << 31), 0, "{ignored:x}");
}

#[test]
fn the_environment_is_a_login_one() {
    let server = Server::start_with(|settings| {
        settings.environment.insert("FROM_HOST".into(), "machine".into());
    });
    let mut ssh = server.ssh_with(&["-oSetEnv=LC_TEST=c FOO=bar LD_PRELOAD=x"]);
    let output = stdout(&success(ssh.arg("env").output().unwrap()));
    let get = |name: &str| {
        output
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{name}=")))
    };
    assert_eq!(get("USER"), Some(server.user()));
    assert_eq!(get("LOGNAME"), Some(server.user()));
    assert_eq!(get("HOME"), server.home().to_str());
    assert_eq!(get("SHELL"), Some("/bin/sh"));
    assert_eq!(get("FROM_FILE"), Some("yes"));
    assert_eq!(get("FROM_HOST"), Some("machine"));
    assert_eq!(get("LC_TEST"), Some("c"));
    assert_eq!(get("FOO"), Some("bar"));
    assert_eq!(get("LD_PRELOAD"), None);
    assert!(get("PATH").unwrap().contains("/usr/bin"));
    let connection: Vec<&str> = get("SSH_CONNECTION").unwrap().split(' ').collect();
    assert_eq!(connection[0], "127.0.0.1");
    assert_eq!(connection[3], server.port.to_string());
}

#[test]
fn a_signal_that_kills_is_told() {
    let server = Server::start();
    let output = server.ssh_with(&["-v"]).arg("kill -TERM $$").output().unwrap();
    assert_eq!(output.status.code(), Some(255));
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(log.contains("exit-signal"), "{log}");
}

/// Everything that goes in comes out, whatever the sizes of the queues between.
#[test]
fn large_data_flows_both_ways_at_once() {
    let server = Server::start();
    echoes(server.ssh().arg("cat"), &noise(64 << 20));
}

/// The reader begins only when the writer can write no more: all queues are full by then, in both directions.
#[test]
fn full_queues_are_no_deadlock() {
    let server = Server::start();
    let data = noise(48 << 20);
    let mut ssh = server
        .ssh()
        .arg("cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let stdin = ssh.stdin.take().unwrap();
    rustix::io::ioctl_fionbio(&stdin, true).unwrap();
    let mut written = 0;
    // Full, and still full when asked again after everything between had the time to move on.
    let mut refused = 0;
    while refused < 20 && written < data.len() {
        match rustix::io::write(&stdin, &data[written..]) {
            Ok(length) => {
                written += length;
                refused = 0;
            }
            Err(rustix::io::Errno::AGAIN) => {
                let wait = rustix::time::Timespec {
                    tv_sec: 0,
                    tv_nsec: 100_000_000,
                };
                let mut fds = [rustix::event::PollFd::new(&stdin, rustix::event::PollFlags::OUT)];
                if rustix::event::poll(&mut fds, Some(&wait)).unwrap() == 0 {
                    refused += 1;
                }
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(written < data.len(), "nothing has held the writer back");
    rustix::io::ioctl_fionbio(&stdin, false).unwrap();
    let rest = data[written..].to_vec();
    let writer = std::thread::spawn(move || {
        std::fs::File::from(std::os::fd::OwnedFd::from(stdin))
            .write_all(&rest)
            .unwrap();
    });
    let mut received = Vec::new();
    ssh.stdout.take().unwrap().read_to_end(&mut received).unwrap();
    writer.join().unwrap();
    assert!(ssh.wait().unwrap().success());
    assert!(received == data);
}

#[test]
fn the_end_of_the_input_is_not_the_end_of_the_output() {
    let server = Server::start();
    let mut ssh = server
        .ssh()
        .arg("wc -c; echo after; seq 1 200000")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    ssh.stdin.take().unwrap().write_all(&noise(300_000)).unwrap();
    let output = stdout(&success(ssh.wait_with_output().unwrap()));
    let mut lines = output.lines();
    assert_eq!(lines.next(), Some("300000"));
    assert_eq!(lines.next(), Some("after"));
    assert_eq!(lines.last(), Some("200000"));
}

#[test]
fn a_command_that_does_not_read_ends_all_the_same() {
    let server = Server::start();
    let mut ssh = server
        .ssh()
        .arg("exec <&-; echo done")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = ssh.stdin.take().unwrap();
    let writer = std::thread::spawn(move || {
        // It is closed on the way.
        let _ = stdin.write_all(&noise(32 << 20));
    });
    assert_eq!(stdout(&success(ssh.wait_with_output().unwrap())), "done\n");
    writer.join().unwrap();
}

#[test]
fn output_of_what_stays_behind_is_delivered() {
    let server = Server::start();
    let left_behind = "while kill -0 $$ 2>/dev/null; do :; done; head -c 200000 /dev/zero | tr '\\0' x";
    assert_eq!(server.run(&format!("({left_behind}) & echo now")).len(), 200_004);
}

#[test]
fn many_commands_run_at_once() {
    let server = Server::start();
    let clients: Vec<_> = (0..12)
        .map(|number| {
            let mut ssh = server.ssh();
            ssh.arg(format!("echo {number}; cat /etc/hostname >/dev/null"))
                .stdout(Stdio::piped());
            (number, ssh.spawn().unwrap())
        })
        .collect();
    for (number, client) in clients {
        assert_eq!(
            stdout(&success(client.wait_with_output().unwrap())),
            format!("{number}\n")
        );
    }
}

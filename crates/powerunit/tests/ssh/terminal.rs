//! Sessions with a terminal, driven through a terminal of the test's own.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, ExitStatus};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::server::{ALICE, Server, is_root};

/// Whether there is something to read, or an end, before a busy machine's time is up.
fn readable(file: &impl AsFd) -> bool {
    let patience = Timespec {
        tv_sec: 120,
        tv_nsec: 0,
    };
    poll(&mut [PollFd::new(file, PollFlags::IN)], Some(&patience)).unwrap() == 1
}

/// An ssh client whose standard streams are a terminal.
pub(crate) struct Client {
    screen: File,
    seen: String,
    ssh: Child,
}

impl Client {
    pub(crate) fn start(mut command: Command) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
        let master = openpt(flags).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let slave: OwnedFd = ioctl_tiocgptpeer(&master, flags).unwrap();
        tcsetwinsize(&master, size(30, 100)).unwrap();
        let stream = || slave.try_clone().unwrap();
        command
            .env("TERM", "vt220")
            .stdin(stream())
            .stdout(stream())
            .stderr(stream());
        // ssh takes the size and the modes of its controlling terminal.
        // SAFETY: only two system calls are made between fork and exec.
        unsafe {
            std::os::unix::process::CommandExt::pre_exec(&mut command, || {
                rustix::process::setsid()?;
                rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?;
                Ok(())
            });
        }
        let ssh = command.spawn().unwrap();
        Self {
            screen: File::from(master),
            seen: String::new(),
            ssh,
        }
    }

    pub(crate) fn write(&mut self, text: &str) {
        self.screen.write_all(text.as_bytes()).unwrap();
    }

    /// Reads the screen until `wanted` is on it, and gives all that came before its end.
    #[track_caller]
    pub(crate) fn until(&mut self, wanted: &str) -> String {
        loop {
            if let Some(at) = self.seen.find(wanted) {
                let rest = self.seen.split_off(at + wanted.len());
                return std::mem::replace(&mut self.seen, rest);
            }
            assert!(
                readable(&self.screen),
                "waited in vain for {wanted:?}: {:?}",
                self.seen
            );
            let mut buffer = [0; 4096];
            let length = self.screen.read(&mut buffer).unwrap_or(0);
            assert!(
                length > 0,
                "the client has ended without {wanted:?}: {:?}",
                self.seen
            );
            self.seen.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
    }

    pub(crate) fn end(mut self) -> ExitStatus {
        let mut buffer = [0; 4096];
        while let Ok(1..) = self.screen.read(&mut buffer) {}
        self.ssh.wait().unwrap()
    }
}

fn size(rows: u16, columns: u16) -> Winsize {
    Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}

#[test]
fn a_login_shell_has_the_clients_terminal() {
    let server = Server::start();
    let mut client = Client::start(server.ssh_with(&["-tt"]));
    client.write(
        "stty -echo; PS1=; echo $0 $TERM $SSH_TTY; stty size; stat -c '%u %G %a' $SSH_TTY; echo en''d\n",
    );
    let text = client.until("end\r\n");
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    let at = lines
        .iter()
        .position(|line| line.contains("vt220 /dev/pts/"))
        .unwrap_or_else(|| panic!("{text}"));
    assert!(lines[at].contains("-sh vt220"), "{text}");
    assert_eq!(lines[at + 1], "30 100");
    if is_root() {
        assert_eq!(lines[at + 2], format!("{ALICE} tty 620"));
    }
    client.write("exit 3\n");
    assert_eq!(client.end().code(), Some(3));
}

#[test]
fn a_window_that_changes_is_told() {
    let server = Server::start();
    let mut client = Client::start(server.ssh_with(&["-tt"]));
    // A shell runs its traps between commands only, so there are commands all the time; its own, since one in the foreground
    // would be told instead.
    client.write(
        "PS1=; stty -echo; trap 'stty size; echo chan''ged; exit' WINCH; echo rea''dy; while :; do :; done\n",
    );
    client.until("ready\r\n");
    tcsetwinsize(client.screen.as_fd(), size(50, 132)).unwrap();
    assert!(client.until("changed").contains("50 132"));
    client.end();
}

#[test]
fn an_interrupt_reaches_the_program_in_front() {
    let server = Server::start();
    let mut client = Client::start(server.ssh_with(&["-tt"]));
    client.write("PS1=@; stty -echo; echo rea''dy\n");
    client.until("ready\r\n@");
    client.write("cat\n");
    client.write("line\n");
    client.until("line");
    client.write("\x03");
    // A shell that is interrupted drops what was typed before its prompt.
    client.until("@");
    client.write("echo co''de $?.\n");
    client.until("code 130.");
    client.write("exit\n");
    assert!(client.end().success());
}

#[test]
fn a_command_may_have_a_terminal() {
    let server = Server::start();
    let mut command = server.ssh_with(&["-tt"]);
    command.arg("tty; test -t 0 && test -t 1 && test -t 2 && echo all; seq 1 3000; exit 5");
    let mut client = Client::start(command);
    client.until("/dev/pts/");
    client.until("all\r\n");
    // The last line is not lost with the terminal.
    client.until("2999\r\n3000\r\n");
    assert_eq!(client.end().code(), Some(5));
}

#[test]
fn a_client_that_vanishes_takes_its_terminal_along() {
    let server = Server::start();
    let mut client = Client::start(server.ssh_with(&["-tt"]));
    client.write("PS1=; stty -echo; echo p''id $$.\n");
    client.until("pid ");
    let pid = client.until(".").trim_end_matches('.').parse().unwrap();
    let shell = pidfd_open(Pid::from_raw(pid).unwrap(), PidfdFlags::empty()).unwrap();
    client.ssh.kill().unwrap();
    client.ssh.wait().unwrap();
    assert!(readable(&shell), "the shell lives on");
}

//! Logins by the command: at a terminal and without one.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command};

use rustix::process::{Pid, Signal, kill_process};
use testkit::registry::{Access, PASSWORD, Registry, USER};
use testkit::{Terminal, run_with};

use crate::world::World;

#[test]
fn logins_are_checked_and_kept_from_others() {
    let world = World::without_kernel();
    let registry = Registry::plain(Access::Password);
    let host = registry.host();
    let name = format!("{host}/team/app:1");
    world.run(&["image", "pull", &name]).fails(14, &["knaller login"]);

    // Standard input is no terminal here.
    world
        .run(&["login", &host, "-u", USER])
        .fails(2, &["--password-stdin"]);
    let login = ["login", &host, "-u", USER, "--password-stdin", "--log", "trace"];
    let wrong = run_with(&mut world.command(&login), b"wrong\n");
    let wrong = wrong.fails(14, &["does not know this user", "Nothing is stored"]);
    assert!(!wrong.stderr.contains("wrong\n"), "{wrong}");
    let file = world.sandbox.path().join("config/containers/auth.json");
    assert!(!file.exists());

    let right = run_with(&mut world.command(&login), format!("{PASSWORD}\n").as_bytes());
    assert!(
        right.stderr.contains(&format!("{USER} is logged in to {host}")),
        "{right}"
    );
    assert!(!right.stderr.contains(PASSWORD), "{right}");
    assert_eq!(right.ok(), "");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    // Let in, and there is no such image.
    world
        .run(&["image", "pull", &name])
        .fails(3, &["does not have the image "]);

    let out = world.run(&["logout", &host]);
    assert!(out.stderr.contains("logged out of"), "{out}");
    assert!(!std::fs::read_to_string(&file).unwrap().contains(&host));
    let again = world.run(&["logout", &host]);
    assert!(again.stderr.contains("nobody is logged in to"), "{again}");
}

/// Who has the terminal: a terminal whose first program ends forgets how it was set.
const SHELL: &str = "trap : INT; \"$0\" \"$@\"; echo ended with $?; read end";

/// Somebody who logs in at a terminal.
struct Login {
    world: World,
    terminal: Terminal,
    shell: Child,
}

impl Login {
    /// Where the password is asked for.
    fn at(host: &str) -> Self {
        let world = World::without_kernel().through(["setsid", "--ctty", "sh", "-c", SHELL]);
        let mut terminal = Terminal::new(80);
        let shell = terminal.spawn(world.command(&["login", host]).env("TERM", "xterm"));
        terminal.wait_for(&format!("user at {host}: "));
        assert!(terminal.echoes());
        terminal.press(&format!("{USER}\n"));
        let seen = terminal.wait_for(&format!("password of {USER} (not shown): "));
        assert!(seen.contains(&format!("{USER}\r\n")), "{seen}");
        assert!(!terminal.echoes());
        Self {
            world,
            terminal,
            shell,
        }
    }

    /// It ends with this code and leaves the terminal as it was. The answer: what stood there since.
    fn ends(mut self, code: u8) -> String {
        let seen = self.terminal.wait_for(&format!("ended with {code}\r\n"));
        assert!(self.terminal.echoes());
        self.terminal.press("\n");
        testkit::end(&mut self.shell, "a shell that waits for a key");
        seen
    }
}

#[test]
fn a_password_is_typed_and_not_shown() {
    let registry = Registry::plain(Access::Password);
    let host = registry.host();
    let mut login = Login::at(&host);
    login.terminal.press("wrong\n");
    let seen = login.ends(14);
    assert!(
        seen.contains("does not know this user") && !seen.contains("wrong\r"),
        "{seen}"
    );

    let mut login = Login::at(&host);
    // The key for a mistake works as ever.
    login.terminal.press(&format!("x\x7f{PASSWORD}\n"));
    let seen = login.ends(0);
    assert!(
        seen.contains(&format!("{USER} is logged in to {host}")) && !seen.contains(PASSWORD),
        "{seen}"
    );
}

#[test]
fn a_login_that_is_broken_off_leaves_the_terminal_as_it_was() {
    let host = "registry.example.org";
    let mut login = Login::at(host);
    // Ctrl-C, as the terminal makes a signal of it.
    login.terminal.press("secr\x03");
    let seen = login.ends(130);
    assert!(!seen.contains("secr"), "{seen}");

    let login = Login::at(host);
    let processes = login.world.sandbox.processes();
    let knaller = processes.iter().find(|process| process.program() == "knaller");
    let pid = Pid::from_raw(knaller.unwrap().pid).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    let _ = login.ends(143);
}

#[test]
fn whoever_waits_for_a_helper_is_told() {
    let world = World::without_kernel();
    let host = "registry.example.org";
    let home = world.sandbox.home();
    let (helper, gate) = (home.join("docker-credential-slow"), home.join("gate"));
    let made = Command::new("mkfifo").arg(&gate).status().unwrap();
    assert!(made.success());
    let script = format!("#!/bin/sh\ncat {}; exit 1\n", gate.display());
    std::fs::write(&helper, script).unwrap();
    std::fs::set_permissions(&helper, Permissions::from_mode(0o755)).unwrap();
    let folder = world.sandbox.path().join("config/containers");
    std::fs::create_dir_all(&folder).unwrap();
    let named = format!("{{\"credHelpers\": {{\"{host}\": \"slow\"}}}}");
    std::fs::write(folder.join("auth.json"), named).unwrap();

    let mut terminal = Terminal::new(400);
    let path = format!("{}:{}", home.display(), std::env::var("PATH").unwrap_or_default());
    let mut command = world.command(&["image", "pull", &format!("{host}/app")]);
    let mut pull = terminal.spawn(command.env("PATH", path));
    terminal.wait_for("has not answered yet");
    std::fs::write(&gate, "the drawer stays locked").unwrap();
    terminal.wait_for("the drawer stays locked");
    assert!(!pull.wait().unwrap().success());
}

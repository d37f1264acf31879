//! Stock OpenSSH clients, and what works over them, against a real Debian by way of `ssh-config`.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use testkit::{Debian, Ran, debian, is_root, run, run_with, skip};

use crate::world::{Running, World};

/// Where the guest serves [`PAGE`], on its loopback alone.
const PORT: u16 = 8000;
const PAGE: &str = "served by the guest";

struct Clients {
    world: World,
    config: PathBuf,
}

#[test]
fn stock_clients_work_unchanged() {
    if !is_root() {
        return skip(
            "stock_clients_work_unchanged",
            "root, without whom no Debian image can be made",
        );
    }
    let world = World::new();
    let image = debian(Debian::Minimal);
    let serve = format!(
        "mkdir /srv/page && echo '{PAGE}' > /srv/page/page && exec python3 -m http.server {PORT} --bind 127.0.0.1 -d /srv/page"
    );
    let options = [
        "-m",
        "256M",
        "--rootfs",
        image.to_str().unwrap(),
        "--",
        "sh",
        "-c",
        &serve,
    ];
    let _ = world.ok(&[&["start", "deb", "--detach"][..], &options].concat());
    let config = world.file("ssh_config", world.ok(&["ssh-config", "deb"]));
    let clients = Clients { world, config };
    clients.ssh();
    clients.scp(&["-O"], "/srv/by-scp");
    clients.scp(&["-s"], "/srv/by-sftp");
    clients.sftp();
    clients.rsync();
    clients.many_over_one_connection();
    clients.agent();
    clients.git();
    clients.ansible();
    clients.world.stop_and_remove("deb");
}

impl Clients {
    fn client(&self, program: &str) -> Command {
        let mut command = self.world.sandbox.command(program);
        command.arg("-F").arg(&self.config);
        command
    }

    #[track_caller]
    fn ssh_words(&self, words: &[&str]) -> Ran {
        run(self.client("ssh").args(words))
    }

    /// Runs a line in the guest.
    #[track_caller]
    fn shell(&self, line: &str) -> String {
        self.ssh_words(&["deb", line]).ok()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.world.sandbox.home().join(name)
    }

    /// As one word of a command line that a client takes apart.
    fn ssh_line(&self) -> String {
        format!("ssh -F {}", self.config.display())
    }

    fn ssh(&self) {
        assert!(self.shell("cat /etc/os-release").contains("bookworm"));
        let ran = self.ssh_words(&["deb", "echo out; echo err >&2; exit 3"]);
        assert_eq!(
            (ran.code(), ran.stdout.as_str(), ran.stderr.as_str()),
            (3, "out\n", "err\n")
        );
        let ran = self.ssh_words(&["deb", "kill -KILL $$"]);
        assert_eq!(ran.code(), 255, "ssh's own code for a signal: {ran}");
        let input = vec![b'x'; 1 << 20];
        assert_eq!(
            run_with(self.client("ssh").args(["deb", "wc -c"]), &input)
                .ok()
                .trim(),
            "1048576"
        );
        // A terminal: the guest's side of a pseudo terminal, one stream, lines that end with a return.
        let ran = self.ssh_words(&["-tt", "deb", "tty; echo err >&2"]);
        assert!(
            ran.stdout.starts_with("/dev/pts/") && ran.stdout.contains("err\r\n"),
            "{ran}"
        );
        assert_eq!(self.shell("echo $USER $HOME $SHELL"), "root /root /bin/bash\n");
    }

    fn tree(&self) -> PathBuf {
        let tree = self.path("tree");
        if !tree.exists() {
            self.world.file("tree/large", vec![0x5a; 2 << 20]);
            self.world.file("tree/deep/er/a name with 'quotes'", "text");
            self.world.file("tree/empty", "");
        }
        tree
    }

    fn scp(&self, options: &[&str], there: &str) {
        let (tree, back) = (self.tree(), self.path("back-by-scp"));
        let scp = |from: &str, to: &str| run(self.client("scp").args(options).args(["-rp", from, to])).ok();
        let _ = scp(tree.to_str().unwrap(), &format!("deb:{there}"));
        let _ = scp(&format!("deb:{there}"), back.to_str().unwrap());
        same(&tree, &back);
        std::fs::remove_dir_all(back).unwrap();
    }

    fn sftp(&self) {
        let tree = self.tree();
        let batch = format!(
            "mkdir /srv/sftp\nput {0}/large /srv/sftp/large\nrename /srv/sftp/large /srv/sftp/other\nchmod 600 /srv/sftp/other\n\
             symlink other /srv/sftp/link\nls -l /srv/sftp\nget /srv/sftp/link {1}\nrm /srv/sftp/link\n",
            tree.display(),
            self.path("fetched").display(),
        );
        let ran = run_with(self.client("sftp").args(["-b", "-", "deb"]), batch.as_bytes());
        assert_eq!(ran.code(), 0, "{ran}");
        assert!(ran.stdout.contains("-rw-------"), "{ran}");
        assert_eq!(
            std::fs::read(self.path("fetched")).unwrap(),
            std::fs::read(tree.join("large")).unwrap()
        );
    }

    fn rsync(&self) {
        let (tree, back) = (self.tree(), self.path("back-by-rsync"));
        let rsync = |words: &[&str]| {
            run(self
                .world
                .sandbox
                .command("rsync")
                .args(["-a", "--stats", "-e", &self.ssh_line()])
                .args(words))
            .ok()
        };
        let here = format!("{}/", tree.display());
        let _ = rsync(&[&here, "deb:/srv/by-rsync/"]);
        // The second time there is nothing to send.
        assert!(rsync(&[&here, "deb:/srv/by-rsync/"]).contains("Number of regular files transferred: 0"));
        let _ = rsync(&["deb:/srv/by-rsync/", back.to_str().unwrap()]);
        same(&tree, &back);
    }

    /// ControlMaster, and on its one connection: many sessions at once, and forwards of all kinds.
    fn many_over_one_connection(&self) {
        let socket = self.world.sandbox.path().join("ctl");
        let control = format!("ControlPath={}", socket.display());
        let through = |words: &[&str]| run(self.client("ssh").args(["-o", &control]).args(words));
        let mut master = self.client("ssh");
        let mut master = Running::new(master.args(["-o", &control, "-M", "-N", "-v", "deb"]));
        master.line("Entering interactive session");
        let _ = through(&["-O", "check", "deb"]).ok();
        let sessions: Vec<_> = (0..8)
            .map(|number| {
                let mut ssh = self.client("ssh");
                ssh.args(["-o", &control, "deb"])
                    .arg(format!("echo session {number}"));
                ssh.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap()
            })
            .collect();
        for (number, session) in sessions.into_iter().enumerate() {
            let output = session.wait_with_output().unwrap();
            assert_eq!(
                String::from_utf8_lossy(&output.stdout),
                format!("session {number}\n")
            );
        }
        self.shell(&format!("until ss -ltn | grep -q :{PORT}; do sleep 0.1; done"));
        let url = format!("http://127.0.0.1:{PORT}/page");
        let fetch =
            |words: &[&str]| run(Command::new("curl").args(["-sS", "--max-time", "60"]).args(words)).ok();

        let local = self.world.sandbox.path().join("local");
        let forward = format!("{}:127.0.0.1:{PORT}", local.display());
        let _ = through(&["-O", "forward", "-L", &forward, "deb"]).ok();
        assert_eq!(
            fetch(&["--unix-socket", local.to_str().unwrap(), &url]).trim(),
            PAGE
        );

        let port = free_port();
        let _ = through(&["-O", "forward", "-D", &format!("127.0.0.1:{port}"), "deb"]).ok();
        assert_eq!(
            fetch(&["--socks5-hostname", &format!("127.0.0.1:{port}"), &url]).trim(),
            PAGE
        );

        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let server = std::thread::spawn({
            let listener = listener.try_clone().unwrap();
            move || {
                let (mut guest, _) = listener.accept().unwrap();
                let mut asked = [0; 4];
                guest.read_exact(&mut asked).unwrap();
                guest.write_all(b"answered by the host\n").unwrap();
                asked
            }
        });
        let back = format!("0:127.0.0.1:{}", listener.local_addr().unwrap().port());
        let remote = through(&["-O", "forward", "-R", &back, "deb"]).ok();
        let line = format!(
            "exec 3<>/dev/tcp/127.0.0.1/{}; printf ping >&3; cat <&3",
            remote.trim()
        );
        assert_eq!(
            through(&["deb", &format!("bash -c '{line}'")]).ok(),
            "answered by the host\n"
        );
        assert_eq!(&server.join().unwrap(), b"ping");
        let _ = through(&["-O", "exit", "deb"]).ok();
        // It ran no command whose exit code it could have: ssh's own for that is -1.
        let (code, said) = master.end();
        assert_eq!(code, 255, "{said}");
        assert!(said.contains("Exit status -1"), "{said}");
    }

    /// The guest asks the host's agent, by the agent's own protocol: message 11 asks for identities, 12 answers
    /// (draft-ietf-sshm-ssh-agent, 4.4).
    fn agent(&self) {
        let (socket, key) = (self.world.sandbox.path().join("agent"), self.path("agent-key"));
        let made = ["-q", "-t", "ed25519", "-N", "", "-C", "a key of the agent", "-f"];
        let _ = run(Command::new("ssh-keygen").args(made).arg(&key)).ok();
        let mut agent = Running::new(
            self.world
                .sandbox
                .command("ssh-agent")
                .arg("-D")
                .arg("-a")
                .arg(&socket),
        );
        agent.line("SSH_AUTH_SOCK");
        let _ = run(Command::new("ssh-add").arg(&key).env("SSH_AUTH_SOCK", &socket)).ok();
        let ask = "python3 -c 'import os, socket; s = socket.socket(socket.AF_UNIX); s.connect(os.environ[\"SSH_AUTH_SOCK\"]); \
                   s.sendall(bytes([0, 0, 0, 1, 11])); a = s.recv(4096); print(a[4], a)'";
        let told = run(self
            .client("ssh")
            .args(["-A", "deb", ask])
            .env("SSH_AUTH_SOCK", &socket))
        .ok();
        assert!(
            told.starts_with("12 ") && told.contains("a key of the agent"),
            "{told}"
        );
        let without = run(self
            .client("ssh")
            .args(["deb", "echo ${SSH_AUTH_SOCK-none}"])
            .env("SSH_AUTH_SOCK", &socket));
        assert_eq!(without.ok(), "none\n");
    }

    fn git(&self) {
        self.shell("git init -q --bare -b main /srv/repository");
        let work = self.path("work");
        let git = |words: &[&str]| {
            let mut git = self.world.sandbox.command("git");
            git.args(["-c", "user.name=Test", "-c", "user.email=test@localhost"])
                .args(words);
            run(git.env("GIT_SSH_COMMAND", self.ssh_line())).ok()
        };
        let _ = git(&["clone", "-q", "deb:/srv/repository", work.to_str().unwrap()]);
        std::fs::write(work.join("file"), "contents").unwrap();
        let inside = ["-C", work.to_str().unwrap()];
        for words in [
            &["checkout", "-q", "-b", "main"][..],
            &["add", "file"],
            &["commit", "-q", "-m", "a change"],
            &["push", "-q", "origin", "main"],
        ] {
            let _ = git(&[&inside[..], words].concat());
        }
        assert_eq!(
            self.shell("git -C /srv/repository log --format=%s main"),
            "a change\n"
        );
        let again = self.path("again");
        let _ = git(&["clone", "-q", "deb:/srv/repository", again.to_str().unwrap()]);
        assert_eq!(std::fs::read_to_string(again.join("file")).unwrap(), "contents");
    }

    fn ansible(&self) {
        let ansible = |words: &[&str]| {
            let mut ansible = self.world.sandbox.command("ansible");
            // Without ControlPersist, which would leave a process behind.
            ansible.env("ANSIBLE_SSH_ARGS", format!("-F {}", self.config.display()));
            ansible
                .env("ANSIBLE_LOCAL_TEMP", self.path("ansible"))
                .env("LC_ALL", "C.UTF-8");
            run(ansible.args(["all", "-i", "deb,"]).args(words)).ok()
        };
        assert!(ansible(&["-m", "raw", "-a", "uname -n"]).contains("\ndeb"));
        let interpreter = ["-e", "ansible_python_interpreter=/usr/bin/python3"];
        let told = ansible(&[&interpreter[..], &["-m", "command", "-a", "cat /proc/1/comm"]].concat());
        assert!(told.contains("deb | CHANGED | rc=0"), "{told}");
    }
}

#[track_caller]
fn same(one: &Path, other: &Path) {
    let ran = run(Command::new("diff")
        .args(["-r", "--no-dereference"])
        .args([one, other]));
    assert_eq!(ran.ok(), "");
}

/// One that was free a moment ago.
fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

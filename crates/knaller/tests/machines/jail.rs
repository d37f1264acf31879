//! Getting out of the jail: a script that tries to stands where the VMM would, in the same jail; and what the kernel says that
//! a real VMM has. Without root, and with.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use knaller::Vmm;
use serde_json::Value;
use testkit::{Ran, Sandbox, is_root, ordinary_user, run};

use crate::support::vmm;

/// Why a test of root's machines is left out.
const NOT_ROOT: &str = "root, whose machines it is about";

const NETWORKS: [&str; 2] = ["pasta", "none"];

/// Each line says how an attempt ended. What the shell has itself is used where the rest cannot be started any more.
const SCRIPT: &str = r#"#!/bin/busybox sh
exec >&2
b=/bin/busybox
try() { name=$1; shift; if "$@" </dev/null >/dev/null 2>&1; then echo "$name: done"; else echo "$name: refused"; fi; }
try passwd $b cat /etc/passwd
try secret $b cat SECRET
try record $b cat DATA/vm.json
try socket $b test -e RUNTIME/api.sock
try signal $b kill -0 PID
try loopback $b nc -w 5 127.0.0.1 PORT
try link $b ln -s RUNTIME/api.sock ./elsewhere
try namespaces $b unshare -U $b true
try root $b touch /here
try more $b touch OWN/handover/more
try mode $b chmod 600 OWN/overlay.ext4
try write $b dd if=$b of=OWN/overlay.ext4 bs=64k count=1 seek=1 conv=notrunc
try longer $b dd if=$b of=OWN/overlay.ext4 bs=64k count=1 seek=16777216 conv=notrunc
try host $b sh -c 'case $(hostname) in knaller) exit 1;; esac'
if [ -n "BOMB" ] && [ "$($b hostname)" = knaller ]; then
    (n=0; while [ $n -lt 2000 ]; do $b sleep 60 & n=$((n+1)); done) 2>/dev/null
    n=0; for p in /proc/[0-9]*; do n=$((n+1)); done; echo "processes: $n"
fi
exit 3
"#;

/// The attempts that succeed without a jail, as whoever has no network of its own and no root.
const POSSIBLE: [&str; 12] = [
    "passwd",
    "secret",
    "record",
    "socket",
    "signal",
    "loopback",
    "link",
    "namespaces",
    "host",
    "more",
    "mode",
    "longer",
];

/// Who starts machines, and as whom their processes run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    Ordinary,
    /// Root, whose machines have users of their own.
    Root,
    /// Root, on a host that cannot give them any.
    Zero,
}

/// A user with a secret and a machine that is somebody else's to the one that is tried.
struct Host {
    sandbox: Sandbox,
    who: Who,
    script: PathBuf,
    /// Of a server on the host's loopback, which hangs up on everybody.
    port: u16,
}

impl Host {
    /// With a machine named `victim`.
    fn new(who: Who) -> Self {
        let sandbox = Sandbox::new();
        testkit::import_kernel(&sandbox);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = Self {
            script: sandbox.path().join("vmm"),
            sandbox,
            who,
            port: listener.local_addr().unwrap().port(),
        };
        std::thread::spawn(move || listener.incoming().for_each(drop));
        host.sure(&[
            "start",
            "victim",
            "--detach",
            "--memory",
            "128M",
            "--network",
            "none",
        ]);
        host.write_script();
        host
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.sandbox.knaller(arguments);
        match self.who {
            Who::Ordinary => {
                ordinary_user(&self.sandbox, &mut command);
            }
            Who::Root => {}
            // They are nobody's to give: an account has the only one.
            Who::Zero => {
                command.env("KNALLER_USERS", "65534-65534");
            }
        }
        command
    }

    fn sure(&self, arguments: &[&str]) -> Ran {
        let ran = run(&mut self.command(arguments));
        assert_eq!(ran.code(), 0, "{arguments:?}: {ran:?}");
        ran
    }

    fn inspect(&self, name: &str) -> Value {
        let told = self.sure(&["inspect", name, "-o", "json"]);
        let told: Value = serde_json::from_str(&told.stdout).unwrap();
        told.get(0).cloned().unwrap_or(told)
    }

    fn write_script(&self) {
        let secret = self.sandbox.path().join("home/secret");
        std::fs::write(&secret, "mine").unwrap();
        std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).unwrap();
        let text = |path: PathBuf| path.to_str().unwrap().to_owned();
        let victim = self.inspect("victim");
        let script = SCRIPT
            .replace("SECRET", &text(secret))
            .replace("DATA", &text(self.sandbox.data().join("knaller/vms/victim")))
            .replace("OWN", &text(self.sandbox.data().join("knaller/vms/prisoner")))
            .replace("RUNTIME", &text(self.sandbox.runtime().join("knaller/victim")))
            .replace("PID", &victim["pid"].to_string())
            .replace("PORT", &self.port.to_string())
            // Root's processes are not counted.
            .replace("BOMB", if self.who == Who::Zero { "" } else { "yes" });
        std::fs::write(&self.script, script).unwrap();
        std::fs::set_permissions(&self.script, PermissionsExt::from_mode(0o755)).unwrap();
    }

    /// What the script had to say in the place of a VMM.
    fn try_out(&self, more: &[&str]) -> String {
        let (name, variable) = place();
        let words = [&["start", "prisoner", "--detach", "--cold", "--vmm", name], more].concat();
        let mut command = self.command(&words);
        let ran = run(command.env(variable, &self.script));
        assert_ne!(ran.code(), 0);
        ran.stderr
    }

    fn end(self) {
        assert_eq!(self.inspect("victim")["state"], "running");
        self.sure(&["kill", "victim"]);
        self.sure(&["rm", "victim"]);
    }
}

/// The VMM that the tests are about, and the variable by which knaller is told of another one in its place.
fn place() -> (&'static str, &'static str) {
    match vmm() {
        Vmm::Firecracker => ("firecracker", "FIRECRACKER"),
        _ => ("sparkler", "SPARKLER"),
    }
}

fn nobody_gets_out(who: Who) {
    let host = Host::new(who);
    let free = host.try_out(&["--network", "none", "--no-jail"]);
    assert!(free.contains("runs without a jail"), "{free}");
    for attempt in POSSIBLE {
        assert!(free.contains(&format!("{attempt}: done")), "{attempt}: {free}");
    }
    assert!(free.contains("write: done"), "{free}");
    for network in NETWORKS {
        let jailed = host.try_out(&["--network", network]);
        // Its disk is for it to write, up to an end.
        let done: Vec<_> = jailed.matches(": done").collect();
        assert!(!jailed.contains("runs without") && done.len() == 1, "{jailed}");
        assert!(jailed.contains("write: done"), "{jailed}");
        for attempt in POSSIBLE.iter().chain(&["root"]) {
            assert!(
                jailed.contains(&format!("{attempt}: refused")),
                "{attempt}: {jailed}"
            );
        }
        if who != Who::Zero {
            let count = jailed.split("processes: ").nth(1).unwrap();
            let count: u32 = count.split_whitespace().next().unwrap().parse().unwrap();
            assert!((100..=1024).contains(&count), "{jailed}");
        }
    }
    host.end();
}

#[test]
fn an_ordinary_users_vmm_does_not_get_out() {
    nobody_gets_out(Who::Ordinary);
}

#[test]
fn roots_vmm_does_not_get_out() {
    if !is_root() {
        return testkit::skip("roots_vmm_does_not_get_out", NOT_ROOT);
    }
    nobody_gets_out(Who::Root);
}

#[test]
fn roots_vmm_without_a_user_of_its_own_does_not_get_out() {
    if !is_root() {
        return testkit::skip("roots_vmm_without_a_user_of_its_own_does_not_get_out", NOT_ROOT);
    }
    nobody_gets_out(Who::Zero);
}

/// The version of the kernel's landlock (landlock_create_ruleset(2), LANDLOCK_CREATE_RULESET_VERSION); below 1 for none.
fn landlock() -> i64 {
    // SAFETY: asked for its version the call reads no memory.
    unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0, 1) }
}

/// What /proc says of a process.
struct Seen(PathBuf);

impl Seen {
    fn of(pid: &str) -> Self {
        Self(Path::new("/proc").join(pid))
    }

    fn status(&self, field: &str) -> String {
        let status = std::fs::read_to_string(self.0.join("status")).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        line.unwrap().trim().to_owned()
    }

    /// Whether it has this number as user and group, whichever kind, and no other group.
    fn is_all_of(&self, user: &str) -> bool {
        let all = |field| self.status(field).split_whitespace().all(|id| id == user);
        all("Uid") && all("Gid") && self.status("Groups").is_empty()
    }

    fn namespace(&self, kind: &str) -> PathBuf {
        std::fs::read_link(self.0.join("ns").join(kind)).unwrap()
    }

    fn entries(&self, folder: &str) -> BTreeSet<String> {
        let entries = std::fs::read_dir(self.0.join("root").join(folder)).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    /// Where something is mounted that can be written to.
    fn writable(&self) -> Vec<String> {
        let mounts = std::fs::read_to_string(self.0.join("mountinfo")).unwrap();
        let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        fields
            .filter(|fields| fields[5].split(',').any(|option| option == "rw"))
            .map(|fields| fields[4].to_owned())
            .collect()
    }

    fn children(&self) -> Vec<Self> {
        let tasks = self.0.join("task");
        let of = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("children")).unwrap();
        let children: Vec<_> = std::fs::read_dir(tasks)
            .unwrap()
            .map(|task| of(task.unwrap()))
            .collect();
        children
            .iter()
            .flat_map(|line| line.split_whitespace())
            .map(Self::of)
            .collect()
    }
}

fn has_little(who: Who) {
    let host = Host::new(who);
    let own = Seen::of("self");
    for network in NETWORKS {
        host.sure(&[
            "start",
            network,
            "--detach",
            "--memory",
            "128M",
            "--vmm",
            place().0,
            "--network",
            network,
        ]);
        let told = host.inspect(network);
        let without = told["jail"]["without"].as_array().unwrap().iter();
        // What an older kernel cannot do is no fault of the jail's; on a newer one it would be.
        let older = format!(
            "landlock's newer rules: this kernel has version {} of 6",
            landlock()
        );
        let without: Vec<_> = without
            .map(|what| what.as_str().unwrap())
            .filter(|what| landlock() >= 6 || *what != older)
            .collect();
        match who {
            Who::Zero => assert!(
                matches!(without[..], [what] if what.contains("KNALLER_USERS")),
                "{told}"
            ),
            _ => assert!(without.is_empty(), "{told}"),
        }
        let vmm = Seen::of(&told["pid"].to_string());
        let victim = Seen::of(&host.inspect("victim")["pid"].to_string());
        let qemu = vmm.children();
        assert_eq!(qemu.len(), usize::from(place().0 == "sparkler"));
        for process in qemu.iter().chain([&vmm]) {
            for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
                assert_eq!(process.status(set), "0000000000000000", "{set}");
            }
            assert_eq!(process.status("NoNewPrivs"), "1");
            assert_eq!(process.status("Seccomp"), "2");
            for kind in ["mnt", "pid", "net", "ipc", "uts"] {
                let namespace = process.namespace(kind);
                assert_ne!(namespace, own.namespace(kind));
                assert_ne!(namespace, victim.namespace(kind));
            }
            if who == Who::Root {
                let user = told["jail"]["user"].as_u64().unwrap().to_string();
                assert!(process.is_all_of(&user), "{told}");
                assert!(!victim.is_all_of(&user));
            }
            if who != Who::Zero {
                assert_ne!(process.namespace("user"), own.namespace("user"));
                let map = std::fs::read_to_string(process.0.join("uid_map")).unwrap();
                assert_eq!(map.split_whitespace().last(), Some("1"), "{map}");
            }
            let of_data = host.sandbox.path().to_str().unwrap();
            for point in process.writable() {
                assert!(
                    point == "/proc" || point.starts_with("/dev/") || point.starts_with(of_data),
                    "{point}"
                );
            }
        }
        if (who, network) == (Who::Root, "pasta") {
            // pasta, whose rights are those of the machine's user namespace.
            let pasta = Seen::of(&vmm.status("PPid"));
            assert!(pasta.is_all_of(&told["jail"]["user"].to_string()));
            assert_ne!(pasta.namespace("user"), own.namespace("user"));
        }
        let devices = match network {
            "none" => BTreeSet::from(["null", "urandom"].map(str::to_owned)),
            _ => BTreeSet::from(["net", "null", "urandom"].map(str::to_owned)),
        };
        assert_eq!(&vmm.entries("dev") - &BTreeSet::from(["kvm".to_owned()]), devices);
        assert_eq!(vmm.entries("etc"), BTreeSet::from(["ld.so.cache".to_owned()]));
        let machines = host.sandbox.runtime().join("knaller");
        let seen = vmm.entries(machines.strip_prefix("/").unwrap().to_str().unwrap());
        assert_eq!(seen, BTreeSet::from([network.to_owned()]));
        host.sure(&["kill", network]);
        host.sure(&["rm", network]);
    }
    host.end();
}

#[test]
fn an_ordinary_users_vmm_has_little() {
    has_little(Who::Ordinary);
}

#[test]
fn roots_vmm_has_little() {
    if !is_root() {
        return testkit::skip("roots_vmm_has_little", NOT_ROOT);
    }
    has_little(Who::Root);
}

#[test]
fn roots_vmm_without_a_user_of_its_own_has_little_and_it_is_said() {
    if !is_root() {
        return testkit::skip(
            "roots_vmm_without_a_user_of_its_own_has_little_and_it_is_said",
            NOT_ROOT,
        );
    }
    has_little(Who::Zero);
}

/// Whether a shell of this user, with none of root's rights and none of a jail's walls, succeeds in `folder`.
fn succeeds(user: &str, folder: &Path, script: &str) -> bool {
    let mut command = Command::new("setpriv");
    command
        .args([
            "--reuid",
            user,
            "--regid",
            user,
            "--clear-groups",
            "sh",
            "-c",
            script,
        ])
        .current_dir(folder);
    run(&mut command).code() == 0
}

/// What below `folder` belongs to this user.
fn of_user(folder: &Path, user: u64) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let (mut found, mut folders) = (Vec::new(), Vec::new());
    for entry in entries {
        let metadata = entry.path().symlink_metadata().unwrap();
        if u64::from(metadata.uid()) == user || u64::from(metadata.gid()) == user {
            found.push(entry.path());
        }
        if metadata.is_dir() {
            folders.push(entry.path());
        }
    }
    found.extend(folders.iter().flat_map(|folder| of_user(folder, user)));
    found
}

#[test]
fn the_users_of_two_of_roots_machines_have_no_right_to_each_other() {
    if !is_root() {
        return testkit::skip(
            "the_users_of_two_of_roots_machines_have_no_right_to_each_other",
            NOT_ROOT,
        );
    }
    let host = Host::new(Who::Root);
    host.sure(&[
        "start",
        "other",
        "--detach",
        "--memory",
        "128M",
        "--network",
        "none",
    ]);
    let [victim, other] = ["victim", "other"].map(|name| host.inspect(name));
    let user = |told: &Value| told["jail"]["user"].as_u64().unwrap();
    assert_ne!(user(&victim), user(&other));
    let taker = user(&other).to_string();
    let tries = |told: &Value, script: &str| {
        let script = script.replace("PID", &told["pid"].to_string());
        succeeds(&taker, Path::new("/"), &script)
    };
    for attempt in [
        "kill -0 PID",
        "cat /proc/PID/environ",
        "cat /proc/PID/maps",
        "ls /proc/PID/root/",
    ] {
        assert!(
            tries(&other, attempt) || attempt.starts_with("ls"),
            "{attempt} is nothing that shows anything"
        );
        assert!(!tries(&victim, attempt), "{attempt}");
    }
    // In these folders as if the way to them were open.
    let runtime = |name: &str| host.sandbox.runtime().join("knaller").join(name);
    assert!(succeeds(&taker, &runtime("other"), "test -w ./api.sock"));
    assert!(!succeeds(&taker, &runtime("victim"), "test -e ./api.sock"));
    let data = host.sandbox.data().join("knaller");
    assert!(!succeeds(
        &taker,
        &data.join("vms/victim"),
        "test -e ./overlay.ext4"
    ));
    // Nothing on the disk was given away.
    assert_eq!(of_user(&data, user(&other)), Vec::<PathBuf>::new());
    host.sure(&["kill", "other"]);
    host.sure(&["rm", "other"]);
    assert_eq!(of_user(host.sandbox.path(), user(&other)), Vec::<PathBuf>::new());
    host.end();
}

#[test]
fn where_proc_is_covered_the_rest_of_the_jail_is_there_and_it_is_said() {
    let sandbox = Sandbox::new();
    testkit::import_kernel(&sandbox);
    let knaller = sandbox.knaller(&[]);
    let program = knaller.get_program().to_str().unwrap().to_owned();
    // As no root of that namespace either: root's machines have none of their own.
    let inner = format!(
        "{program} start here --detach --memory 128M --network none && {program} inspect here -o json; \
         {program} kill here >&2; {program} rm here >&2"
    );
    let script = format!(
        "mount -t tmpfs none /proc/fs && \
         exec unshare --user --map-user=1000 --map-group=1000 --mount sh -c '{inner}'"
    );
    let mut command = Command::new("unshare");
    command
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script])
        .env_clear()
        .envs(
            knaller
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        );
    let ran = run(ordinary_user(&sandbox, &mut command));
    assert_eq!(ran.code(), 0, "{ran:?}");
    assert!(
        ran.stderr
            .contains("the jail of here is without a /proc of its own"),
        "{}",
        ran.stderr
    );
    assert!(ran.stdout.contains("a /proc of its own"), "{}", ran.stdout);
}

/// What other machines' memory is mapped from, below a folder of snapshots or templates.
fn guests(folder: &Path) -> Vec<PathBuf> {
    // That of the snapshots may not be there yet.
    let folders = std::fs::read_dir(folder).into_iter().flatten();
    let folders = folders.map(|entry| entry.unwrap().path());
    let files = folders.flat_map(|folder| ["state", "memory"].map(|name| folder.join(name)));
    files.filter(|path| path.exists()).collect()
}

/// Checks that no process has a descriptor by which it could write to a guest that was kept, and that none can get one.
#[track_caller]
fn nobody_can_write_guests(host: &Host, kept: usize) {
    let data = host.sandbox.data().join("knaller");
    let folders = [data.join("templates"), data.join("snapshots")];
    let files: Vec<_> = folders.iter().flat_map(|folder| guests(folder)).collect();
    // A difference has its memory by another name.
    let whole = files.iter().filter(|file| file.ends_with("memory")).count();
    assert_eq!(whole, kept, "{files:?}");
    for file in &files {
        assert_eq!(
            file.metadata().unwrap().mode() & 0o777,
            0o400,
            "{}",
            file.display()
        );
    }
    let identity = |path: &Path| path.metadata().map(|data| (data.dev(), data.ino())).ok();
    let inodes: BTreeSet<_> = files.iter().filter_map(|file| identity(file)).collect();
    let processes = std::fs::read_dir("/proc")
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut read = 0;
    // Whoever has gone meanwhile has nothing open.
    for fds in processes.filter_map(|process| std::fs::read_dir(process.join("fd")).ok()) {
        for fd in fds.flatten().map(|fd| fd.path()) {
            let name = std::fs::read_link(&fd).unwrap_or_default();
            // That of a fork has no name any more.
            let kept = |of| inodes.contains(&of) || folders.iter().any(|folder| name.starts_with(folder));
            if !identity(&fd).is_some_and(kept) || fd.is_dir() {
                continue;
            }
            let info = fd.to_str().unwrap().replace("/fd/", "/fdinfo/");
            let info = std::fs::read_to_string(info).unwrap_or_default();
            let flags = info
                .lines()
                .find_map(|line| line.strip_prefix("flags:"))
                .unwrap_or("0");
            let flags = i32::from_str_radix(flags.trim(), 8).unwrap();
            assert_eq!(
                flags & libc::O_ACCMODE,
                libc::O_RDONLY,
                "{} is {}",
                fd.display(),
                name.display()
            );
            read += 1;
        }
    }
    // sparkler compares with what it kept, so there is something to be seen.
    assert!(read > 0 || vmm() == Vmm::Firecracker);
}

fn kept_guests_are_nobodys_to_write(who: Who) {
    let host = Host::new(who);
    // The first start of a shape keeps a template, whose maker lives on.
    nobody_can_write_guests(&host, 1);
    host.sure(&["snapshot", "create", "victim", "--name", "kept"]);
    nobody_can_write_guests(&host, 2);
    host.sure(&["fork", "victim", "--name", "forked"]);
    nobody_can_write_guests(&host, 2);
    host.sure(&["snapshot", "create", "victim", "--diff", "--name", "more"]);
    nobody_can_write_guests(&host, 2);
    host.sure(&["kill", "forked"]);
    host.sure(&["rm", "forked"]);
    host.end();
}

#[test]
fn nobody_writes_into_guests_that_an_ordinary_user_keeps() {
    kept_guests_are_nobodys_to_write(Who::Ordinary);
}

#[test]
fn nobody_writes_into_guests_that_root_keeps() {
    if !is_root() {
        return testkit::skip("nobody_writes_into_guests_that_root_keeps", NOT_ROOT);
    }
    kept_guests_are_nobodys_to_write(Who::Root);
}
